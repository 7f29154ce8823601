"""Somebody who can write files, and holds no key, has the log key sign what no worker recorded.

What is appended has its form, its place and its link: only an attestation tells it from a worker's entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from authz import canonical
from authz.errors import IntegrityViolation
from authz.followers.own_keys import OwnKeys
from authz.followers.seal import Sealer
from authz.ledger import notes
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.merkle import leaf_hash
from authz.ledger.signer import Signer
from tests import ledgers
from tests.workers import Worker, decision


def forged(epoch: Path, how: str) -> bytes:
    """One more decision after the last entry of `epoch`."""
    last = ledgers.members(epoch)[-1]
    members = ledgers.decision(99) | {
        "log": last["log"],
        "seq": last["seq"] + 1,
        "previous_entry_hash": leaf_hash(ledgers.read(epoch)[-1]).hex(),
        "signer_id": last["signer_id"],
        "timestamp": last["timestamp"],
    }
    if how == "another key":
        return ledgers.encode(members, Signer(ledgers.OTHER_SEED))
    tokens = {"a word": "unsigned", "the last one's": last["attestation_signature"]}
    return canonical.encode(members | {"attestation_signature": tokens[how]})


def append(epoch: Path, how: str, entries: int = 1) -> None:
    for _ in range(entries):
        with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
            file.write(forged(epoch, how) + b"\n")


@pytest.fixture
async def abandoned(worker: Worker) -> Path:
    """The newest epoch of a worker that was killed: two entries are sealed, and a third one is not."""
    async with worker.doomed() as ledger:
        await ledger.append("decision", decision(1))
        worker.seal()
        await ledger.append("decision", decision(2))
    worker.judged = True
    return worker.epochs[0]


def signed(epoch: Path) -> int:
    return notes.parse((epoch / "checkpoint").read_bytes()).size


@pytest.mark.parametrize("entries", [1, 3])
@pytest.mark.parametrize("how", ["a word", "the last one's", "another key"])
def test_what_no_worker_attests_is_never_signed(
    worker: Worker, abandoned: Path, how: str, entries: int
) -> None:
    append(abandoned, how, entries)
    for _ in range(2):  # each time a follower that starts anew
        with pytest.raises(IntegrityViolation, match="not by the record key in use") as violated:
            worker.seal()
        assert violated.value.seq == 2 + entries
        assert violated.value.file == str(abandoned / "entries" / "00000000.jsonl")
    assert signed(abandoned) == 2


@pytest.mark.parametrize("record_keys", [None, [], {}, "x", [1], [{"kty": "OKP"}]])
def test_a_log_that_names_no_key_is_never_signed(worker: Worker, record_keys: Any) -> None:
    said = {} if record_keys is None else {"record_keys": record_keys}
    epoch = ledgers.write(worker.root.parent, ledgers.story(3, opening=said), sealed=False)
    worker.judged = True
    with pytest.raises(IntegrityViolation, match="line 3, seq 2: not by the record key in use"):
        worker.seal()
    assert not (epoch / "checkpoint").exists()


async def test_a_forger_beside_a_follower_that_runs_is_found_at_the_next_round(
    worker: Worker, abandoned: Path
) -> None:
    store = CheckpointStore(worker.state / "others.sqlite")
    sealer = Sealer(worker.root.parent, "aegis.test", store, OwnKeys.of(worker.settings))
    sealer.round()
    assert signed(abandoned) == 3
    append(abandoned, "the last one's")
    with pytest.raises(IntegrityViolation, match="not by the record key in use"):
        sealer.round()
    assert signed(abandoned) == 3
    sealer.close()
    store.close()


async def test_the_worker_owns_up_and_what_follows_is_sealed(worker: Worker, abandoned: Path) -> None:
    append(abandoned, "another key")
    async with worker.running() as ledger:
        await ledger.append("decision", decision(3))
    worker.seal()
    assert [signed(epoch) for epoch in worker.epochs] == [2, 4]
    gap = ledgers.members(worker.epochs[1])[1]
    assert "not by the record key in use" in gap["why"]
    assert ledgers.check(worker.epochs[1]).verified
    assert "attestation" in ledgers.found(worker.epochs[0]).what


def test_an_epoch_under_a_forger_s_own_key_is_never_signed(worker: Worker, abandoned: Path) -> None:
    """A log names its record key, and the follower believes only those of its deployment."""
    forger = Signer(ledgers.OTHER_SEED)
    said = ledgers.story(3, opening={"record_keys": [forger.public_jwk]})
    name = "29990101T000000Z-0000000000000000"
    epoch = ledgers.write(worker.root.parent, said, epoch=name, signer=forger, sealed=False)
    with pytest.raises(IntegrityViolation, match=f"seq 2: .* {forger.kid} is none of this deployment's keys"):
        worker.seal()
    assert not (epoch / "checkpoint").exists()
    fault = ledgers.found(worker.root)
    assert (fault.what, fault.seq) == ("attestation: by a key that is not in trust", 0)


async def test_the_worker_owns_up_to_a_forger_s_epoch_and_what_follows_is_sealed(
    worker: Worker, abandoned: Path
) -> None:
    forger = Signer(ledgers.OTHER_SEED)
    said = ledgers.story(3, opening={"record_keys": [forger.public_jwk]})
    name = "20980101T000000Z-0000000000000000"
    ledgers.write(worker.root.parent, said, epoch=name, signer=forger, sealed=False)
    async with worker.running() as ledger:
        await ledger.append("decision", decision(3))
    worker.seal()
    assert signed(worker.epochs[-1]) == 4
    assert ledgers.members(worker.epochs[-1])[1]["why"] == (
        f"its record key, {forger.kid}, is none of this deployment's"
    )
