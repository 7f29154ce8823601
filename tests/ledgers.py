"""Ledgers for tests, made of real entries, and the hands of an attacker who has the disk but no key.

    epoch = ledgers.write(tmp_path, 5)                     a sealed log in tmp_path/worker-0/<epoch>/
    ledgers.swap(epoch, 1, 2)                              what was done to it
    assert verify(tmp_path, ledgers.TRUST).first_fault     what must be found

It shares nothing with the writer but the encoding and signing of one entry, so it makes what no writer would:
entries that lie, logs that end too early, segments without signatures (quickly, for level 2).
"""

from __future__ import annotations

import json
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from authz import canonical
from authz.ledger import keys, merkle, notes, trust, verify
from authz.ledger.entry import encode
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.report import Fault, Report
from authz.ledger.signer import Signer
from authz.ledger.trust import Trust

RECORD_SEED, LOG_SEED, OTHER_SEED = (bytes([number]) * 32 for number in (1, 2, 3))
VECTORS = Path(__file__).parent / "vectors" / "ledger"
WORKER = "aegis.test/worker-0"
EPOCH = "20260101T000000Z-0000000000000000"
LATER_EPOCH = "20260102T000000Z-0000000000000001"
CONTROL = "aegis.test/control"
TRUST = Trust(
    dict.fromkeys((f"{WORKER}/", f"{CONTROL}/"), (keys.public_key(LOG_SEED),)),
    (keys.public_key(RECORD_SEED),),
)
SIGNER = Signer(RECORD_SEED)

Members = dict[str, Any]


def decision(number: int) -> Members:
    """What a decision says, the schema's members and a few more."""
    return {
        "kind": "decision",
        "decision_id": f"019b7690-{number:04x}-7000-8000-{number:012x}",
        "agent_id": "billing-agent",
        "tool": "stripe.charge",
        "params_hash": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "policy_version": "v1.3.2",
        "decision": "allow",
        "reason_code": "policy_compliant",
        "trace_id": f"{number:032x}",
    }


def story(count: int, *, opening: Members | None = None, closed: bool = False) -> Iterator[Members]:
    """`open`, decisions, and `close` if wanted: `count` entries without their places."""
    yield {"kind": "open", "version": "0.1.0"} | (opening or {})
    for number in range(1, count - closed):
        yield decision(number)
    if closed:
        yield {"kind": "close", "size": count - 1}


def line(members: Members, log: str, seq: int, previous: str, signer: Signer | None = SIGNER) -> bytes:
    """One entry's bytes. Without a signer its attestation is a word, which level 2 does not read."""
    whole = {
        "log": log,
        "seq": seq,
        "previous_entry_hash": previous,
        "signer_id": WORKER,
        "timestamp": f"2026-01-01T00:{seq // 60 % 60:02}:{seq % 60:02}.000000Z",
    } | members
    if signer is None:
        return canonical.encode(whole | {"attestation_signature": "unsigned"})
    return encode(whole, signer)


def chain(story: Iterator[Members], log: str, signer: Signer | None = SIGNER) -> Iterator[bytes]:
    """Entries in a row, each naming the hash of the one before."""
    previous = merkle.EMPTY_HASH_HEX
    for seq, members in enumerate(story):
        entry = line(members, log, seq, previous, signer)
        previous = merkle.leaf_hash(entry).hex()
        yield entry


def write(
    root: Path,
    entries: int | Iterator[Members],
    *,
    epoch: str = EPOCH,
    signer: Signer | None = SIGNER,
    sealed: bool = True,
    closed: bool = False,
) -> Path:
    """An epoch of WORKER below `root`, under a checkpoint over all of it; returns its directory."""
    directory = root / "worker-0" / epoch
    log = f"{WORKER}/{epoch}"
    said = story(entries, closed=closed) if isinstance(entries, int) else entries
    store(directory, list(chain(said, log, signer)))
    if sealed:
        seal(directory, log)
    return directory


