"""One record from files alone: what witnesses and revocations say. (Forgeries: unit/cli/test_proof.py.)"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from authz.errors import IntegrityViolation
from authz.ledger import keys, merkle, notes, single
from authz.ledger.anchors import Given
from authz.ledger.proofs import Proofs
from authz.ledger.single import Named, Verified
from authz.ledger.trust import Trust
from tests import ledgers
from tests.anchored import Outside, trusting
from tests.cosigning import cosigned

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
RECORD, LOG_KEY = (keys.thumbprint(keys.public_key(seed)) for seed in (ledgers.RECORD_SEED, ledgers.LOG_SEED))


@pytest.fixture
def epoch(tmp_path: Path) -> Path:
    return ledgers.write(tmp_path / "ledger", 8)


@pytest.fixture
def outside(tmp_path: Path, epoch: Path) -> Outside:
    return Outside(tmp_path / "outside", epoch)


def proved(epoch: Path, pinned: Trust, given: Given | None = None, *, seq: int = 5, at: int = 0) -> Verified:
    """Entry `seq` under the stored checkpoint, cosigned at `at` if that is not 0."""
    note = (epoch / "checkpoint").read_bytes()
    proof = Proofs().prove(epoch, seq, cosigned(note, at) if at else note)
    entry = Named("5.json", ledgers.read(epoch)[seq])
    return single.verify(Named("5.tlog-proof", proof), entry, pinned, given or Given())


def test_what_is_known_of_a_verified_record(epoch: Path) -> None:
    found = proved(epoch, ledgers.TRUST)
    assert found == Verified(LOG, 5, ledgers.leaf(epoch, 5), RECORD, 8, 0)


def test_the_quorum_s_time_is_that_of_the_proof_itself(epoch: Path) -> None:
    assert proved(epoch, trusting(), at=1000).cosigned_at == 1000
    assert proved(epoch, ledgers.TRUST, at=1000).cosigned_at == 0, "nobody pinned this witness"


def test_a_forged_cosignature_is_not_passed_over(epoch: Path) -> None:
    note = cosigned((epoch / "checkpoint").read_bytes(), 1000)
    other = notes.sign(LOG, 8, merkle.leaf_hash(b""), ledgers.LOG_SEED)
    line = cosigned(other, 1000).rpartition(b"\n\xe2\x80\x94")[2]
    proof = Proofs().prove(epoch, 5, note.rpartition(b"\n\xe2\x80\x94")[0] + b"\n\xe2\x80\x94" + line)
    with pytest.raises(IntegrityViolation, match=r"5\.tlog-proof: "):
        single.verify(Named("5.tlog-proof", proof), Named("5.json", b""), trusting(), Given())


def test_another_history_that_others_were_shown_is_told(epoch: Path, outside: Outside) -> None:
    """The holder of the log key showed others a different tree of the same size."""
    ledgers.rechain(epoch, lambda members: members[3].update(agent_id="somebody-else"), ledgers.SIGNER)
    ledgers.seal(epoch, LOG)
    file = outside.cosign(8, at=1000)
    with pytest.raises(IntegrityViolation, match=rf"{file} has another root for 8 entries"):
        proved(epoch, trusting(), outside.read())


def test_what_is_given_and_does_not_hold_is_told_first(epoch: Path, outside: Outside) -> None:
    outside.copy(8).write_bytes(b"nonsense")
    with pytest.raises(IntegrityViolation, match=r"00000008: note: "):
        proved(epoch, trusting(), outside.read())


@pytest.mark.parametrize("kid", [RECORD, LOG_KEY], ids=["record key", "log key"])
@pytest.mark.parametrize("where", ["in the proof", "given"])
def test_a_revoked_key_counts_for_what_was_dated_before(
    epoch: Path, outside: Outside, kid: str, where: str
) -> None:
    revoked = {kid: "1970-01-01T00:16:40.500000Z"}  # 1000.5
    pinned = msgspec.structs.replace(trusting(), revoked=revoked)

    def dated(at: int) -> Verified:
        if where == "in the proof":
            return proved(epoch, pinned, at=at)
        outside.cosign(8, at=at)
        return proved(epoch, pinned, outside.read())

    assert dated(1000).attested_by == RECORD
    said = "attestation" if kid == RECORD else "checkpoint"
    with pytest.raises(IntegrityViolation, match=f"{said}: by key {kid}, revoked from 1970"):
        dated(1001)


def test_an_anchor_over_fewer_entries_does_not_date_a_later_one(epoch: Path, outside: Outside) -> None:
    pinned = msgspec.structs.replace(trusting(), revoked={RECORD: "1970-01-01T00:16:40.500000Z"})
    outside.cosign(5, at=1000)
    with pytest.raises(IntegrityViolation, match=r"5\.json, seq 5: attestation: by key"):
        proved(epoch, pinned, outside.read())
    outside.cosign(6, at=1000)
    assert proved(epoch, pinned, outside.read()).seq == 5
