"""Handing over: what a `key` entry has to say, and which key may attest before and after it."""

from __future__ import annotations

from typing import Any

import pytest

from authz import canonical
from authz.ledger import keys, succession
from authz.ledger.signer import Signer
from authz.ledger.succession import InUse, Succession
from tests import ledgers
from tests.handing import entries, hand_over

OLD, NEW = ledgers.SIGNER, Signer(ledgers.OTHER_SEED)
LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def members(**changed: Any) -> dict[str, Any]:
    said = succession.say(NEW.public, OLD.public, LOG, 3, "ab" * 32, "aegis.test/worker-0")
    return said | {"kind": "key", "log": LOG, "seq": 3, "previous_entry_hash": "ab" * 32} | changed


def test_a_hand_over_is_read_back() -> None:
    assert succession.read(members()) == succession.HandOver(NEW.public, NEW.kid, OLD.kid)


@pytest.mark.parametrize(
    "changed",
    [{"kind": "decision"}, {"action": "revoke"}, {"of": f"{LOG}x"}],
)
def test_any_other_entry_hands_nothing_over(changed: dict[str, Any]) -> None:
    assert succession.read(members(**changed)) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"purpose": "log"}, "what hands over in a log is its record key"),
        ({"size": 2}, "size or tail_hash"),
        ({"tail_hash": "cd" * 32}, "size or tail_hash"),
        ({"jwk": {"kty": "OKP"}}, "not an Ed25519 JWK"),
        ({"jwk": NEW.public_jwk | {"d": "x"}}, "a private key"),
        ({"key_id": OLD.kid}, "key_id is not the thumbprint"),
        ({"previous_key_id": NEW.kid}, "previous_key_id"),
        ({"previous_key_id": 1}, "previous_key_id"),
    ],
)
def test_one_that_contradicts_itself_or_its_place_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        succession.read(members(**changed))


def test_after_a_hand_over_the_new_key_attests_and_no_other() -> None:
    seen = Succession()
    seen.take(OLD.kid, members(kind="decision", seq=2))
    seen.take(OLD.kid, members())
    seen.take(NEW.kid, members(kind="decision", seq=4))
    assert seen.runs == [(2, OLD.kid), (4, NEW.kid)]
    with pytest.raises(ValueError, match=f"attestation: by key {OLD.kid}, where {NEW.kid} is in use"):
        seen.take(OLD.kid, members(kind="decision", seq=5))


def test_the_new_key_may_not_attest_before_it() -> None:
    seen = Succession()
    seen.take(OLD.kid, members(kind="decision", seq=2))
    with pytest.raises(ValueError, match=f"attestation: by key {NEW.kid}, where {OLD.kid} is in use"):
        seen.take(NEW.kid, members())


def test_parts_of_a_log_follow_each_other_with_the_same_key() -> None:
    whole, part = Succession([(0, "a"), (7, "b")]), Succession([(10, "b"), (12, "c")])
    whole.follow(part)
    assert whole.runs == [(0, "a"), (7, "b"), (12, "c")]
    with pytest.raises(ValueError, match="attestation: by key a, where c is in use"):
        whole.follow(Succession([(20, "a")]))
    whole.follow(Succession())
    assert whole.last == "c"


def test_no_key_comes_back_in_a_later_log() -> None:
    assert (
        succession.returned([("1", Succession([(0, "a")])), ("2", Succession([(0, "a"), (5, "b")]))]) is None
    )
    found = succession.returned(
        [
            ("1", Succession([(0, "a"), (5, "b")])),
            ("2", Succession([(0, "b")])),
            ("3", Succession([(4, "a")])),
        ]
    )
    assert found == ("3", 4, "attestation: by key a, which was followed by another one at 1, seq 5")


def test_the_key_in_use_follows_the_entries() -> None:
    seen = InUse()
    for entry in entries(OLD, NEW):
        seen.see(entry)
        seen.check(entry, canonical.parse(entry))
    assert seen.public == NEW.public


def test_a_hand_over_that_the_key_in_use_does_not_attest_changes_nothing() -> None:
    stranger = Signer(b"\x09" * 32)
    said = entries(OLD, NEW)[:3]
    forged = hand_over(said, NEW, by=stranger, naming=OLD)
    seen = InUse()
    for entry in said[:2]:
        seen.see(entry)
    with pytest.raises(ValueError, match="attestation: by a key that is not in trust"):
        seen.see(forged)
    assert seen.public == OLD.public


def test_without_a_named_key_nothing_is_attested() -> None:
    seen = InUse()
    (entry,) = ledgers.chain(iter([{"kind": "open"}]), LOG)
    seen.see(entry)
    with pytest.raises(ValueError, match="the log names no record key"):
        seen.check(entry, canonical.parse(entry))
    assert keys.thumbprint(b"") != OLD.kid
