"""A multipart/form-data body as Go's mime/multipart reads it, part by part (RFC 2046, 7578).

In: the body, its boundary. Out: every named part with its content, or NotReadable. As in Go: lines may end
with a bare LF if the first boundary's does, quoted-printable is decoded and base64 is not, what stands before
the first boundary is skipped, a part whose head is cut off is no part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from authz.protocols.golang.media_type import parse_media_type
from authz.protocols.golang.text import NotReadable, text

_BUFFER: Final = 4096  # bufio's: no line outside of a part may be longer
_MAX_HEADERS: Final = 10_000  # of a part
_NAME: Final = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~ -]+")
_VALUE: Final = re.compile(rb"[\t -~\x80-\xff]*")
_BLANK: Final = b" \t"
_BAD_BYTE: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|=[\r\n]")


class Part(NamedTuple):
    name: str
    content_type: str
    content: bytes


class _End(Exception):
    """The body ends where a part's head should be: no error, and no part."""


def parts(body: bytes, boundary: str) -> Iterator[Part]:
    """The parts that have a form-data name, in order; strings may hold lone surrogates (`text.py`)."""
    if not boundary:
        raise NotReadable("multipart: boundary is empty")
    reader = _Reader(body, b"--" + boundary.encode("utf-8", "surrogateescape"))
    try:
        while reader.next_part():
            head = reader.head()
            name = _form_name(text(head.get("content-disposition", b"")))
            if not name:
                reader.skip()
                continue
            content = reader.content()
            if head.get("content-transfer-encoding", b"").lower() == b"quoted-printable":
                content = quoted_printable(content)
            yield Part(name, text(head.get("content-type", b"")), content)
    except _End:
        return


def _form_name(disposition: str) -> str:
    try:
        kind, parameters = parse_media_type(disposition)
    except NotReadable:
        return ""
    return parameters.get("name", "") if kind == "form-data" else ""


class _Reader:
    """A position in the body; `_line_end` is settled by the first boundary."""

    def __init__(self, body: bytes, dashes: bytes) -> None:
        self._body, self._dashes = body, dashes
        self._at = self._count = 0
        self._line_end = b"\r\n"

    def next_part(self) -> bool:
        """Go behind the next boundary's line; False at the last one."""
        separated = False
        while True:
            line = self._line()
            if self._is_boundary(line):
                self._count += 1
                return True
            if self._is_last(line):
                return False
            if not line.endswith(b"\n") or separated or (self._count and line != self._line_end):
                raise NotReadable("multipart: no boundary where one is expected")
            separated = self._count > 0

    def head(self) -> dict[str, bytes]:
        """The part's headers by name in lower case, the first of each."""
        if self._body[self._at : self._at + 1] in (b" ", b"\t"):
            raise NotReadable("multipart: malformed MIME header")
        found: dict[str, bytes] = {}
        for _ in range(_MAX_HEADERS + 1):
            line = self._head_line()
            if not line:
                return found
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise NotReadable("multipart: malformed MIME header")
            found.setdefault(name.decode("ascii").lower(), value.lstrip(_BLANK))
        raise NotReadable("multipart: message too large")

    def content(self) -> bytes:
        """What is left of the part, up to its boundary."""
        start, end = self._at, self._end_of_part()
        if end < 0:
            raise NotReadable("multipart: unexpected EOF")
        self._at = end
        return self._body[start:end]

    def skip(self) -> None:
        end = self._end_of_part()
        self._at = end if end >= 0 else len(self._body)

    def _line(self) -> bytes:
        """Up to and with the next line feed, or all that is left."""
        end = self._body.find(b"\n", self._at) + 1 or len(self._body)
        line = self._body[self._at : end]
        if len(line) > _BUFFER or (len(line) == _BUFFER and not line.endswith(b"\n")):
            raise NotReadable("multipart: line too long")
        self._at = end
        return line

    def _head_line(self) -> bytes:
        """A header with its continuation lines, each joined by one blank."""
        line = self._text_line()
        if line and b":" not in line:
            raise NotReadable("multipart: malformed MIME header")
        joined = line.strip(_BLANK)
        while line and self._body[self._at : self._at + 1] in (b" ", b"\t"):
            while self._body[self._at : self._at + 1] in (b" ", b"\t"):
                self._at += 1
            joined += b" "
            if self._at < len(self._body):
                joined += self._text_line().strip(_BLANK)
        return joined

    def _text_line(self) -> bytes:
        if self._at >= len(self._body):
            raise _End
        end = self._body.find(b"\n", self._at) + 1 or len(self._body)
        line, self._at = self._body[self._at : end], end
        return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line

    def _end_of_part(self) -> int:
        """Where the content ends, -1 if no boundary follows."""
        if self._body.startswith(self._dashes, self._at) and self._ends(self._at + len(self._dashes)):
            return self._at
        delimiter = self._line_end + self._dashes
        found = self._body.find(delimiter, self._at)
        while found >= 0 and not self._ends(found + len(delimiter)):
            found = self._body.find(delimiter, found + len(delimiter))
        return found

    def _ends(self, at: int) -> bool:
        """Whether what follows a boundary leaves it one."""
        rest = self._body[at : at + 2]
        return not rest or rest[:1] in (b" ", b"\t", b"\r", b"\n") or rest == b"--"

    def _is_boundary(self, line: bytes) -> bool:
        if not line.startswith(self._dashes):
            return False
        rest = line[len(self._dashes) :].lstrip(_BLANK)
        if self._count == 0 and rest == b"\n":
            self._line_end = b"\n"
        return rest == self._line_end

    def _is_last(self, line: bytes) -> bool:
        last = self._dashes + b"--"
        return line.startswith(last) and line[len(last) :].lstrip(_BLANK) in (b"", self._line_end)


def quoted_printable(data: bytes) -> bytes:
    """As mime/quotedprintable decodes: `=` before anything but two hex digits is itself."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", data)
    return b"".join(_decoded_line(line, last=number == len(lines)) for number, line in enumerate(lines, 1))


def _decoded_line(whole: bytes, *, last: bool) -> bytes:
    if len(whole) > _BUFFER or (len(whole) == _BUFFER and not whole.endswith(b"\n")):
        raise NotReadable("quotedprintable: line too long")
    line = whole.rstrip(b"\n\r \t")
    if line.endswith(b"="):
        after = whole[len(line) :].lstrip(_BLANK)
        line = line[:-1]
        ended = last and not whole.endswith(b"\n") and not after and line
        if not after.startswith((b"\n", b"\r\n")) and not ended:
            raise NotReadable("quotedprintable: invalid bytes after =")
    elif whole.endswith(b"\n"):
        line += b"\r\n" if whole.endswith(b"\r\n") else b"\n"
    if _BAD_BYTE.search(line) or line.endswith(b"="):
        raise NotReadable("quotedprintable: invalid byte in body")
    return re.sub(rb"=([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), line)
