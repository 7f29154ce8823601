"""Other people's verifiers accept what `aegis log serve` publishes of a long log, and nothing changed.

`tlogcheck` is a short program around Go's golang.org/x/mod/sumdb/note and tlog, `tessera-fsck` is Tessera's
own; tools/verifiers.py builds both. The log is written by a real worker and sealed by a real follower.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz.ledger import keys, trust
from tests import ledgers
from tests.workers import Worker, decision

BIN = Path(sys.executable).parent
ENTRIES = 70_000  # two segments; 273 full tiles and a partial one at level 0, partial ones at 1 and 2
LIMIT_S = 240
pytestmark = pytest.mark.timeout(2 * LIMIT_S)


class Published:
    """A worker's ledger with the files that an outsider has: a URL, a vkey, trust.json."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.state = worker, worker.state
        self.trust = self.state / "trust.json"
        self.trust.write_bytes(trust.export(ledgers.TRUST.log_keys, ledgers.TRUST.record_keys))
        self.log = f"{ledgers.WORKER}/{worker.epochs[0].name}"
        self.vkey = self.state / "vkey"
        self.vkey.write_text(keys.vkey(self.log, keys.public_key(ledgers.LOG_SEED)))

    @contextmanager
    def served(self) -> Iterator[str]:
        """`aegis log serve` in a process of its own; the log's prefix."""
        command = [BIN / "aegis", "log", "serve", self.worker.root.parent, "--trust", self.trust]
        process = subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
            process.stdout.close()

    def proof(self, seq: int) -> list[Path]:
        """The two files that `aegis proof` makes."""
        places = ("--ledger", self.worker.root, "--trust", self.trust, "--out", self.state)
        said = run(BIN / "aegis", "proof", seq, *places)
        assert said.returncode == 0, said.stderr
        return [self.state / f"{seq}.tlog-proof", self.state / f"{seq}.json"]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def fsck(url: str, vkey: Path, *more: str) -> str:
    """What Tessera's fsck says. Its exit status is 0 whatever it finds."""
    return run(
        BIN / "tessera-fsck", f"--storage_url={url}", f"--public_key={vkey}", "--ui=false", *more
    ).stderr


async def fill(worker: Worker, entries: int) -> None:
    """Open, decisions, `close`: so many entries."""
    async with worker.running() as ledger:
        while ledger.seq < entries - 1:
            batch = min(1000, entries - 1 - ledger.seq)
            await asyncio.gather(*(ledger.append("decision", decision(ledger.seq)) for _ in range(batch)))


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Published:
    worker = Worker(tmp_path_factory.mktemp("long") / "var")
    asyncio.run(fill(worker, ENTRIES))
    worker.seal()
    return Published(worker)


def test_go_s_own_packages_accept_a_log_of_70_000_entries_and_a_proof(long_log: Published) -> None:
    proof = long_log.proof(65_536 + 17)
    with long_log.served() as url:
        said = run(BIN / "tlogcheck", url, long_log.vkey, *proof)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        f"proof: entry 65553 is under a checkpoint of {ENTRIES} entries",
        f"entries: the root over all {ENTRIES} is the signed one",
        "tiles: they prove entries and earlier trees",
    ]


def test_tessera_s_fsck_accepts_a_log_of_70_000_entries(long_log: Published) -> None:
    with long_log.served() as url:
        said = fsck(url, long_log.vkey, "--N=4")
    assert f"Successfully fsck'd log with size {ENTRIES} and root" in said, said


def test_our_verifier_says_the_same(long_log: Published) -> None:
    report = ledgers.check(long_log.worker.root, level=2)
    assert report.verified, report.first_fault
    assert report.logs[0].sealed == ENTRIES


async def test_a_log_that_grows_meanwhile_is_accepted_up_to_its_checkpoint(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "var")
    async with worker.running() as ledger:
        worker.seal()
        published = Published(worker)
        with published.served() as url:
            for size in (200, 256, 300, 700):
                while ledger.seq < size:
                    await ledger.append("decision", decision(ledger.seq))
                worker.seal()
                said = await asyncio.to_thread(fsck, url, published.vkey)
                assert f"Successfully fsck'd log with size {size} and root" in said, said
                said_by_go = await asyncio.to_thread(run, BIN / "tlogcheck", url, published.vkey)
                assert said_by_go.returncode == 0, said_by_go.stderr
    worker.check()


@pytest.mark.parametrize("changed", ["an entry", "the checkpoint's key"])
def test_a_changed_log_is_refused(tmp_path: Path, changed: str) -> None:
    worker = Worker(tmp_path / "var")
    asyncio.run(fill(worker, 600))
    worker.seal()
    published = Published(worker)
    if changed == "an entry":
        change = lambda entries: entries.__setitem__(5, entries[5].replace(b"allow", b"deny!"))  # noqa: E731
        ledgers.edit(worker.epochs[0], change)
    else:
        published.vkey.write_text(keys.vkey(published.log, keys.public_key(ledgers.OTHER_SEED)))
    with published.served() as url:
        assert run(BIN / "tlogcheck", url, published.vkey).returncode == 1
        assert "Successfully" not in fsck(url, published.vkey)
