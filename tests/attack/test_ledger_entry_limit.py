"""An entry of exactly 16,384 bytes is one; a byte more is none, signed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz import canonical
from authz.ledger import merkle
from tests import ledgers

LIMIT = 16_384
LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def sized(size: int) -> bytes:
    """An entry of `size` bytes in second place, attested by the pinned key."""
    previous = merkle.leaf_hash(next(ledgers.chain(ledgers.story(1), LOG))).hex()
    members = {
        "log": LOG,
        "seq": 1,
        "previous_entry_hash": previous,
        "signer_id": ledgers.WORKER,
        "timestamp": "2026-01-01T00:00:01.000000Z",
        "kind": "heartbeat",
        "padding": "",
    }
    bare = canonical.encode(members)
    token = ledgers.SIGNER.attest(members, bare)
    room = size - len(bare) - len(token) - len(b'"attestation_signature":"",')
    members["padding"] = "p" * room
    token = ledgers.SIGNER.attest(members, canonical.encode(members))
    entry = canonical.encode(members | {"attestation_signature": token.decode()})
    assert len(entry) == size
    return entry


def store(tmp_path: Path, *entries: bytes) -> Path:
    epoch = ledgers.write(tmp_path, 1)
    ledgers.edit(epoch, lambda stored: stored.extend(entries))
    ledgers.seal(epoch, LOG)
    return epoch


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_an_entry_at_the_limit_verifies(tmp_path: Path, size: int, level: int) -> None:
    store(tmp_path, sized(size))
    report = ledgers.check(tmp_path, level)
    assert report.verified, report.first_fault


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 2, LIMIT + 3, 2 * LIMIT, 2 * LIMIT + 2, 100 * LIMIT])
def test_an_entry_over_it_is_named_though_it_is_signed_and_sealed(
    tmp_path: Path, size: int, level: int
) -> None:
    store(tmp_path, sized(size))
    fault = ledgers.found(tmp_path, level)
    assert (fault.what, fault.line, fault.seq) == ("longer than 16384 bytes", 2, 1)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize(("length", "excused"), [(LIMIT, True), (LIMIT + 1, False), (LIMIT + 2, False)])
def test_an_unfinished_line_over_it_can_never_become_an_entry(
    tmp_path: Path, length: int, excused: bool, level: int
) -> None:
    epoch = store(tmp_path)
    with (epoch / "entries" / "00000000.jsonl").open("ab") as file:
        file.write(sized(100 * LIMIT)[:length])
    assert ledgers.check(tmp_path, level).verified == excused
