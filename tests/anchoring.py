"""Everybody outside, for tests: a real witness, a real authority, a real S3 server, a directory.

with everybody(tmp_path) as outside:
    outside.witness.trust(await sealed(worker))
    settings = outside.settings(worker)            what a follower is told
    outside.trust()                                what a verifier pins
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from authz.config import Settings
from authz.ledger import quorum, timestamps
from authz.ledger.trust import Trust
from tests import ledgers
from tests.outside import serving
from tests.s3 import S3Server, s3_server
from tests.tsa import Tsa
from tests.witnessing import RealWitness, witness
from tests.workers import Worker, decision

KINDS = ("witness", "rfc3161", "s3", "directory")
BUCKET = "anchors-of-ours"
EVERY = {"every_s": 0.05, "of": "all"}


class Everybody:
    """One of each, and the settings that name them."""

    def __init__(self, directory: Path, w1: RealWitness, tsa: Tsa, tsa_url: str, s3: S3Server) -> None:
        self.witness, self.tsa, self.s3 = w1, tsa, s3
        self.policy, self.elsewhere = directory / "witnesses.policy", directory / "elsewhere"
        self.policy.write_text(w1.policy())
        self.elsewhere.mkdir()
        s3.bucket(BUCKET)
        self.section: dict[str, Any] = {
            "witness": {"policy": self.policy, "timeout_s": 20, **EVERY},
            "rfc3161": {"url": tsa_url, "roots": tsa.root, "timeout_s": 20, **EVERY},
            "s3": s3.settings(BUCKET).model_dump() | EVERY,
            "directory": {"path": self.elsewhere, **EVERY},
            "start_wait_s": 20,
        }

    def settings(self, worker: Worker) -> Settings:
        tree = worker.settings.model_dump() | {"anchors": self.section}
        return Settings.model_validate(tree)

    def trust(self) -> Trust:
        return Trust(
            ledgers.TRUST.log_keys,
            ledgers.TRUST.record_keys,
            witnesses=quorum.parse(self.witness.policy().encode()),
            tsa_roots=timestamps.read_roots(self.tsa.root.read_bytes()),
        )


@contextmanager
def everybody(directory: Path) -> Iterator[Everybody]:
    tsa = Tsa(directory)
    with (
        witness(directory / "witness") as w1,
        serving(tsa.answer) as server,
        s3_server(directory / "s3") as s3,
    ):
        yield Everybody(directory, w1, tsa, server.url, s3)


async def sealed(worker: Worker, count: int = 3) -> str:
    """A worker that recorded `count` decisions and was sealed; its log."""
    async with worker.running() as ledger:
        for number in range(count):
            await ledger.append("decision", decision(number))
    worker.seal()
    return f"{ledgers.WORKER}/{worker.epochs[-1].name}"
