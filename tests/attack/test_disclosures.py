"""Disclosures that were changed, exchanged or invented are found by file, line and seq; erased ones are said.

The attacker has the disk, and what was ever disclosed, but no key of the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authz import canonical
from authz.ledger import keys, verify
from authz.ledger.disclosures import form, reader
from authz.ledger.disclosures.erase import Epoch, Erasing
from authz.ledger.disclosures.vault import Vault
from authz.ledger.disclosures.wish import Wish
from authz.ledger.report import Fault, LogReport
from tests import disclosed, ledgers
from tests.workers import Worker

UNFIT = "a disclosure that is not among the digests of its entry"
CHANGED = "encrypted: changed, or of another entry"


@pytest.fixture
async def keeping(worker: Worker) -> Worker:
    """Four decisions with two disclosures each: lines 1 to 4 are of the entries 1 to 4."""
    disclosed.keeps(worker)
    await disclosed.decide(worker, 4)
    worker.judged = True
    return worker


def judged(worker: Worker, vault: Vault | None = None, level: int = 3) -> LogReport:
    (log,) = verify.verify(worker.root, ledgers.TRUST, level, vault=vault).logs
    return log


def fault(worker: Worker, vault: Vault | None = None) -> tuple[str, int, int]:
    """What is found, at which line and seq, in the file of disclosures."""
    found = judged(worker, vault).fault
    assert isinstance(found, Fault)
    assert found.file == str(disclosed.file(worker))
    return found.what, found.line, found.seq


def released(worker: Worker) -> list[form.Line]:
    """All lines, opened."""
    epoch = worker.epochs[-1]
    opener = reader.Opener(epoch, f"aegis.test/worker-0/{epoch.name}", disclosed.vault(worker))
    opened = [opener.open(each) for each in reader.kept(epoch, 0)]
    return [form.Line(each.line.decision_id, each.line.seq, each.sd or ()) for each in opened]


def release(worker: Worker, lines: list[form.Line]) -> None:
    """Have these lie there in the open."""
    stored = [form.plain(line.decision_id, line.seq, line.sd) + b"\n" for line in lines]
    disclosed.file(worker).write_bytes(b"".join(stored))


def counts(log: LogReport) -> tuple[int, int, int, int]:
    assert log.fault is None
    found = log.disclosed
    return found.fit, found.encrypted, found.absent, found.strange


def test_what_nobody_touched_fits_with_and_without_keys(keeping: Worker) -> None:
    assert counts(judged(keeping, disclosed.vault(keeping))) == (8, 0, 0, 0)
    assert counts(judged(keeping)) == (0, 8, 0, 0)
    release(keeping, released(keeping))
    assert counts(judged(keeping)) == (8, 0, 0, 0)


def test_another_salt_is_found(keeping: Worker) -> None:
    """The value is right, but anybody could have written it."""
    lines = released(keeping)
    real = form.parse(lines[2].sd[1])
    forged = form.make(real.name, real.value, b"another salt 16b")
    lines[2] = form.Line(lines[2].decision_id, 3, (lines[2].sd[0], forged))
    release(keeping, lines)
    assert fault(keeping) == (UNFIT, 3, 3)


def test_another_value_under_the_right_salt_is_found(keeping: Worker) -> None:
    lines = released(keeping)
    real = form.parse(lines[0].sd[1])
    salt = real.salt.encode()
    changed = json.dumps([real.salt, real.name, "198.51.100.9"]).encode()
    assert salt in changed
    lines[0] = form.Line(lines[0].decision_id, 1, (form._base64url(changed),))
    release(keeping, lines)
    assert fault(keeping) == (UNFIT, 1, 1)


def test_a_disclosure_of_another_entry_is_found(keeping: Worker) -> None:
    lines = released(keeping)
    lines[1] = form.Line(lines[1].decision_id, 2, lines[3].sd)
    release(keeping, lines)
    assert fault(keeping) == (UNFIT, 2, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members | {"seq": 4},
        lambda members: members | {"decision_id": ledgers.decision(3)["decision_id"]},
        lambda members: members | {"encrypted": members["encrypted"][:-8] + "AAAAAAA="},
    ],
)
def test_an_encrypted_line_that_was_moved_or_changed_is_found(
    keeping: Worker, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    lines = disclosed.file(keeping).read_bytes().splitlines()
    members = change(canonical.parse(lines[0]))
    disclosed.file(keeping).write_bytes(b"\n".join([canonical.encode(members), *lines[1:], b""]))
    assert fault(keeping, disclosed.vault(keeping)) == (CHANGED, 1, members["seq"])
    assert judged(keeping).fault is None  # without the keys nobody can say, and nobody does


def test_an_entry_that_disclosed_nothing_can_be_given_nothing(keeping: Worker) -> None:
    release(keeping, [form.Line("id", 0, (form.make("facts", "invented", bytes(16)),))])
    assert fault(keeping) == (UNFIT, 1, 0)


def test_a_line_in_another_segment_than_its_entry_is_found(keeping: Worker) -> None:
    release(keeping, [form.Line("id", 65_536, (form.make("facts", "x", bytes(16)),))])
    assert fault(keeping) == ("of an entry of another segment", 1, 65_536)


@pytest.mark.parametrize("line", [b"{}", b"\xff", b'{"seq": 1}', b"null"])
def test_a_line_that_is_none_is_found(keeping: Worker, line: bytes) -> None:
    file = disclosed.file(keeping)
    file.write_bytes(file.read_bytes() + line + b"\n")
    found = judged(keeping).fault
    assert found
    assert (found.file, found.line) == (str(file), 5)


def test_what_is_erased_is_said_and_is_no_fault(keeping: Worker) -> None:
    epoch = keeping.epochs[-1]
    here = [Epoch(epoch, f"aegis.test/worker-0/{epoch.name}")]
    vault = disclosed.vault(keeping)
    erasing = Erasing(keeping.state / "erasures", lambda: here, vault, lambda event: None)
    keeping.seal()
    erasing.erase(Wish("agent", "a", "", "", "officer", "request"))
    for level in (2, 3):
        assert counts(judged(keeping, vault, level)) == (4, 0, 4, 0)


def test_a_destroyed_key_reads_as_erased_and_so_does_a_file_that_is_gone(keeping: Worker) -> None:
    vault = disclosed.vault(keeping)
    for stored in list(vault.stored(keeping.epochs[-1])):
        vault.destroy(stored)
    assert counts(judged(keeping, vault))[0] == 0
    disclosed.file(keeping).unlink()
    assert counts(judged(keeping, vault)) == (0, 0, 8, 0)


def test_lines_beyond_the_log_s_end_are_counted(keeping: Worker) -> None:
    """After a machine stopped, disclosures may have got down whose entries did not."""
    lines = released(keeping)
    release(keeping, [*lines, form.Line("id", 99, lines[0].sd)])
    assert counts(judged(keeping)) == (8, 0, 0, 1)


def test_a_key_from_elsewhere_opens_nothing_and_is_named(keeping: Worker, tmp_path: Path) -> None:
    foreign = Vault(keeping.state / "disclosure-keys", bytes(32))
    found = judged(keeping, foreign).fault
    assert found
    assert "wrapped by another key" in found.what
    assert keys.load(keeping.state / "keys" / "disclosures.key") != bytes(32)
