"""A log for anchors: real entries on disk, sealed at any size."""

from __future__ import annotations

from pathlib import Path

from authz.followers.anchors.anchor import Candidate
from authz.followers.places import Place
from authz.ledger import notes
from authz.ledger.proofs import Proofs
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


class Log:
    """`entries` of them in `root`; `candidate(n)` is its checkpoint over the first n."""

    def __init__(self, root: Path, entries: int = 9) -> None:
        self.epoch = ledgers.write(root, entries)
        self.proofs = Proofs()

    def candidate(self, size: int) -> Candidate:
        ledgers.seal(self.epoch, LOG, size)
        note = (self.epoch / "checkpoint").read_bytes()
        return Candidate(Place(self.epoch, LOG, final=False), notes.parse(note), note)

    def prove(self, candidate: Candidate, old: int) -> list[bytes]:
        return self.proofs.tree(self.epoch, candidate.checkpoint).consistency_proof(old)
