"""What stays of a deleted segment leads to the same root, and nothing else passes for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.ledger import files, merkle, pruned
from authz.ledger.journal import Disk
from authz.ledger.pruned import Marker
from authz.ledger.tiles import Tile
from tests import ledgers


def delete(log: Path, entries: int, number: int = 0) -> Marker:
    marker = pruned.keep(log, number, entries, Disk())
    (log / "entries" / f"{number:08d}.jsonl").unlink()
    return marker


@pytest.mark.parametrize("entries", [1, 2, 3, 255, 256, 257, 512, 700])
def test_the_hashes_that_stay_make_the_root(tmp_path: Path, entries: int) -> None:
    log = ledgers.write_long(tmp_path, entries)
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(log)]
    first = ledgers.read(log)[0]
    assert delete(log, entries) == Marker(entries, (first,))
    found = pruned.tree(log, 0, pruned.read(log, 0))
    assert (found.size, found.root()) == (entries, merkle.root(leaves))
    assert pruned.opening(log) == (first,)
    assert files.segments(log).pruned == (0,)


def test_what_a_log_begins_with_stays_up_to_its_last_gap(tmp_path: Path) -> None:
    gap = {"kind": "gap", "old_log": "d/w/e", "good_entries": 1, "why": "x"}
    said = [{"kind": "open"}, gap, gap, {"kind": "heartbeat"}]
    log = ledgers.write(tmp_path, iter(said), signer=None)
    assert len(delete(log, 4).opening) == 3


def test_a_file_with_more_or_less_is_not_deleted(tmp_path: Path) -> None:
    log = ledgers.write_long(tmp_path, 5)
    for entries in (4, 6):
        with pytest.raises(ValueError, match=f"not {entries} whole lines"):
            pruned.keep(log, 0, entries, Disk())
    assert not pruned.marker_file(log, 0).exists()


def test_hashes_that_are_gone_or_an_opening_that_was_changed_are_named(tmp_path: Path) -> None:
    log = ledgers.write_long(tmp_path, 300)
    marker = delete(log, 300)
    with pytest.raises(ValueError, match="opening: not the entries that the log began with"):
        pruned.tree(log, 0, Marker(300, (b'{"kind":"open"}',)))
    first = log / Tile(0, 0).name
    first.write_bytes(bytes(len(first.read_bytes())))
    with pytest.raises(ValueError, match="tile/0: not under the hashes"):
        pruned.tree(log, 0, marker)
    (log / Tile(1, 0, 1).name).unlink()
    with pytest.raises(ValueError, match=r"tile/1/000\.p/1: missing"):
        pruned.tree(log, 0, marker)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b'{"entries":0}\n',
        b'{"entries":65537}\n',
        b'{"entries":true}\n',
        b'{"entries":5,"more":1}\n',
        b'{"entries":5,"opening":"x"}\n',
        b'{"entries":5,"opening":[1]}\n',
        b'{"entries":5,"key":1}\n',
    ],
)
def test_what_is_no_marker_is_refused(tmp_path: Path, data: bytes) -> None:
    log = ledgers.write_long(tmp_path, 5)
    delete(log, 5)
    pruned.marker_file(log, 0).write_bytes(data)
    with pytest.raises(ValueError, match=r"marker|entry's JSON"):
        pruned.read(log, 0)
    assert pruned.opening(log) == ()


def test_the_last_certificate_stays_for_the_entries_after_it(tmp_path: Path) -> None:
    def said() -> Iterator[ledgers.Members]:
        yield {"kind": "open"}
        yield {"kind": "key", "certificate": "first"}
        yield {"kind": "key", "certificate": "last"}
        yield {"kind": "key"}
        yield {"kind": "heartbeat", "key": '"kind":"key"'}

    log = ledgers.write(tmp_path, said(), signer=None)
    assert b'"certificate":"last"' in delete(log, 5).key
    assert pruned.read(log, 0).key == pruned.read_file(pruned.marker_file(log, 0)).key != b""
