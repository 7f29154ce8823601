"""What events of the control log may say: every kind has a form, and each rule of it is broken once."""

from __future__ import annotations

from typing import Any

import pytest

from authz.ledger import control, members
from tests.unit.ledger.samples import EVENTS, HASH, JWK, LOG, TIME, UUID

GOOD = {
    "name": ["a", "x" * 255, "Ana Ñ"],
    "names": [["a"], ["a"] * 64],
    "text": ["why\nnot", "x" * 1024],
    "long": ["x" * 4096],
    "count": [0, 2**53 - 1],
    "hash": [HASH],
    "log": [LOG],
    "logs": [[LOG]],
    "time": [TIME],
    "uuid": [UUID],
    "jwk": [JWK, {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}],
}
BAD = {
    "name": ["", "x" * 256, "a\n", "a\x1b[2J", 5, None, ["a"]],
    "names": [[], ["a"] * 65, ["a", ""], "a"],
    "text": ["", "x" * 1025, 5],
    "long": ["", "x" * 4097],
    "count": [-1, True, "1", 1.0],
    "hash": [HASH.upper(), HASH[:-1], HASH + "0", 5],
    "log": ["a/b", "a/b/c/d", "a/b/c d", 5],
    "logs": [[], [LOG, "a/b"], LOG],
    "time": ["2026-01-01T00:00:00Z", "2026-02-30T00:00:00.000000Z", 5],
    "uuid": [UUID.upper(), UUID[:-1], 5],
    "jwk": [{}, {"crv": "x"}, JWK | {"d": "secret"}, {"kty": "oct", "k": "secret"}, {"kty": 5}, "a"],
}


def test_each_rule_has_an_example_of_both() -> None:
    assert GOOD.keys() == BAD.keys() == members.RULES.keys()


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule in GOOD for value in GOOD[rule]])
def test_a_good_value_is_taken(rule: str, value: Any) -> None:
    members.check({"m": rule}, {"m": value})


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule in BAD for value in BAD[rule]])
def test_another_value_is_refused_by_the_members_name(rule: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^m: not "):
        members.check({"m": rule}, {"m": value})


def test_every_kind_and_action_has_a_sample() -> None:
    there = {(kind, said.get("action")) for kind, said in EVENTS}
    forms = control.FORMS.items()
    assert there == {(kind, action) for kind, form in forms for action in form.actions or (None,)}


def test_tables_name_rules_that_there_are() -> None:
    for form in control.FORMS.values():
        for table in (form.always, *form.actions.values()):
            assert all(isinstance(rule, tuple) or rule in members.RULES for rule in table.values())


@pytest.mark.parametrize(("kind", "said"), EVENTS)
def test_a_sample_has_its_form(kind: str, said: dict[str, Any]) -> None:
    control.check(kind, said)
    control.check_entry(said | {"kind": kind, "seq": 5, "event_id": UUID, "event_time": TIME})


@pytest.mark.parametrize(("kind", "said"), EVENTS)
def test_what_is_missing_or_too_much_is_named(kind: str, said: dict[str, Any]) -> None:
    table = control.FORMS[kind].table(said)
    for name in (name for name in table if not name.endswith("?")):
        with pytest.raises(ValueError, match=f"^{name}: "):
            control.check(kind, {other: value for other, value in said.items() if other != name})
    for name in ("note", "event_id", "kind", "seq"):
        with pytest.raises(ValueError, match=f"^{name}: no member"):
            control.check(kind, said | {name: UUID})


@pytest.mark.parametrize("action", ["delete", ["set"], {}, 5])
def test_an_action_that_there_is_not_is_named(action: Any) -> None:
    with pytest.raises(ValueError, match=r"^action: not one of set, lift$"):
        control.check("hold", {"name": "n", "who": "w", "why": "y", "action": action})


@pytest.mark.parametrize("end", ["open", ["closed"], 5])
def test_a_word_that_there_is_not_is_named(end: Any) -> None:
    with pytest.raises(ValueError, match=r"^end: not one of closed, left, failed$"):
        control.check("log_close", {"of": LOG, "size": 1, "root": HASH, "end": end})


@pytest.mark.parametrize("kind", ["decision", "open", "nonsense", ""])
def test_other_kinds_are_no_events(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^kind: "):
        control.check(kind, {})
