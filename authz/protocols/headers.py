"""Header names and values, read in exactly one way.

In: names and values as Envoy gives them, in order. Out: a dict of lower-case names, or `Denied` with
`malformed_headers`. Called by `wire/extauthz.py` for every request. No detail quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from authz.errors import Denied
from authz.values import Reason

# Names that this program, or Envoy for it, acts upon: each may be there once.
SINGLE: Final = frozenset(
    ":authority :method :path :scheme :protocol host content-type content-length content-encoding "
    "transfer-encoding upgrade authorization proxy-authorization x-aegis-agent-token x-aegis-decision-id "
    "x-envoy-auth-partial-body x-request-id mcp-method mcp-name mcp-protocol-version mcp-session-id".split()
)
OURS: Final = "x-aegis-"
# Some upstreams take method or path from these instead of from the request line: policy would judge another.
OVERRIDES: Final = frozenset(
    "x-http-method-override x-http-method x-method-override x-original-url x-rewrite-url".split()
)
_NAME: Final = r":?[a-z0-9!#$%&'*+.^_`|~-]+"  # a colon only in front, where HTTP/2 has it
_NAMES: Final = re.compile(rf"{_NAME}(?:\n{_NAME})*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def headers(names: Sequence[str], values: Sequence[str], count: int, size: int) -> dict[str, str]:
    """One value per name, several folded with ",". At most `count` headers and `size` characters."""
    if len(names) > count:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too many")
    joined = "\n".join(names)
    text = "".join(values)
    if len(joined) + len(text) > size:
        raise Denied(Reason.MALFORMED_HEADERS, "headers: too large")
    if not text.isprintable() and _CONTROL.search(text):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: control byte in a value")
    if not names:
        return {}
    if not _NAMES.fullmatch(joined):
        joined, names = _lower(joined, names)
    if joined.count("\n") != len(names) - 1:  # a name with a line break in it reads like two
        raise Denied(Reason.MALFORMED_HEADERS, "headers: not a header name")
    if "_" in joined:
        _check_underscores(names)
    found = dict(zip(names, values, strict=True))
    if not OVERRIDES.isdisjoint(found):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: another method or path than the request line's")
    if len(found) != len(names):
        return _folded(names, values)
    return found


def _lower(joined: str, names: Sequence[str]) -> tuple[str, list[str]]:
    # Only ASCII is lowered: of the Kelvin sign, too, that makes a k.
    if not joined.isascii() or not _NAMES.fullmatch(joined.lower()):
        raise Denied(Reason.MALFORMED_HEADERS, "headers: not a header name")
    return joined.lower(), [name.lower() for name in names]


def _check_underscores(names: Sequence[str]) -> None:
    """A CGI or WSGI upstream reads `x_aegis_agent_token` and `x-aegis-agent-token` as the same header."""
    meant: dict[str, str] = {}
    for name in names:
        same = name.replace("_", "-")
        ours = "_" in name and (same in SINGLE or same in OVERRIDES or same.startswith(OURS))
        if ours or meant.setdefault(same, name) != name:
            raise Denied(Reason.MALFORMED_HEADERS, "headers: an underscore where a dash may be read")


def _folded(names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        if name not in found:
            found[name] = value
        elif name in SINGLE or name.startswith(OURS):
            raise Denied(
                Reason.MALFORMED_HEADERS,
                f"headers: {name} stands twice" if name in SINGLE else "headers: a name of ours stands twice",
            )
        else:
            found[name] = f"{found[name]},{value}"
    return found
