"""Time stamps by a real authority hold for what they are about, and for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.ledger import timestamps
from tests.tsa import Tsa

MESSAGE = b"a checkpoint\n"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def response(tsa: Tsa) -> bytes:
    return tsa.stamp(MESSAGE)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_the_latest_possible_moment_counts(tsa: Tsa, digest: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    latest = timestamps.check(tsa.stamp(MESSAGE, digest), MESSAGE, tsa.roots)
    accuracy = timedelta(seconds=1.5)
    assert before + accuracy <= latest <= datetime.now(UTC) + accuracy


def test_an_authority_that_states_no_accuracy_means_its_time(tmp_path: Path) -> None:
    other = Tsa(tmp_path, accuracy="secs:0")
    assert timestamps.check(other.stamp(MESSAGE), MESSAGE, other.roots) <= datetime.now(UTC)


def test_it_is_about_exactly_these_bytes(tsa: Tsa, response: bytes) -> None:
    with pytest.raises(ValueError, match="Mismatch between messages"):
        timestamps.check(response, MESSAGE + b"\n", tsa.roots)


def test_only_a_pinned_root_counts(tmp_path: Path, response: bytes) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        timestamps.check(response, MESSAGE, Tsa(tmp_path, "other").roots)
    with pytest.raises(ValueError, match="no root"):
        timestamps.check(response, MESSAGE, ())


def test_it_answers_the_request_that_was_made(tsa: Tsa, response: bytes) -> None:
    with pytest.raises(ValueError, match="Nonce"):
        timestamps.check(response, MESSAGE, tsa.roots, nonce=1)


@given(st.data())
def test_whatever_is_changed_in_it_is_noticed_or_means_the_same(
    tsa: Tsa, response: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(response) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(response)
    changed[place] ^= 1 << bit
    try:
        found = timestamps.check(bytes(changed), MESSAGE, tsa.roots)
    except ValueError:
        return
    assert found == timestamps.check(response, MESSAGE, tsa.roots)


@given(st.binary(max_size=200))
def test_bytes_that_are_none_are_refused(tsa: Tsa, data: bytes) -> None:
    with pytest.raises(ValueError, match="time stamp"):
        timestamps.check(data, MESSAGE, tsa.roots)


def test_a_long_one_is_not_read(tsa: Tsa) -> None:
    with pytest.raises(ValueError, match="over 65536 bytes"):
        timestamps.check(bytes(timestamps.MAX_RESPONSE + 1), MESSAGE, tsa.roots)


def test_roots_are_read_as_they_are_printed(tsa: Tsa) -> None:
    (root,) = tsa.roots
    assert timestamps.read_roots(timestamps.print_root(root).encode()) == (root,)
    with pytest.raises(ValueError):
        timestamps.read_roots(b"")
