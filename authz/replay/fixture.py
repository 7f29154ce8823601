"""A Rego test made of a recorded decision: its facts are the input, its verdict is what is expected.

In: a Replayed that came out as it was recorded, the entry point. Out: a Fixture. Called by `aegis policy
fixture`. The test passes under the version that decided; under another one it says what that would change.
Names of the agent's choice stand in JSON strings only, so that none of them becomes Rego.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Final

import orjson
from msgspec import Struct

from authz.errors import AegisError
from authz.policy.opa_tool import OpaTool
from authz.replay.recorded import WORDS, Recorded
from authz.replay.replaying import Replayed

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXPECTED: Final = ("decision", "reason_code", "rule")


class NoFixture(AegisError):
    """No test can be made of a decision: the text says why."""


class Fixture(Struct, frozen=True):
    """`test`: a Rego file as `opa fmt` writes it; `asked`: the same input as JSON. `name`: of both files."""

    name: str
    test: str
    asked: str


def check_id(decision_id: str) -> None:
    """Raises NoFixture for what is no decision's id, and so can be no file's name."""
    if not _ID.fullmatch(decision_id):
        raise NoFixture(f"{decision_id!r}: not the id of a decision")


def fixture(replayed: Replayed, entry_point: str, *, opa: str = "opa") -> Fixture:
    """Raises NoFixture for a decision that cannot be replayed, or does not come out as it was recorded."""
    recorded = replayed.recorded
    if replayed.why is not None:
        said = replayed.detail or WORDS[replayed.why]
        raise NoFixture(f"{recorded.decision_id}: not_replayable: {replayed.why}: {said}")
    if replayed.differs or replayed.judged is None or replayed.judged.verdict is None:
        raise NoFixture(f"{recorded.decision_id}: {replayed.under} does not decide what is recorded of it")
    verdict = replayed.judged.verdict
    expected = {name: str(getattr(verdict, name)) for name in _EXPECTED if getattr(verdict, name)}
    asked = json.dumps(orjson.loads(recorded.question), indent="\t", ensure_ascii=False)
    rego = _rego(recorded, replayed.under, entry_point, expected, asked)
    return Fixture(recorded.decision_id, _formatted(rego, opa), f"{asked}\n")


def reference(entry_point: str) -> str:
    """`data.aegis.decision` of `aegis/decision`."""
    parts = (
        f".{part}" if _NAME.fullmatch(part) else f"[{json.dumps(part)}]" for part in entry_point.split("/")
    )
    return "data" + "".join(parts)


def _rego(recorded: Recorded, under: str, entry: str, expected: dict[str, str], asked: str) -> str:
    said = {"recorded": str(recorded.members.get("timestamp")), "decided by": under}
    notes = "".join(f"# {name} {json.dumps(text)}\n" for name, text in said.items())
    lines = "".join(
        f"\tfound.{name} == {json.dumps(text, ensure_ascii=False)}\n" for name, text in expected.items()
    )
    return (
        f"# decision {recorded.decision_id}\n{notes}package recorded_test\n\n"
        f"test_{recorded.decision_id.replace('-', '_')} if {{\n"
        f"\tasked := {asked}\n\tfound := {reference(entry)} with input as asked\n{lines}}}\n"
    )


def _formatted(rego: str, opa: str) -> str:
    with tempfile.TemporaryDirectory(prefix="aegis-fixture-") as name:
        file = Path(name) / "fixture_test.rego"
        file.write_text(rego)
        return OpaTool(opa).run(["fmt", file.name], file.parent).decode()
