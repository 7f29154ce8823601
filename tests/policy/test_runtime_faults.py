"""A version that OPA takes and that cannot decide: each request is denied, with a record that says why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authz.errors import Denied, PolicyRejected
from authz.policy.engine_opa import OpaEngine
from authz.testing import a_request
from authz.values import Reason
from tests.policy.crafted import DECISION, crafted
from tests.policy.opa import ALLOW, OpaProcess, activate, decide, opa_pulling, started, until, version_of
from tests.worker import message, serving

COUNTED = (
    "count([1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == input.x])"
)


class Fault(NamedTuple):
    """`said`: the record's rationale begins with it."""

    name: str
    rego: str
    reason: Reason
    said: str


def allowed(condition: str, rule: str = "r", **more: str) -> str:
    result = f'{{"decision": "allow", "reason_code": "ok", "rule": "{rule}"{"".join(more.values())}}}'
    return f"decision := {result} if {condition}\n"


FAULTS = [
    Fault("undefined", allowed("input.never"), Reason.POLICY_ERROR, "the entry point is undefined"),
    Fault(
        "rules that conflict",
        f"{allowed('input.agent.id')}\n{allowed('input.action.method', 's')}",
        Reason.POLICY_ERROR,
        "OPA: HTTP 500 eval_conflict_error at /aegis/decision.rego:5",
    ),
    Fault(
        "a built-in that fails",
        allowed('not net.cidr_contains("10.0.0.0/8", input.destination.host)'),
        Reason.POLICY_ERROR,
        "OPA: HTTP 500 eval_builtin_error at /aegis/decision.rego:3",
    ),
    Fault("a number", "decision := 5", Reason.POLICY_ERROR, "policy result: not an object"),
    Fault(
        "an unknown decision",
        'decision := {"decision": "maybe", "reason_code": "ok", "rule": "r"}',
        Reason.POLICY_ERROR,
        "policy result: decision: not one of",
    ),
    Fault(
        "an unknown member",
        allowed("input.agent.id", more=', "permit": true'),
        Reason.POLICY_ERROR,
        "policy result: 1 unknown members",
    ),
    Fault("no end", f"decision := {COUNTED}", Reason.ENGINE_TIMEOUT, "OPA gave no answer in time"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_what_cannot_decide_denies_and_the_record_says_why(tmp_path: Path, fault: Fault) -> None:
    async with serving(tmp_path, fault.rego) as worker:
        answer, record = await worker.recorded(message(token=worker.token()))
        assert not answer.allowed
        assert (record["decision"], record["reason_code"]) == ("deny", fault.reason)
        assert record["rationale"][0].startswith(fault.said)
        assert worker.policy.engine_errors[fault.reason] == 1
        assert len(worker.policy.cache) == 0


@pytest.mark.parametrize(
    "rego",
    [
        COUNTED,
        "count(numbers.range(1, 1000000000))",
        'count(net.cidr_expand("10.0.0.0/6"))',
        "sort([x | some i in numbers.range(1, 30000000); x := i * input.x])[0]",
        "count([p | some _ in numbers.range(1, 100000000); walk(input, [p, _])])",
    ],
    ids=["joins", "a range", "addresses", "a sort", "walks"],
)
async def test_opa_stops_evaluating_when_nobody_waits_any_more(tmp_path: Path, rego: str) -> None:
    """Each of these would take minutes."""
    revision = crafted(tmp_path, "v1", {DECISION: f"package aegis\n\ndecision := {rego}\n"})
    activate(tmp_path / "bundles", "v1")
    async with opa_pulling(tmp_path / "bundles") as process:
        await until(lambda: has(process, revision))
        engine = OpaEngine(process.socket, "aegis/decision", connections=1)
        with pytest.raises(Denied) as caught:
            await engine.decide(b'{"x":-5}', 0.3)
        assert caught.value.reason is Reason.ENGINE_TIMEOUT
        used: list[float] = []

        def at_rest() -> bool:
            used.append(cpu_s(process.pid))
            return len(used) > 50 and used[-1] - used[-50] < 0.05

        await until(at_rest)
        await engine.close()


def cpu_s(pid: int) -> float:
    """What the process has used of the CPU until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def has(process: OpaProcess, revision: str) -> bool:
    return await process.revision() == revision


async def refused(tmp_path: Path, revision: str) -> Denied:
    """Why a worker denies under the crafted `revision`, which OPA takes."""
    activate(tmp_path / "bundles", revision)
    async with opa_pulling(tmp_path / "bundles") as process:
        await until(lambda: has(process, revision))
        async with started(process.socket) as policy:
            with pytest.raises(Denied) as caught:
                await decide(policy, a_request())
    return caught.value


async def test_an_entry_point_that_is_not_there_denies_and_is_never_published(tmp_path: Path) -> None:
    other = f"another := {ALLOW}"
    with pytest.raises(PolicyRejected, match="aegis/decision"):
        version_of(tmp_path, other, "v1.0.0")
    revision = crafted(tmp_path, "v2", {DECISION: f"package aegis\n\n{other}\n"})
    denied = await refused(tmp_path, revision)
    assert (denied.reason, denied.detail) == (
        Reason.POLICY_ERROR,
        "the entry point is undefined for this input",
    )


@pytest.mark.parametrize(
    "said",
    [{}, {"roots": ["aegis"]}, {"roots": [""], "metadata": {"aegis": {"format": 99}}}],
    ids=["no manifest", "partial roots", "a later format"],
)
async def test_a_signed_bundle_that_is_no_version_of_ours_denies(tmp_path: Path, said: Any) -> None:
    files = {DECISION: f"package aegis\n\ndecision := {ALLOW}\n"}
    denied = await refused(tmp_path, crafted(tmp_path, "v1", files, said=said))
    assert (denied.reason, denied.detail) == (
        Reason.POLICY_ERROR,
        "the active policy is not one signed version",
    )
