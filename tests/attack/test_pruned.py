"""After a segment was deleted the rest verifies; one that is gone unsaid, or put back altered, is found.

The attacker has the disk but no key, and can make every file that retention leaves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from authz import canonical
from authz.ledger import merkle, pruned, verify
from authz.ledger.journal import SEGMENT_ENTRIES, Disk, segment_name
from authz.ledger.outbox import Outbox
from authz.ledger.report import Fault, Report
from authz.ledger.segment import Deletion
from authz.ledger.tiles import Tile
from tests import controls, ledgers, retaining
from tests.retaining import YEAR, Retaining
from tests.workers import Worker

LATE, GRACE = YEAR + timedelta(days=30), timedelta(days=7)
UNSAID = "missing, and no `prune` entry of a control log that is here and verifies says so"


@pytest.fixture
async def kept(worker: Worker) -> Path:
    """The first epoch's segment, as it was before. `worker` has four epochs, the two oldest pruned, and a
    control log that says so. All of it is sealed.
    """
    await retaining.aged(worker)
    worker.judged = True
    copy = worker.state / "before.jsonl"
    shutil.copyfile(worker.segment(0), copy)
    with Outbox(worker.settings.outbox) as outbox:
        retention = Retaining(worker, outbox)
        for after in (LATE, LATE + GRACE):
            retention.round(after)
        async with controls.running(worker) as running:
            await running.drained()
        retention.round(LATE + GRACE)
    worker.seal()
    return copy


def judged(worker: Worker, level: int = 3) -> Report:
    return verify.verify(worker.root.parent, ledgers.TRUST, level)


def fault(worker: Worker, level: int = 3) -> Fault:
    found = judged(worker, level).first_fault
    assert found is not None
    return found


def segment(worker: Worker, epoch: int = 0) -> Path:
    return worker.epochs[epoch] / "entries" / "00000000.jsonl"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_remains_verifies_and_what_is_gone_is_said(worker: Worker, kept: Path, level: int) -> None:
    report = judged(worker, level)
    assert report.verified, report.first_fault
    pruned_logs = [log for log in report.logs if log.pruned]
    assert [(log.entries, log.pruned, log.sealed) for log in pruned_logs] == [(5, 5, 5), (5, 5, 5)]


def test_how_epochs_continue_each_other_is_still_checked(worker: Worker, kept: Path) -> None:
    """The third epoch says what the second one held, which is pruned."""
    file = pruned.marker_file(worker.epochs[1], 0)
    members = canonical.parse(file.read_bytes().removesuffix(b"\n"))
    opening = canonical.parse(members["opening"][0].encode())
    forged = canonical.encode(opening | {"previous_size": 4}).decode()
    file.write_bytes(canonical.encode(members | {"opening": [forged]}) + b"\n")
    assert fault(worker).what == "opening: not the entries that the log began with"


@pytest.mark.parametrize("level", [2, 3])
def test_a_segment_that_is_gone_unsaid_is_found(worker: Worker, kept: Path, level: int) -> None:
    """The attacker leaves exactly what retention would have left."""
    pruned.keep(worker.epochs[2], 0, 5, Disk())
    segment(worker, 2).unlink()
    assert fault(worker, level) == Fault(UNSAID, str(segment(worker, 2)), seq=0)


def test_without_the_control_log_nobody_says_so(worker: Worker, kept: Path) -> None:
    shutil.rmtree(controls.root(worker))
    assert fault(worker) == Fault(UNSAID, str(segment(worker)), seq=0)


def test_a_control_log_that_was_changed_says_nothing(worker: Worker, kept: Path) -> None:
    epoch = next(path for path in controls.root(worker).iterdir() if path.is_dir())
    ledgers.store(epoch, [entry.replace(b'"retention"', b'"retentiom"') for entry in ledgers.read(epoch)])
    report = judged(worker)
    faults = {log.log.split("/")[1]: log.fault for log in report.logs if log.fault}
    assert faults["worker-0"] == Fault(UNSAID, str(segment(worker, 1)), seq=0)
    assert faults["control"]


@pytest.mark.parametrize("level", [2, 3])
def test_a_deletion_that_no_key_vouches_for_counts_for_nothing(
    worker: Worker, kept: Path, level: int
) -> None:
    """An entry after the control log's checkpoint, which at level 2 nobody signed."""
    pruned.keep(worker.epochs[2], 0, 5, Disk())
    segment(worker, 2).unlink()
    epoch = next(path for path in controls.root(worker).iterdir() if path.is_dir())
    entries = ledgers.read(epoch)
    said = next(canonical.parse(entry) for entry in entries if b'"action":"delete"' in entry)
    closing = canonical.parse(entries.pop())
    said |= {
        "of": f"aegis.test/worker-0/{worker.epochs[2].name}",
        "seq": len(entries),
        "previous_entry_hash": merkle.leaf_hash(entries[-1]).hex(),
    }
    assert closing["kind"] == "close"
    ledgers.store(epoch, [*entries, canonical.encode(said)])
    ledgers.seal(epoch, said["log"], size=len(entries))
    found = fault(worker, level)
    assert found.what == UNSAID or "attestation" in found.what


