"""A hold counts before it is said, ends after it is said, and covers what it names."""

from pathlib import Path
from typing import Any

import pytest

from authz.errors import ConfigError, EvidenceUnavailable
from authz.followers.retention.holds import Hold, Holds
from authz.ledger import control

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ENTRY = {"log": LOG, "timestamp": "2026-01-02T00:00:00.000000Z", "agent_id": "a", "agent_chain": ["b"]}
CASE = Hold("case-7", "ana", "court")


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        ({}, True),
        ({"logs": (LOG,)}, True),
        ({"logs": (LOG + "x",)}, False),
        ({"agent_id": "a"}, True),
        ({"agent_id": "b"}, True),
        ({"agent_id": "c"}, False),
        ({"start": "2026-01-02T00:00:00.000000Z"}, True),
        ({"start": "2026-01-02T00:00:00.000001Z"}, False),
        ({"end": "2026-01-02T00:00:00.000000Z"}, False),
        ({"agent_id": "a", "end": "2026-01-03T00:00:00.000000Z"}, True),
    ],
)
def test_what_a_hold_covers(scope: dict[str, Any], covers: bool) -> None:
    assert Hold("n", "w", "y", **scope).covers(ENTRY) is covers


def test_of_a_chain_that_gave_way_nobody_knows_so_it_is_held() -> None:
    assert Hold("n", "w", "y", agent_id="z").covers(ENTRY | {"agent_chain": "sha256:ab"})


class Said(list[dict[str, Any]]):
    fails = False

    def say(self, event: dict[str, Any]) -> None:
        if self.fails:
            raise EvidenceUnavailable("full")
        control.check("hold", event)
        self.append(event)


def test_it_is_said_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    said = Said()
    holds = Holds(tmp_path / "holds", said.say)
    holds.add(Hold("case-7", "ana", "court", logs=(LOG,), start="2026-01-01T00:00:00.000000Z"))
    assert holds.covering()(ENTRY) == "case-7"
    holds.release("case-7", "bob", "closed")
    assert holds.covering()(ENTRY) == ""
    assert [(event["action"], event["who"]) for event in said] == [("set", "ana"), ("lift", "bob")]


def test_what_cannot_be_said_still_holds(tmp_path: Path) -> None:
    said = Said()
    said.fails = True
    holds = Holds(tmp_path / "holds", said.say)
    with pytest.raises(EvidenceUnavailable):
        holds.add(CASE)
    assert holds.all() == [CASE]
    said.fails = False
    holds.add(CASE)  # once more: now it is said
    said.fails = True
    with pytest.raises(EvidenceUnavailable):
        holds.release("case-7", "bob", "closed")
    assert (holds.all(), len(said)) == ([CASE], 1)


@pytest.mark.parametrize("name", ["", "../x", "a b", ".x", "x" * 200])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    holds = Holds(tmp_path / "holds", Said().say)
    with pytest.raises(ConfigError):
        holds.add(Hold(name, "w", "y"))
    with pytest.raises(ConfigError, match="no such hold"):
        holds.release(name, "w", "y")


def test_another_hold_of_the_same_name_is_refused(tmp_path: Path) -> None:
    holds = Holds(tmp_path / "holds", Said().say)
    holds.add(CASE)
    with pytest.raises(ConfigError, match="there is such a hold already"):
        holds.add(Hold("case-7", "ana", "another"))


def test_a_file_that_is_no_hold_stops_everybody(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text("{")
    with pytest.raises(ConfigError, match=r"case\.json: not a hold"):
        Holds(tmp_path, Said().say).covering()
