"""Generated policies and requests: pruned or whole, cached or not, the decision is the same."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz.errors import Denied
from authz.policy.active import Active
from authz.policy.facts import Plan
from authz.policy.manifest import EntryPoint
from authz.policy.stage import PolicyStage
from authz.policy.version import build_bundle
from authz.testing import a_request
from authz.values import Assurance, Request, Subject, Verdict
from tests.policy.generated import LISTS, library, policy, requests, subjects
from tests.policy.opa import NOW, OpaProcess, opa_with, signing_key, stage, write

POLICIES = 12
Case = tuple[Request, Subject]
Outcome = tuple[str, str, str]
seen: Counter[str] = Counter()


async def ask(policy: PolicyStage, case: Case, *, cached: bool) -> tuple[Outcome, str]:
    """What was decided, or the reason of the denial; and where it came from."""
    try:
        facts = policy.question(*case, NOW)
        kept = policy.lookup(facts) if cached else None
        verdict: Verdict = kept or await policy.evaluate(facts, lambda: facts, 5)
        return (verdict.decision, verdict.reason_code, verdict.rule), verdict.cache
    except Denied as denied:
        return ("denied", denied.reason, ""), "error"


async def stages(process: OpaProcess, entry: str) -> tuple[PolicyStage, PolicyStage, PolicyStage]:
    """Pruned with a cache, pruned without one, and asked the whole input."""
    made = [stage(process.socket, entry_point=entry, connections=1, ttl_s=ttl) for ttl in (60, 0, 0)]
    for one in made:
        await one._look()
    _force(made[2], EntryPoint(((),), prune=False))
    return made[0], made[1], made[2]


def _force(policy: PolicyStage, entry: EntryPoint) -> None:
    active = policy._active
    assert active is not None
    assert active.manifest is not None
    plan = Plan(entry, revision=active.revision, deterministic=True)
    policy._active = Active(plan, active.manifest)


async def check(entry: str, process: OpaProcess, cases: list[Case]) -> None:
    made = await stages(process, entry)
    cached, _, whole = made
    for case in cases * 2:
        (one, where), (two, _), (three, _) = [await ask(m, case, cached=m is cached) for m in made]
        seen.update([where, f"{three[0]} {three[2]}".strip()])
        assert one == two == three, (entry, case, cached.question(*case, NOW), whole.question(*case, NOW))
    for one_of in made:
        await one_of.stop()


@settings(
    max_examples=int(os.environ.get("AEGIS_PROPERTY_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a Rego text means an OPA per step
)
@given(seed=st.integers(0, 2**32), cases=st.lists(st.tuples(requests(), subjects), min_size=8, max_size=16))
def compare(seed: int, cases: list[Case]) -> None:
    random = Random(seed)
    libraries = ("a", "b", "read")
    tree = {f"lib/{name}.rego": library(random, name) for name in libraries}
    tree |= {f"gen/p{n}.rego": policy(random, f"gen.p{n}", libraries) for n in range(POLICIES)}
    entries = [f"gen/p{n}/decision" for n in range(POLICIES)]
    note("\n".join(tree.values()))
    directory = Path(tempfile.mkdtemp(prefix="generated-"))
    try:
        source = write(directory / "source", tree | {"data.json": json.dumps(LISTS)})
        version = build_bundle(
            source, directory / "bundles", version="v1", signing_key=signing_key(), entry_points=entries
        )

        async def all_of_them() -> None:
            async with opa_with(version) as process:
                await asyncio.gather(*(check(entry, process, cases) for entry in entries))

        asyncio.run(all_of_them())
    finally:
        shutil.rmtree(directory)


def test_pruned_or_whole_cached_or_not_the_decision_is_the_same() -> None:
    """And that hits, misses, denials and every branch were among what was compared."""
    seen.clear()
    compare()
    assert {"hit", "miss", "bypass", "error", "allow 0", "deny 1", "allow 2"} <= seen.keys()


async def test_the_comparison_notices_a_field_that_was_left_out(tmp_path: Path) -> None:
    rego = (
        'package gen\n\ndecision := {"decision": "allow", "reason_code": "x"} if not input.agent.claims.role'
    )
    source = write(tmp_path / "source", {"gen/p.rego": rego})
    version = build_bundle(
        source, tmp_path / "b", version="v1", signing_key=signing_key(), entry_points=["gen/decision"]
    )
    manifest = version.analysis.entry_points["gen/decision"]
    assert manifest.facts == (("agent", "claims", "role"),)
    async with opa_with(version) as process:
        _, pruned, whole = made = await stages(process, "gen/decision")
        _force(pruned, replace(manifest, facts=()))
        case = (a_request(), Subject("a", Assurance.JWT, claims={"role": "x"}))
        outcomes = [await ask(policy, case, cached=False) for policy in (pruned, whole)]
        for policy in made:
            await policy.stop()
    assert outcomes[0] != outcomes[1]