@pytest.mark.parametrize("place", [0, 40, 159])
def test_a_hash_that_was_changed_is_found(worker: Worker, kept: Path, place: int) -> None:
    tile = worker.epochs[0] / Tile(0, 0, 5).name
    data = bytearray(tile.read_bytes())
    data[place] ^= 1
    tile.write_bytes(data)
    found = fault(worker, 1)
    assert str(worker.epochs[0]) in found.file


@pytest.mark.parametrize("entries", [4, 6, 65536])
def test_a_marker_that_says_another_number_is_found(worker: Worker, kept: Path, entries: int) -> None:
    file = pruned.marker_file(worker.epochs[0], 0)
    members = canonical.parse(file.read_bytes().removesuffix(b"\n"))
    file.write_bytes(canonical.encode(members | {"entries": entries}) + b"\n")
    assert str(worker.epochs[0]) in fault(worker, 1).file


def test_put_back_as_it_was_it_verifies(worker: Worker, kept: Path) -> None:
    shutil.copyfile(kept, segment(worker))
    report = judged(worker)
    assert report.verified, report.first_fault
    assert sum(log.pruned for log in report.logs) == 5


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (3, lambda entry: entry.replace(b'"decision":"allow"', b'"decision":"deny!"')),
        (5, lambda entry: entry.replace(b'"kind":"close"', b'"kind":"close!"')),
    ],
)
def test_put_back_altered_it_is_found_by_file_line_and_seq(
    worker: Worker, kept: Path, line: int, change: Callable[[bytes], bytes]
) -> None:
    lines = kept.read_bytes().splitlines()
    lines[line - 1] = change(lines[line - 1])
    segment(worker).write_bytes(b"\n".join([*lines, b""]))
    found = fault(worker)
    assert (found.file, found.line, found.seq) == (str(segment(worker)), line, line - 1)


def test_put_back_with_another_one_s_entries_it_is_found(worker: Worker, kept: Path) -> None:
    shutil.copyfile(segment(worker, 2), segment(worker))
    found = fault(worker)
    assert str(worker.epochs[0]) in found.file


def test_a_full_segment_in_the_middle_leaves_both_its_neighbours(tmp_path: Path) -> None:
    """Level 1, since these entries are without signatures: the roots are right without the middle one."""
    log = ledgers.write_long(tmp_path, 2 * SEGMENT_ENTRIES + 10)
    pruned.keep(log, 1, SEGMENT_ENTRIES, Disk())
    (log / "entries" / segment_name(SEGMENT_ENTRIES)).unlink()
    (found,) = verify.verify(tmp_path, ledgers.TRUST, 1).logs
    assert (found.fault, found.entries, found.pruned) == (None, 2 * SEGMENT_ENTRIES + 10, SEGMENT_ENTRIES)
    what = verify.verify(tmp_path, ledgers.TRUST, 2).first_fault
    assert what
    assert (what.what, what.seq) == (UNSAID, SEGMENT_ENTRIES)
    assert Deletion(1, "d/w/e", 0, 0).first == 0
