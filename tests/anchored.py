"""What others outside hold of a test's ledger: its checkpoints, cosigned, time-stamped, or just copied.

outside = Outside(tmp_path / "outside", epoch)
outside.copy(5)                                  <log>/00000000000000000005
outside.cosign(5, at=1000)                       <log>/00000000000000000005.cosigned
outside.stamp(5, tsa)                            <log>/00000000000000000005.tsr
report = outside.check(tmp_path / "ledger")
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from authz.ledger import anchors, merkle, notes, quorum, verify
from authz.ledger.report import Fault, Report
from authz.ledger.trust import Trust
from tests import ledgers
from tests.cosigning import WITNESS, cosigned
from tests.tsa import Tsa

POLICY = quorum.parse(f"witness w1 {WITNESS.vkey}\nquorum w1".encode())


class Outside:
    """Anchors of `epoch` in `directory`; its entries are those of the moment in which it is made."""

    def __init__(self, directory: Path, epoch: Path) -> None:
        self.log = f"{ledgers.WORKER}/{epoch.name}"
        self.directory = directory
        self._leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(epoch)]
        (directory / self.log).mkdir(parents=True, exist_ok=True)

    def note(self, size: int) -> bytes:
        return notes.sign(self.log, size, merkle.root(self._leaves[:size]), ledgers.LOG_SEED)

    def file(self, size: int, suffix: str = "") -> Path:
        return self.directory / self.log / f"{size:020}{suffix}"

    def copy(self, size: int) -> Path:
        self.file(size).write_bytes(self.note(size))
        return self.file(size)

    def cosign(self, size: int, at: int) -> Path:
        file = self.file(size, ".cosigned")
        file.write_bytes(cosigned(self.note(size), at))
        return file

    def stamp(self, size: int, tsa: Tsa) -> Path:
        file = self.file(size, ".tsr")
        file.write_bytes(tsa.stamp(self.copy(size).read_bytes()))
        return file

    def read(self, tsa: Tsa | None = None) -> anchors.Given:
        return anchors.read([self.directory], trusting(tsa))

    def check(self, path: Path, level: int = 3, tsa: Tsa | None = None, now: float = 2000) -> Report:
        return verify.verify(path, trusting(tsa), level, given=self.read(tsa), now=now)

    def found(self, path: Path, level: int = 3, tsa: Tsa | None = None) -> Fault:
        """The fault that verification must find."""
        report = self.check(path, level, tsa)
        assert not report.verified
        assert report.first_fault is not None
        return report.first_fault


def trusting(tsa: Tsa | None = None) -> Trust:
    """The tests' trust with the test's witness, and with `tsa` if there is one."""
    roots = tsa.roots if tsa else ()
    return msgspec.structs.replace(ledgers.TRUST, witnesses=POLICY, tsa_roots=roots)
