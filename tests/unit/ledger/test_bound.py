"""Who has seen a control log has seen its heads; who has seen an epoch, what it says of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from authz.ledger import anchors, merkle, notes, verify
from authz.ledger.report import LogReport
from tests import ledgers
from tests.anchored import trusting
from tests.cosigning import cosigned

WORKER_LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
CONTROL_LOG = f"{ledgers.CONTROL}/{ledgers.EPOCH}"


def head(epoch: Path, size: int, log: str = WORKER_LOG) -> ledgers.Members:
    root = merkle.root([merkle.leaf_hash(entry) for entry in ledgers.read(epoch)[:size]])
    return {"kind": "log_head", "of": log, "root": root.hex(), "size": size}


def control_log(root: Path, *said: ledgers.Members) -> Path:
    """A sealed control log beside the workers' in `root`."""

    def entries() -> Iterator[ledgers.Members]:
        yield {"kind": "open", "version": "0.1.0"}
        yield from said

    directory = root / "control" / ledgers.EPOCH
    ledgers.store(directory, list(ledgers.chain(entries(), CONTROL_LOG)))
    ledgers.seal(directory, CONTROL_LOG)
    return directory


def cosign(outside: Path, epoch: Path, log: str, size: int, at: int) -> None:
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(epoch)[:size]]
    note = notes.sign(log, size, merkle.root(leaves), ledgers.LOG_SEED)
    file = outside / log / f"{size:020}.cosigned"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cosigned(note, at))


def check(tmp_path: Path) -> Any:
    given = anchors.read([tmp_path / "outside"], trusting())
    return verify.verify(tmp_path / "ledger", trusting(), given=given, now=5000)


def dated(log: LogReport) -> list[tuple[int, int]]:
    return [(anchor.size, int(anchor.at)) for anchor in log.anchors if anchor.by]


def test_a_worker_s_log_is_dated_by_the_heads_below_an_anchored_control_checkpoint(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path / "ledger", 9)
    control = control_log(tmp_path / "ledger", *(head(epoch, size) for size in (2, 4, 4, 8)))
    for size, at in ((3, 1000), (4, 2000), (5, 3000)):  # the heads 2, 4 | 4 | and 8
        cosign(tmp_path / "outside", control, CONTROL_LOG, size, at)
    report = check(tmp_path)
    assert report.verified, report.first_fault
    reports = {log.log: log for log in report.logs}
    assert dated(reports[CONTROL_LOG]) == [(5, 3000)]
    assert dated(reports[WORKER_LOG]) == [(8, 3000)]
    assert reports[WORKER_LOG].anchors[0].file == f"{control / 'entries' / '00000000.jsonl'}, line 5"
    assert report.exposure.startswith("1 entries after the last outside anchor of their log (2000 s since")


def test_the_first_who_saw_a_head_dates_it(tmp_path: Path) -> None:
    """Not the last one that saw it again: a log that stands still gets no younger."""
    epoch = ledgers.write(tmp_path / "ledger", 4)
    control = control_log(tmp_path / "ledger", head(epoch, 4), head(epoch, 4), head(epoch, 4))
    for size, at in ((2, 1000), (3, 2000), (4, 3000)):
        cosign(tmp_path / "outside", control, CONTROL_LOG, size, at)
    assert dated(check(tmp_path).logs[1]) == [(4, 1000)]


def test_a_head_that_no_anchor_covers_dates_nothing(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path / "ledger", 9)
    control = control_log(tmp_path / "ledger", head(epoch, 2), head(epoch, 8))
    cosign(tmp_path / "outside", control, CONTROL_LOG, 2, 1000)
    assert dated(check(tmp_path).logs[1]) == [(2, 1000)]


def test_a_tail_cut_below_an_anchored_head_is_found(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path / "ledger", 9)
    control = control_log(tmp_path / "ledger", head(epoch, 8))
    cosign(tmp_path / "outside", control, CONTROL_LOG, 2, 1000)
    ledgers.store(epoch, ledgers.read(epoch)[:6])
    ledgers.seal(epoch, WORKER_LOG)
    fault = check(tmp_path).first_fault
    assert fault.what.startswith("rolled back: the log ends here, but 8 entries were anchored outside")
    assert (fault.line, fault.seq) == (7, 6)


def test_a_rewritten_worker_s_log_is_found_by_its_anchored_head(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path / "ledger", 9)
    control = control_log(tmp_path / "ledger", head(epoch, 8))
    cosign(tmp_path / "outside", control, CONTROL_LOG, 2, 1000)
    ledgers.rechain(epoch, lambda entries: entries[3].update(decision="deny"), ledgers.SIGNER)
    ledgers.seal(epoch, WORKER_LOG)
    fault = check(tmp_path).first_fault
    assert fault.what == "its root is not that of the first 8 entries on disk"
    assert fault.file.endswith("control/" + ledgers.EPOCH + "/entries/00000000.jsonl, line 2")


def test_an_epoch_that_is_anchored_stands_for_the_one_it_continues(tmp_path: Path) -> None:
    """Nobody outside has to be told of every epoch: the next one names its end."""
    old = ledgers.write(tmp_path / "ledger", 5, closed=True)
    new = ledgers.follow(tmp_path / "ledger", old)
    cosign(tmp_path / "outside", new, f"{ledgers.WORKER}/{new.name}", 2, 1000)
    report = check(tmp_path)
    assert report.verified
    assert [dated(log) for log in report.logs] == [[(5, 1000)], [(2, 1000)]]


def test_a_head_names_a_log_that_is_gone(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path / "ledger", 5)
    ledgers.write(tmp_path / "ledger", 5, epoch=ledgers.LATER_EPOCH)
    control = control_log(tmp_path / "ledger", head(epoch, 5))
    cosign(tmp_path / "outside", control, CONTROL_LOG, 2, 1000)
    for path in sorted(epoch.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    epoch.rmdir()
    fault = check(tmp_path).first_fault
    assert fault.what == f"missing: 5 entries of {WORKER_LOG} were anchored outside"
