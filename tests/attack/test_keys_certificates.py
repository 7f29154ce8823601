"""Trust pins a root alone: a key that it does not vouch for, or not here, or not now, attests.

The root is the test's; entries are two seconds apart, and a certificate holds for a minute from the first.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.ledger import certificates, keys, merkle, succession, trust, verify
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import Fault
from authz.ledger.signer import Signer
from authz.ledger.trust import Trust
from tests import ledgers
from tests.certifying import SINCE, UNTIL, Root
from tests.handing import LOG, add, tip

ROOT, OTHER_ROOT = Root(), Root()
OLD, NEW = ledgers.SIGNER, Signer(ledgers.OTHER_SEED)
PINNED = trust.parse(
    trust.export(
        {f"{ledgers.WORKER}/": [keys.public_key(ledgers.LOG_SEED)]}, [], record_roots=[ROOT.certificate]
    )
)


def opened(certificate: str | None, by: Signer = OLD) -> list[bytes]:
    said: list[bytes] = []
    members: dict[str, Any] = {"kind": "open", "record_keys": [by.public_jwk]}
    add(said, members | ({"certificate": certificate} if certificate else {}), by)
    add(said, ledgers.decision(1), by)
    return said


def hand_over(said: list[bytes], certificate: str, heir: Signer = NEW, **changed: Any) -> None:
    members = succession.say(heir.public, OLD.public, LOG, len(said), tip(said), ledgers.WORKER, certificate)
    add(said, members | {"kind": "key"} | changed, OLD)


def stored(tmp_path: Path, said: list[bytes]) -> Path:
    epoch = tmp_path / "worker-0" / ledgers.EPOCH
    ledgers.store(epoch, said)
    ledgers.seal(epoch, LOG)
    return epoch


def fault(tmp_path: Path, pinned: Trust = PINNED) -> Fault:
    found = verify.verify(tmp_path, pinned, 3).first_fault
    assert found is not None
    return found


def good() -> list[bytes]:
    said = opened(ROOT.certify(OLD.public))
    hand_over(said, ROOT.certify(NEW.public))
    add(said, ledgers.decision(2), NEW)
    return said


def test_the_log_is_good_but_for_what_is_done_to_it(tmp_path: Path) -> None:
    stored(tmp_path, good())
    report = verify.verify(tmp_path, PINNED, 3)
    assert report.verified, report.first_fault


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (None, ""),
        (OTHER_ROOT.certify(OLD.public), "; certificate: by a root that is not in trust"),
        (ROOT.certify(NEW.public), ""),
        (
            ROOT.certify(OLD.public, uri="aegis:record:aegis.other/"),
            "; certificate: for logs of aegis.other/",
        ),
        ("AAAA", "; certificate: "),
    ],
)
def test_a_key_for_which_the_root_does_not_vouch(tmp_path: Path, certificate: str | None, why: str) -> None:
    stored(tmp_path, opened(certificate))
    found = fault(tmp_path)
    assert found.what.startswith(f"attestation: by a key that is not in trust{why}")
    assert found.seq == 0


def test_a_certificate_by_another_root_in_a_hand_over(tmp_path: Path) -> None:
    said = opened(ROOT.certify(OLD.public))
    hand_over(said, OTHER_ROOT.certify(NEW.public))
    add(said, ledgers.decision(2), NEW)
    stored(tmp_path, said)
    found = fault(tmp_path)
    assert (
        found.what
        == "attestation: by a key that is not in trust; certificate: by a root that is not in trust"
    )
    assert found.seq == 3


@pytest.mark.parametrize(
    ("seconds", "good"), [(-1, False), (0, True), (60, True), (60.5, False), (3600, False)]
)
def test_an_entry_outside_of_the_certificate_s_time(tmp_path: Path, seconds: float, good: bool) -> None:
    said = opened(ROOT.certify(OLD.public))
    timestamp = (SINCE + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    add(said, ledgers.decision(2) | {"timestamp": timestamp}, OLD)
    stored(tmp_path, said)
    if good:
        assert verify.verify(tmp_path, PINNED, 3).verified
        return
    found = fault(tmp_path)
    holds = "from 2026-01-01T00:00:00.000000Z to 2026-01-01T00:01:00.000000Z"
    assert found.what == f"attestation: by key {OLD.kid}, whose certificate holds {holds}"
    assert found.seq == 2


def late(seconds: float) -> dict[str, str]:
    return {"timestamp": (UNTIL + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def test_an_expired_key_may_hand_over_and_nothing_else(tmp_path: Path) -> None:
    said = opened(ROOT.certify(OLD.public))
    hand_over(said, ROOT.certify(NEW.public, until=UNTIL + timedelta(hours=1)), **late(60))
    add(said, ledgers.decision(2) | late(61), NEW)
    stored(tmp_path, said)
    assert verify.verify(tmp_path, PINNED, 3).verified
    told = opened(ROOT.certify(OLD.public))
    event = {"kind": "key", "action": "revoke", "purpose": "record", "key_id": "k", "who": "x"}
    add(told, event | {"at": "2026-01-01T00:00:00.000000Z"} | late(60), OLD)
    stored(tmp_path, told)
    assert "whose certificate holds" in fault(tmp_path).what


def test_an_expired_key_cannot_hand_over_to_whom_the_root_does_not_know(tmp_path: Path) -> None:
    said = opened(ROOT.certify(OLD.public))
    hand_over(said, "", **late(60))
    add(said, ledgers.decision(2) | late(61), NEW)
    stored(tmp_path, said)
    found = fault(tmp_path)
    assert (found.what, found.seq) == ("attestation: by a key that is not in trust", 3)


def test_a_key_may_not_attest_before_its_certificate_was_brought(tmp_path: Path) -> None:
    """Its certificate is good, but stands later in the log, or in a later segment."""
    said = opened(ROOT.certify(OLD.public))[:1]
    add(said, ledgers.decision(1), NEW)
    hand_over(said, ROOT.certify(NEW.public))
    stored(tmp_path, said)
    found = fault(tmp_path)
    assert (found.what, found.seq) == ("attestation: by a key that is not in trust", 1)


def test_certificates_are_carried_into_later_segments(tmp_path: Path) -> None:
    said = good()
    previous = tip(said)
    for seq in range(len(said), SEGMENT_ENTRIES + 2):
        said.append(
            ledgers.line(
                {"kind": "heartbeat", "timestamp": "2026-01-01T00:00:30.000000Z"}, LOG, seq, previous, NEW
            )
        )
        previous = merkle.leaf_hash(said[-1]).hex()
    stored(tmp_path, said)
    report = verify.verify(tmp_path, PINNED, 3)
    assert report.verified, report.first_fault
    revoked = {certificates.thumbprint(ROOT.certificate): "2026-01-01T00:00:00.000000Z"}
    pinned = trust.parse(trust.export(PINNED.log_keys, [], record_roots=[ROOT.certificate], revoked=revoked))
    found = fault(tmp_path, pinned)
    assert found.what.startswith(f"attestation: by key {certificates.thumbprint(ROOT.certificate)}, revoked")
    assert found.seq == 0


def test_a_pinned_key_needs_no_certificate_and_no_time(tmp_path: Path) -> None:
    said = opened(OTHER_ROOT.certify(OLD.public))
    add(said, ledgers.decision(2) | late(3600), OLD)
    stored(tmp_path, said)
    assert verify.verify(tmp_path, ledgers.TRUST, 3).verified
