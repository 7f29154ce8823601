"""The tree itself is hostile: links, pipes, directories and floods where files should be.

Nothing here may make the verifier raise, wait, leave the tree or take memory without bound.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from authz.ledger import files, notes
from tests import ledgers


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path / "ledger", 3)


def faults(epoch: Path) -> list[str]:
    return [ledgers.found(epoch, level).what for level in (1, 2, 3)]


@pytest.mark.parametrize("name", ["checkpoint", "entries", "entries/00000000.jsonl"])
@pytest.mark.parametrize("what", ["link", "dangling", "pipe", "directory"])
def test_what_is_no_file_is_a_fault_and_is_not_opened(
    epoch: Path, tmp_path: Path, name: str, what: str
) -> None:
    """The link leads to the very file that was there, so only its being a link is wrong."""
    place, aside = epoch / name, tmp_path / "aside"
    place.rename(aside)
    if what == "link":
        place.symlink_to(aside)
    elif what == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif what == "pipe":
        os.mkfifo(place)
    elif name == "entries":
        place.write_bytes(b"a file where a directory should be")
    else:
        place.mkdir()
    assert len(set(faults(epoch))) == 1
    assert faults(epoch)[0] in ("not a regular file", "not a directory")


def test_links_in_the_tree_are_not_followed_and_said(epoch: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    ledgers.write(tmp_path / "elsewhere", 2, epoch=ledgers.LATER_EPOCH)
    root = tmp_path / "ledger"
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "elsewhere")
    report = ledgers.check(root)
    assert report.verified
    assert len(report.logs) == 1
    assert {f"{root / name}: a symbolic link, not followed" for name in ("loop", "out")} < set(
        report.not_checked
    )


def test_a_device_is_not_read(epoch: Path) -> None:
    (epoch / "checkpoint").unlink()
    (epoch / "checkpoint").symlink_to("/dev/zero")
    assert set(faults(epoch)) == {"not a regular file"}


def test_a_huge_line_is_a_fault_and_costs_no_memory(epoch: Path) -> None:
    """A sparse file of 4 GiB without a newline."""
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.truncate(4 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert set(faults(epoch)) == {"longer than 16384 bytes"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_flood_of_lines_ends_at_the_segment_s_bound(epoch: Path) -> None:
    (epoch / "entries" / "00000000.jsonl").write_bytes(b"\n" * 5_000_000)
    assert ledgers.found(epoch, 1).line == 65_537
    assert ledgers.found(epoch, 2).line == 1


def test_a_huge_checkpoint_is_not_read_to_its_end(epoch: Path) -> None:
    with (epoch / "checkpoint").open("ab") as file:
        file.truncate(4 << 30)
    assert set(faults(epoch)) == {"note: too long"}
    assert len(files.checkpoint(epoch)[0] or b"") == notes.MAX_NOTE + 1


def test_a_name_that_is_no_text_is_not_passed_over(epoch: Path) -> None:
    name = b"\xff\x1b[31m.jsonl"
    Path(os.fsdecode(os.fsencode(epoch / "entries") + b"/" + name)).touch()
    (log,) = ledgers.check(epoch).logs
    assert log.not_checked == (f"entries/{os.fsdecode(name)}",)


@pytest.mark.parametrize(
    "junk", [b"\x00" * 5000, b"\xff" * 5000, b'{"a":' * 3000, b'"' * 16000, b"9" * 16000]
)
def test_junk_is_a_fault_wherever_it_stands(epoch: Path, junk: bytes) -> None:
    for place in range(3):
        ledgers.store(epoch, list(ledgers.chain(ledgers.story(3), f"{ledgers.WORKER}/{epoch.name}")))
        assert ledgers.check(epoch).verified
        ledgers.edit(epoch, lambda entries, place=place: entries.__setitem__(place, junk))  # type: ignore[misc]
        assert ledgers.found(epoch).line == place + 1
        assert ledgers.found(epoch, 2).line == place + 1
        assert ledgers.found(epoch, 1)


def test_an_epoch_without_its_entries_is_still_a_log(epoch: Path) -> None:
    for path in (epoch / "entries").iterdir():
        path.unlink()
    (epoch / "entries").rmdir()
    assert all("covers 3 entries" in what for what in faults(epoch))
