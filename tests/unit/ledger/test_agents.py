"""What a ledger's decisions say of agents, and which identities several seem to use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import IntegrityViolation
from authz.ledger import agents as module
from authz.ledger.agents import OTHERS, Agents, Flag, Seen, agents
from tests import ledgers

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decision(seconds: float = 0, agent: str = "a", **members: Any) -> dict[str, Any]:
    """`source`, `key`, `principal` are what the agent was known by."""
    known = {
        f"identity_{name}": members.pop(name) for name in ("source", "key", "principal") if name in members
    }
    plain = {"agent_id": agent, "decision": "allow", "tool": "t", "identity_assurance": "jwt"}
    return ledgers.decision(1) | plain | {"timestamp": at(seconds)} | known | members


def seen(*entries: dict[str, Any], window_s: float = 300) -> dict[str, Seen]:
    found = Agents(window_s)
    for entry in entries:
        found.take(entry)
    return found.result()


def flags(*entries: dict[str, Any], agent: str = "a", window_s: float = 300) -> list[str]:
    return [flag.what for flag in seen(*entries, window_s=window_s)[agent].flags]


def test_each_agent_has_its_counts_and_times() -> None:
    found = seen(
        decision(5, tool="read"),
        decision(1, decision="deny", reason_code="tool_unknown", identity_assurance="mtls"),
        decision(9, "b"),
    )
    one = found["a"]
    assert (one.first, one.last) == (at(1), at(5))
    assert one.decisions == {"allow": 1, "deny": 1}
    assert (one.tools, one.reasons) == ({"read": 1}, {"tool_unknown": 1})
    assert one.assurances == {"jwt": 1, "mtls": 1}
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("member", "what"),
    [("source", "sources"), ("principal", "certificates"), ("key", "keys")],
)
def test_one_identity_from_several_places_within_the_window(member: str, what: str) -> None:
    def used(*times: float) -> list[str]:
        return flags(*(decision(time, **{member: f"x{index}"}) for index, time in enumerate(times)))

    assert used(0, 300) == used(300, 0) == used(299, 301) == [f"one identity, several {what}"]
    assert used(0, 300.001) == used(300.001, 0) == used(0) == []
    assert flags(decision(0, **{member: "x"}), decision(1, **{member: "x"})) == []


def test_a_flag_names_what_was_seen_and_when() -> None:
    (flag,) = seen(decision(0, source="x"), decision(7, source="y"), decision(8, source="z"))["a"].flags
    assert flag == Flag("one identity, several sources", ("x", "y"), at(7))


@pytest.mark.parametrize(("member", "what"), [("source", "source"), ("principal", "certificate")])
def test_several_agents_with_one_source_or_certificate_are_all_flagged(member: str, what: str) -> None:
    entries = [decision(0, "a", **{member: "x"}), decision(200, "b", **{member: "x"})]
    for agent in "ab":
        assert flags(*entries, agent=agent) == [f"one {what}, several agents"]
    assert flags(entries[0], decision(301, "b", **{member: "x"})) == []


def test_an_issuers_key_signs_for_many_agents() -> None:
    assert flags(decision(0, "a", key="k"), decision(1, "b", key="k")) == []


def test_nobody_shares_nothing() -> None:
    entries = [decision(0, "unknown", source="x"), decision(1, "unknown", source="y")]
    assert flags(*entries, agent="unknown") == []


@given(
    times=st.lists(st.tuples(st.integers(0, 3000), st.sampled_from("xyz")), min_size=1, max_size=12),
    window=st.integers(1, 700),
)
def test_two_uses_are_flagged_exactly_when_they_are_within_the_window(
    times: list[tuple[int, str]], window: int
) -> None:
    """In whatever order they come: the logs of several workers are read one after the other."""
    near = any(abs(one - two) <= window for one, x in times for two, y in times if x != y)
    found = flags(*(decision(time, source=source) for time, source in times), window_s=window)
    assert bool(found) is near


def test_however_many_there_are_few_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGENTS", 3)
    monkeypatch.setattr(module, "MAX_VALUES", 2)
    entries = [
        decision(number, f"a{number % 5}", source=f"s{number}", tool=f"t{number}", reason_code="r")
        for number in range(50)
    ]
    found = seen(*entries)
    assert list(found) == [OTHERS, "a0", "a1", "a2"]
    assert len(found["a0"].sources) == len(found["a0"].tools) == 3
    assert sum(sum(one.decisions.values()) for one in found.values()) == 50


def test_decisions_are_read_from_every_log(tmp_path: Path) -> None:
    first = [{"kind": "open"}, decision(0, source="x"), {"kind": "heartbeat", "agent_id": "no"}]
    ledgers.write(tmp_path, iter(first))
    ledgers.write(tmp_path, iter([{"kind": "open"}, decision(9, "b", source="x")]), epoch=ledgers.LATER_EPOCH)
    found = agents(tmp_path, 300)
    assert list(found) == ["a", "b"]
    assert found["b"].flags[0].what == "one source, several agents"


def test_what_is_no_entry_is_named_by_its_place(tmp_path: Path) -> None:
    epoch = ledgers.write(tmp_path, iter([{"kind": "open"}, decision(0), decision(1)]))
    file = next((epoch / "entries").iterdir())
    file.write_bytes(file.read_bytes().replace(b'"seq":2', b'"seq":3'))
    with pytest.raises(IntegrityViolation, match="line 3, seq 2: seq: not 2"):
        agents(tmp_path, 300)
