"""Content-Type and Content-Disposition as Go's mime.ParseMediaType reads them (RFC 2045, 2183, 2231).

In: a header's value. Out: the type in lower case and its parameters, or NotReadable. Strings may hold lone
surrogates (`text.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from authz.protocols.golang.text import SPACES, NotReadable, octets, text

_WORD: Final = r"[0-9A-Za-z!#$%&'*+.^_`{|}~-]+"
_TYPE: Final = re.compile(rf"{_WORD}(?:/{_WORD})?")
_SPACE: Final = f"[{SPACES}]*"
# A backslash escapes only what a token cannot have: "C:\dev\file" stays what it is.
_SPECIAL: Final = r'[()<>@,;:\\"/\[\]?=]'
_QUOTED: Final = rf'"((?:\\{_SPECIAL}|\\(?!{_SPECIAL})|[^"\\\r\n])*)"'
_PARAMETER: Final = re.compile(rf"{_SPACE};{_SPACE}({_WORD}){_SPACE}={_SPACE}(?:{_QUOTED}|({_WORD}))")
_ESCAPED: Final = re.compile(rf"\\({_SPECIAL})")
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """Raises NotReadable, also where only the parameters are wrong."""
    base = value.partition(";")[0]
    media_type = base.lower().strip(SPACES)
    if not _TYPE.fullmatch(media_type):
        raise NotReadable("mime: no media type")
    plain: dict[str, str] = {}
    pieces: dict[str, dict[str, str]] = {}  # of parameters with a star in their names
    for name, found in _parameters(value[len(base) :]):
        group = pieces.setdefault(name.partition("*")[0], {}) if "*" in name else plain
        if group.setdefault(name, found) != found:
            raise NotReadable("mime: duplicate parameter name")
    for name, parts in pieces.items():
        joined = _joined(name, parts)
        if joined is not None:
            plain[name] = joined
    return media_type, plain


def _parameters(rest: str) -> Iterator[tuple[str, str]]:
    position = 0
    while rest[position:].strip(SPACES):
        found = _PARAMETER.match(rest, position)
        if found is None:
            if rest[position:].strip(SPACES) == ";":
                return
            raise NotReadable("mime: invalid media parameter")
        quoted, token = found[2], found[3]
        yield found[1].lower(), token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = found.end()


def _joined(name: str, parts: dict[str, str]) -> str | None:
    """RFC 2231: `name*=utf-8''text`, or `name*0`, `name*1*` and so on in order."""
    if f"{name}*" in parts:
        return _decoded(parts[f"{name}*"])
    found = []
    for number in range(len(parts)):
        simple = f"{name}*{number}"
        if simple in parts:
            found.append(parts[simple])
        elif f"{simple}*" in parts:
            piece = parts[f"{simple}*"]
            found.append((_unescaped(piece) if number else _decoded(piece)) or "")
        else:
            break
    return "".join(found) if found else None


def _decoded(piece: str) -> str | None:
    parts = piece.split("'", 2)
    if len(parts) < 3 or parts[0].lower() not in ("us-ascii", "utf-8"):
        return None
    return _unescaped(parts[2])


def _unescaped(piece: str) -> str | None:
    return None if _BROKEN.search(piece) else text(unquote_to_bytes(octets(piece)))
