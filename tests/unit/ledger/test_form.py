"""The form of one entry: each rule is broken once, and named."""

from __future__ import annotations

from typing import Any

import pytest

from authz import canonical
from authz.ledger import form, merkle
from tests import ledgers
from tests.unit.ledger.samples import EVENTS

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"
PREVIOUS = merkle.leaf_hash(b"before").hex()
REMOVED = object()


def read(changed: dict[str, Any], place: int = 1, previous: str | None = PREVIOUS) -> dict[str, Any]:
    """A good entry with `changed` members, read as number `place`."""
    members = ledgers.decision(1) if place else {"kind": "open"}
    entry = canonical.parse(ledgers.line(members, LOG, place, PREVIOUS))
    left = {name: value for name, value in (entry | changed).items() if value is not REMOVED}
    return form.read(canonical.encode(left), LOG, place, previous)


@pytest.mark.parametrize("previous", [PREVIOUS, None])
def test_an_entry_in_its_place_is_read(previous: str | None) -> None:
    assert read({}, previous=previous)["tool"] == "stripe.charge"


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("log", {"log": LOG + "x"}),
        ("log", {"log": REMOVED}),
        ("seq", {"seq": 2}),
        ("seq", {"seq": True}),  # which Python calls equal to 1
        ("seq", {"seq": "1"}),
        ("seq", {"seq": REMOVED}),
        ("previous_entry_hash", {"previous_entry_hash": PREVIOUS.upper()}),
        ("previous_entry_hash", {"previous_entry_hash": REMOVED}),
        ("timestamp", {"timestamp": "2026-01-01T00:00:00Z"}),
        ("timestamp", {"timestamp": "2026-01-01T00:00:00.000000000Z"}),
        ("timestamp", {"timestamp": "2026-01-01T00:00:00.000000+00:00"}),
        ("timestamp", {"timestamp": "2026-01-01 00:00:00.000000Z"}),
        ("timestamp", {"timestamp": "2026-01-01T00:00:00.000000Z\n"}),
        ("timestamp", {"timestamp": "٢026-01-01T00:00:00.000000Z"}),
        ("timestamp", {"timestamp": "2026-02-30T00:00:00.000000Z"}),
        ("timestamp", {"timestamp": "2026-01-01T24:00:01.000000Z"}),
        ("timestamp", {"timestamp": 5}),
        ("kind", {"kind": "verdict"}),
        ("kind", {"kind": ["decision"]}),
        ("kind", {"kind": "open"}),
        ("signer_id", {"signer_id": REMOVED}),
        ("signer_id", {"signer_id": {}}),
        ("attestation_signature", {"attestation_signature": REMOVED}),
        ("attestation_signature", {"attestation_signature": []}),
        *((name, {name: REMOVED}) for name in form.DECISION),
        ("a decision", {"tool": 5}),
        ("a decision", {"agent_id": True}),
    ],
)
def test_a_broken_rule_is_named(rule: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{rule}: "):
        read(changed)


def test_a_link_of_unknown_target_must_still_be_a_hash() -> None:
    with pytest.raises(ValueError, match="hex digits"):
        read({"previous_entry_hash": "0"}, previous=None)


def test_other_kinds_need_not_be_decisions() -> None:
    assert read({"kind": "heartbeat", "tool": REMOVED})["kind"] == "heartbeat"


CLAIM = {"previous_log": "a/b/c", "previous_size": 0, "previous_root": merkle.EMPTY_HASH_HEX}


def test_an_open_may_name_the_log_before() -> None:
    assert read(CLAIM, 0)["previous_log"] == "a/b/c"
    assert read({}, 0)["kind"] == "open"


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "decision"},
        CLAIM | {"previous_log": REMOVED},
        CLAIM | {"previous_size": REMOVED},
        CLAIM | {"previous_root": REMOVED},
        CLAIM | {"previous_size": True},
        CLAIM | {"previous_size": -1},
        CLAIM | {"previous_root": "00"},
    ],
)
def test_a_log_does_not_start_otherwise(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read(changed, 0)


def test_bytes_that_are_not_canonical_are_no_entry() -> None:
    with pytest.raises(ValueError, match="canonical"):
        form.read(b'{"kind": "open"}', LOG, 0, None)


CONTROL = LOG.replace("worker-0", "control")


def read_control(members: dict[str, Any], log: str = CONTROL) -> dict[str, Any]:
    return form.read(ledgers.line(members, log, 1, PREVIOUS), log, 1, PREVIOUS)


@pytest.mark.parametrize(("kind", "said"), EVENTS)
def test_what_the_deployment_says_is_read_in_its_own_log_only(kind: str, said: dict[str, Any]) -> None:
    assert read_control(said | {"kind": kind})["kind"] == kind
    if kind != "key":
        with pytest.raises(ValueError, match=r"^kind: none that an entry of this log"):
            read_control(said | {"kind": kind}, LOG)


def test_a_key_is_handed_over_in_a_workers_log_too() -> None:
    said = next(said for kind, said in EVENTS if kind == "key" and said["action"] == "rotate")
    assert read_control(said | {"kind": "key"}, LOG)["previous_key_id"] == "k-1"


@pytest.mark.parametrize("kind", ["decision", "outcome"])
def test_nothing_is_decided_in_the_control_log(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^kind: none that an entry of this log"):
        read_control(ledgers.decision(1) | {"kind": kind})


def test_an_entry_of_the_control_log_says_what_its_kind_says_and_no_more() -> None:
    head = next(said for kind, said in EVENTS if kind == "log_head") | {"kind": "log_head"}
    with pytest.raises(ValueError, match=r"^root: missing"):
        read_control({name: value for name, value in head.items() if name != "root"})
    with pytest.raises(ValueError, match=r"^note: no member"):
        read_control(head | {"note": "anything"})
