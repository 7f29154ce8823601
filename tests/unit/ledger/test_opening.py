"""Opening a ledger: what is wrong ends in one sentence that names it, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from authz.config import Settings
from authz.errors import EvidenceUnavailable, KeyUnusable, LedgerLocked
from authz.ledger.writer import RESERVED
from tests.unit.ledger.disks import FailingDisk, FullDisk
from tests.workers import Worker, decision

NOBODY = 65534


async def test_the_first_entries_are_on_disk_when_it_is_open(worker: Worker) -> None:
    class Synced(FullDisk):
        syncs = 0

        def sync(self, fd: int) -> None:
            self.syncs += 1
            super().sync(fd)

    disk = Synced(1 << 20)
    ledger = worker.open(disk)
    assert worker.kinds() == ["open"]
    assert disk.syncs == 1
    await ledger.close()


async def test_open_says_which_settings_and_software_wrote_the_log(worker: Worker) -> None:
    async with worker.running():
        pass
    async with worker.running():
        pass
    worker.configure(heartbeat_s=31)
    async with worker.running():
        pass
    first, second, third = (entries[0] for entries in worker.check())
    assert first["config_sha256"] == second["config_sha256"] != third["config_sha256"]
    assert first["version"] == "0.1.0"


async def test_no_secret_is_in_the_log(worker: Worker) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    stored = worker.segment().read_bytes()
    for key in ("record", "log"):
        seed = (worker.state / "keys" / f"{key}.key").read_bytes().strip()
        assert seed not in stored
        assert bytes.fromhex(seed.decode()) not in stored


@pytest.mark.parametrize("key", ["record", "log"])
async def test_a_key_that_is_missing_or_malformed_or_open_to_others_is_named(
    worker: Worker, key: str
) -> None:
    file = worker.state / "keys" / f"{key}.key"
    whole = file.read_text()
    file.chmod(0o640)
    with pytest.raises(KeyUnusable, match=f"{file}: others may read it"):
        worker.open()
    file.chmod(0o600)
    file.write_text(whole[:20])
    with pytest.raises(KeyUnusable, match=f"{file}: not an Ed25519 seed") as refused:
        worker.open()
    assert whole[:20] not in str(refused.value)
    file.unlink()
    with pytest.raises(KeyUnusable, match=f"{file}: No such file"):
        worker.open()
    assert not worker.root.exists()


async def test_a_key_that_cannot_be_read_is_named(worker: Worker) -> None:
    file = worker.state / "keys" / "record.key"
    file.unlink()
    file.mkdir()
    with pytest.raises(KeyUnusable, match=f"{file}"):
        worker.open()


async def test_a_second_writer_is_refused_and_the_first_goes_on(worker: Worker) -> None:
    async with worker.running() as ledger:
        with pytest.raises(LedgerLocked, match=f"{worker.root}: another process writes this ledger"):
            worker.open()
        await ledger.append("decision", decision(1))
    async with worker.running():
        pass
    assert len(worker.epochs) == 2


async def test_after_a_start_that_failed_the_next_one_is_not_locked_out(worker: Worker) -> None:
    with pytest.raises(EvidenceUnavailable):
        worker.open(FullDisk(10))
    async with worker.running():
        pass
    assert worker.kinds() == ["open", "close"]


async def test_a_state_directory_that_is_not_there_is_not_made(worker: Worker) -> None:
    """It may be a volume that is not mounted: a ledger beside it would be forgotten."""
    missing = worker.state / "missing"
    keys = {f"{name}_key": worker.state / "keys" / f"{name}.key" for name in ("record", "log")}
    worker.settings = Settings(deployment="aegis.test", worker="worker-0", state=missing, ledger=keys)
    with pytest.raises(EvidenceUnavailable, match=f"{missing}/ledger: No such file or directory"):
        worker.open()
    assert not missing.exists()


async def test_a_directory_that_cannot_be_written_to_is_named(worker: Worker) -> None:
    disk = FailingDisk(errno.EACCES)
    disk.broken = {"make_directory"}
    with pytest.raises(EvidenceUnavailable, match=f"{worker.root.parent}: Permission denied"):
        worker.open(disk)


async def test_a_directory_without_the_permission_to_write_is_named(anyones: Worker) -> None:
    anyones.root.parent.mkdir()
    anyones.root.parent.chmod(0o555)
    with without_privileges(), pytest.raises(EvidenceUnavailable, match=f"{anyones.root}: Permission denied"):
        anyones.open()


async def test_a_key_of_another_user_is_named(anyones: Worker) -> None:
    file = anyones.state / "keys" / "record.key"
    file.chmod(0)
    with without_privileges(), pytest.raises(KeyUnusable, match=f"{file}: Permission denied"):
        anyones.open()


@pytest.fixture
def anyones() -> Iterator[Worker]:
    """A worker below a directory that any user can reach, with keys that anybody owns."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        made = Worker(Path(directory) / "var")
        if os.geteuid() == 0:
            for file in (made.state / "keys").iterdir():
                os.chown(file, NOBODY, NOBODY)
        yield made
        assert not made.epochs if made.root.is_dir() else True


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user who is not root, whoever runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_file_in_the_place_of_the_directory_is_named(worker: Worker) -> None:
    worker.root.parent.mkdir()
    worker.root.touch()
    with pytest.raises(EvidenceUnavailable, match=f"{worker.root}: File exists"):
        worker.open()


@pytest.mark.parametrize("room", [0, 100, 1000])
async def test_a_disk_that_is_full_at_the_start_is_said_and_forgotten(worker: Worker, room: int) -> None:
    with pytest.raises(EvidenceUnavailable, match="No space left on device"):
        worker.open(FullDisk(room))
    async with worker.running():
        pass
    assert len(worker.epochs) == 1


async def test_a_checkpoint_store_that_cannot_be_read_is_named(worker: Worker) -> None:
    """Without it, a disk that was rolled back would not be noticed."""
    store = worker.state / "checkpoints.sqlite"
    store.write_bytes(b"no database" * 100)
    with pytest.raises(EvidenceUnavailable, match=f"{store}: file is not a database"):
        worker.open()


async def test_a_quota_that_leaves_no_room_is_said_at_the_start(worker: Worker) -> None:
    worker.configure(quota_bytes=RESERVED)
    with pytest.raises(
        EvidenceUnavailable, match=rf"{worker.root.parent} holds \d+ bytes: ledger.quota_bytes"
    ):
        worker.open()


async def test_a_quota_counts_the_ledgers_of_all_workers(worker: Worker, tmp_path: Path) -> None:
    async with worker.running() as ledger:
        await ledger.append("decision", decision(1))
    other = Worker(worker.state)
    other.settings = Settings(
        deployment="aegis.test",
        worker="worker-1",
        state=worker.state,
        ledger={"quota_bytes": RESERVED + 10_000},
    )
    ledger = other.open()
    used = worker.segment().stat().st_size
    assert ledger._room is not None
    assert 9_000 - used <= ledger._room - RESERVED <= 10_000 - used
    await ledger.close()
    assert [json.loads(line)["kind"] for line in _lines(worker.state / "ledger" / "worker-1")] == [
        "open",
        "close",
    ]


def _lines(root: Path) -> list[bytes]:
    return b"".join(file.read_bytes() for file in root.rglob("*.jsonl")).split(b"\n")[:-1]
