"""Multipart bodies: beside the cases of tests/compat, whatever the bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.golang.multipart import parts, quoted_printable
from authz.protocols.golang.text import NotReadable

PIECES = st.sampled_from(
    [
        *(b"--b", b"--b--", b"--", b"\r\n", b"\n", b" ", b":", b"=", b"x", b"\xff"),
        b'Content-Disposition: form-data; name="a"',
        b"Content-Transfer-Encoding: quoted-printable",
    ]
)
WORDS = st.text(
    st.characters(min_codepoint=32, codec="utf-8", exclude_characters='"\\;\x7f'), min_size=1, max_size=8
)


@given(st.lists(PIECES, max_size=30))
def test_any_body_has_parts_or_is_not_readable(pieces: list[bytes]) -> None:
    try:
        found = list(parts(b"".join(pieces), "b"))
    except NotReadable:
        return
    assert all(part.name for part in found)


@given(st.lists(st.tuples(WORDS, st.binary(max_size=40)), max_size=5))
def test_what_a_client_writes_is_what_is_read(fields: list[tuple[str, bytes]]) -> None:
    written = b"".join(
        b'--bound\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), content)
        for name, content in fields
        if b"--bound" not in content
    )
    found = [(part.name, part.content) for part in parts(written + b"--bound--\r\n", "bound")]
    assert found == [field for field in fields if b"--bound" not in field[1]]


@given(st.binary(max_size=60))
def test_quoted_printable_ends_with_bytes_or_is_not_readable(data: bytes) -> None:
    try:
        assert len(quoted_printable(data)) <= len(data)
    except NotReadable:
        return
