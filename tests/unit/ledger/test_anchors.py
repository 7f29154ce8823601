"""Anchors are read from files that anybody may have made: each holds, or is a fault with its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authz.ledger import anchors, notes
from tests import ledgers
from tests.anchored import Outside, trusting
from tests.cosigning import cosigned
from tests.tsa import Tsa


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "outside", ledgers.write(tmp_path / "ledger", 6))


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


def faults(given: anchors.Given) -> list[str]:
    return [f"{Path(fault.file).name}: {fault.what}" for fault in given.faults]


def test_what_holds_is_known_by_log_and_by_who_says_when(outside: Outside, tsa: Tsa) -> None:
    outside.copy(3)
    outside.cosign(4, at=1000)
    outside.stamp(5, tsa)
    given = outside.read(tsa)
    assert not given.faults
    assert given.sizes(outside.log) == {3, 4, 5}
    newest = {dated.by: (dated.size, dated.time) for dated in given.newest(outside.log)}
    assert newest["witnesses"] == (4, "1970-01-01T00:16:40Z")
    assert newest["time stamp"][0] == 5
    assert newest[""] == (5, "")
    assert given.sizes("another/log/x") == set()


def test_of_one_size_the_earliest_date_counts(outside: Outside) -> None:
    outside.cosign(4, at=1000)
    (outside.directory / "late").mkdir()
    (outside.directory / "late" / f"{4:020}.cosigned").write_bytes(cosigned(outside.note(4), 3000))
    dated = [dated for dated in outside.read().newest(outside.log) if dated.by]
    assert [(each.size, each.at) for each in dated] == [(4, 1000.0)]


def test_how_much_is_proven_to_be_older_than_a_moment(outside: Outside) -> None:
    """A key that was revoked is believed below that (EVIDENCE section 7)."""
    for size, at in ((2, 1000), (4, 2000), (6, 3000)):
        outside.cosign(size, at)
    outside.copy(6)  # nobody says when
    given = outside.read()
    before = {moment: given.size_before(outside.log, moment) for moment in (999, 1000, 1001, 2500, 9999)}
    assert before == {999: 0, 1000: 0, 1001: 2, 2500: 4, 9999: 6}


def test_what_cannot_be_compared_any_more_dates_nothing(outside: Outside) -> None:
    """Of pruned entries the roots at some sizes are left."""
    for size, at in ((2, 1000), (4, 2000), (6, 3000)):
        outside.cosign(size, at)
    given = outside.read()
    roots = {anchor.size: anchor.root for anchor in given.anchors[outside.log] if anchor.size != 6}
    assert given.comparable(outside.log, 6, roots | {6: b""}) is given
    left = given.comparable(outside.log, 6, roots)
    assert (left.sizes(outside.log), left.size_before(outside.log, 9999)) == ({2, 4}, 4)
    assert left.unused == (f"2 anchors of {outside.log}: of sizes whose entries were pruned",)
    beyond = given.comparable(outside.log, 5, roots)
    assert beyond.contradicting(outside.log, 5, roots)  # more was seen than is here


def test_one_file_may_be_given_whatever_it_is_called(outside: Outside, tsa: Tsa, tmp_path: Path) -> None:
    note = tmp_path / "checkpoint"
    note.write_bytes(outside.note(6))
    stamp = tmp_path / "checkpoint.tsr"
    stamp.write_bytes(tsa.stamp(outside.note(6)))
    for file, by in ((note, ""), (stamp, "time stamp")):
        given = anchors.read([file], trusting(tsa))
        assert [(dated.size, dated.by) for dated in given.newest(outside.log)] == [(6, by)]


def test_what_is_not_called_like_an_anchor_is_not_looked_at(outside: Outside) -> None:
    outside.copy(3)
    (outside.directory / outside.log / "last.json").write_text("{}")
    (outside.directory / outside.log / f"{3:019}").write_text("x")
    os.symlink(outside.file(3), outside.file(4))
    given = outside.read()
    assert (given.sizes(outside.log), given.faults) == ({3}, ())


def test_a_path_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        anchors.read([tmp_path / "none"], trusting())


def test_a_checkpoint_that_its_log_did_not_sign_is_a_fault(outside: Outside) -> None:
    checkpoint = notes.parse(outside.note(3))
    outside.file(3).write_bytes(notes.sign(outside.log, 3, checkpoint.root, ledgers.OTHER_SEED))
    outside.file(4).write_bytes(notes.sign("aegis.other/worker-0/x", 4, checkpoint.root, ledgers.LOG_SEED))
    outside.file(5).write_bytes(b"nonsense")
    outside.file(6).write_bytes(b"x" * (notes.MAX_NOTE + 1))
    given = outside.read()
    assert not given.anchors
    assert faults(given) == [
        f"{3:020}: not signed by a pinned key of its log",
        f"{4:020}: no key is pinned for aegis.other/worker-0/x",
        f"{5:020}: note: no blank line, or the last line is not ended",
        f"{6:020}: {6:020}: longer than {notes.MAX_NOTE} bytes",
    ]


def test_a_name_that_says_another_size_is_a_fault(outside: Outside) -> None:
    """Whoever exchanges objects must not be able to hide the larger one."""
    outside.file(6).write_bytes(outside.note(3))
    assert faults(outside.read()) == [f"{6:020}: a checkpoint of 3 entries under the name of another size"]


def test_a_time_stamp_without_what_it_is_about_is_a_fault(outside: Outside, tsa: Tsa) -> None:
    outside.stamp(3, tsa)
    outside.file(3).unlink()
    assert faults(outside.read(tsa)) == [f"{3:020}.tsr: {3:020}, which it is about, is missing"]


def test_what_nobody_pinned_is_said_and_dates_nothing(outside: Outside, tsa: Tsa) -> None:
    outside.stamp(5, tsa)
    outside.cosign(5, at=1000)
    given = anchors.read([outside.directory], ledgers.TRUST)
    assert [dated.by for dated in given.newest(outside.log)] == [""]
    assert given.unused == (
        "cosignatures: the trust file pins no `witnesses`",
        "time stamps: the trust file pins no `tsa_roots`",
    )


def test_fewer_cosignatures_than_the_quorum_date_nothing(outside: Outside) -> None:
    file = outside.file(3, ".cosigned")
    file.write_bytes(cosigned(outside.note(3), 1000, b"\x33" * 32, "witness.test/other"))
    given = outside.read()
    assert [dated.by for dated in given.newest(outside.log)] == [""]
    assert given.unused == (f"{file}: fewer cosignatures than the quorum of `witnesses`",)
