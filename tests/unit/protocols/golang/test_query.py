"""Paths and queries as Go reads them: beside the cases of tests/compat, whatever the text."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.golang.query import MAX_PAIRS, parse_query, path_segments
from authz.protocols.golang.text import NotReadable, octets, shown, text

TEXT = st.text(max_size=20)


@given(st.dictionaries(TEXT, st.lists(TEXT, min_size=1, max_size=3), max_size=4))
def test_what_a_client_writes_is_what_is_read(members: dict[str, list[str]]) -> None:
    pairs = [(name, value) for name, values in members.items() for value in values]
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    assert parse_query(query) == members


@given(st.text(max_size=40))
def test_any_path_has_segments_or_is_not_readable(path: str) -> None:
    try:
        assert path_segments(path)
    except NotReadable:
        assert "%" in path


@given(st.binary(max_size=20))
def test_nothing_is_lost_until_it_is_shown(data: bytes) -> None:
    assert octets(text(data)) == data
    clean, lossy = shown([{text(data): text(data)}])
    assert lossy == (text(data) != data.decode(errors="replace"))
    clean[0].popitem()[0].encode()


def test_there_is_a_bound_to_pairs() -> None:
    assert parse_query("&".join(["a"] * MAX_PAIRS))["a"] == [""] * MAX_PAIRS
    with pytest.raises(NotReadable, match="limit"):
        parse_query("&".join(["a"] * (MAX_PAIRS + 1)))


def test_an_error_quotes_nothing() -> None:
    with pytest.raises(NotReadable) as caught:
        parse_query("password=%zz")
    assert str(caught.value) == "invalid URL escape"