def write_long(root: Path, entries: int) -> Path:
    """A sealed epoch of short entries without signatures, for level 2: 5 us an entry instead of 60."""

    def said() -> Iterator[Members]:
        yield {"kind": "open"}
        yield from ({"kind": "heartbeat"} for _ in range(entries - 1))

    return write(root, said(), signer=None)


def follow(root: Path, old: Path, **said: Any) -> Path:
    """The epoch after `old`, opened on what `old` holds, with anything it says replaced by `said`."""
    leaves = [merkle.leaf_hash(entry) for entry in read(old)]
    opening = {
        "previous_log": f"{WORKER}/{old.name}",
        "previous_size": len(leaves),
        "previous_root": merkle.root(leaves).hex(),
    } | said
    return write(root, story(3, opening=opening), epoch=LATER_EPOCH)


def read(epoch: Path) -> list[bytes]:
    """The stored entries, whatever they are."""
    stored = [file.read_bytes() for file in sorted((epoch / "entries").glob("*.jsonl"))]
    return b"".join(stored).split(b"\n")[:-1]


def members(epoch: Path) -> list[Members]:
    """The stored entries, read."""
    return [canonical.parse(entry) for entry in read(epoch)]


def kid(entry: Members) -> str:
    """Whose attestation an entry says to have."""
    header = entry["attestation_signature"].split(".")[0]
    return str(json.loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


def leaf(epoch: Path, seq: int) -> str:
    """The hash (hex) of a stored entry."""
    return merkle.leaf_hash(read(epoch)[seq]).hex()


def store(epoch: Path, entries: list[bytes]) -> None:
    """Make these the entries on disk."""
    directory = epoch / "entries"
    directory.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(entries), SEGMENT_ENTRIES):
        data = b"".join(entry + b"\n" for entry in entries[start : start + SEGMENT_ENTRIES])
        (directory / segment_name(start)).write_bytes(data)


def seal(epoch: Path, log: str, size: int | None = None, seed: bytes = LOG_SEED) -> None:
    """Sign a checkpoint over the first `size` stored entries (all by default)."""
    leaves = [merkle.leaf_hash(entry) for entry in read(epoch)[:size]]
    (epoch / "checkpoint").write_bytes(notes.sign(log, len(leaves), merkle.root(leaves), seed))


# -- the attacker's hands


def edit(epoch: Path, change: Callable[[list[bytes]], None]) -> None:
    """Change the list of stored entries in place."""
    entries = read(epoch)
    change(entries)
    store(epoch, entries)


def rechain(epoch: Path, change: Callable[[list[Members]], None], signer: Signer | None = None) -> None:
    """Change members and make every place, link and root agree again: all that can be had without keys."""
    changed = members(epoch)
    change(changed)
    log = f"{WORKER}/{epoch.name}"
    fresh = [
        {name: value for name, value in entry.items() if name not in ("seq", "previous_entry_hash")}
        for entry in changed
    ]
    if signer is not None:
        for entry in fresh:
            del entry["attestation_signature"]
        store(epoch, list(chain(iter(fresh), log, signer)))
        return
    previous, entries = merkle.EMPTY_HASH_HEX, []
    for seq, entry in enumerate(fresh):
        entries.append(canonical.encode(entry | {"seq": seq, "previous_entry_hash": previous}))
        previous = merkle.leaf_hash(entries[-1]).hex()
    store(epoch, entries)


def check(path: Path, level: int = 3, pinned: Trust = TRUST) -> Report:
    """Verify with the tests' trust; `path` is one log or a tree."""
    return verify.verify(path, pinned, level)


def found(path: Path, level: int = 3) -> Fault:
    """The fault that verification must find."""
    report = check(path, level)
    assert not report.verified
    assert report.first_fault is not None
    return report.first_fault


def published(root: Path) -> tuple[Path, Trust]:
    """A copy of the published ledger where its name says, and the keys it is to be verified with."""
    epoch = root / "worker-0" / "20260101T000000Z-0011223344556677"
    shutil.copytree(VECTORS, epoch, copy_function=shutil.copyfile)
    return epoch, trust.load(VECTORS / "trust.json")
