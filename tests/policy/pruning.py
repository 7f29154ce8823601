"""Asks one real OPA every question three ways: pruned with a cache, pruned, and the whole input.

In: a Source and requests with their subjects. Out: what was seen, or an AssertionError that shows the
answers and what was asked. Called by `test_property_pruning.py`; by hand, from SEED on, for MINUTES:

    python -m tests.policy.pruning MINUTES [SEED]
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz.errors import Denied
from authz.policy.active import Active
from authz.policy.stage import PolicyStage
from authz.values import Request, Subject, Verdict
from tests.policy.bundles import PolicyVersion, build_bundle
from tests.policy.generated import Source, requests, sources, subjects
from tests.policy.opa import NOW, OpaProcess, opa_with, signing_key, stage, until, write

Case = tuple[Request, Subject]
Outcome = Verdict | str
BATCH: Final = 15  # examples of one seed
PATIENCE_S: Final = 60  # what is late is no other answer
cases: Final = st.lists(st.tuples(requests(), subjects), min_size=1, max_size=16)


@contextmanager
def built(source: Source, *, wasm: bool = False) -> Iterator[PolicyVersion]:
    """The version that is made of it, as it would be published."""
    directory = Path(tempfile.mkdtemp(prefix="generated-"))
    try:
        tree = write(directory / "source", source.files)
        yield build_bundle(
            tree,
            directory / "bundles",
            version="v1",
            signing_key=signing_key(),
            entry_points=source.entry_points,
            wasm=wasm,
        )
    finally:
        shutil.rmtree(directory)


async def ask(policy: PolicyStage, case: Case) -> tuple[Outcome, str]:
    """The verdict, or the reason of the denial; and where it came from."""
    try:
        facts = policy.question(*case, NOW)
        verdict = policy.lookup(facts) or await policy.evaluate(facts, lambda: facts, PATIENCE_S)
        return replace(verdict, cache="", evaluation_us=0), verdict.cache
    except Denied as denied:
        return str(denied.reason), "error"


async def stages(
    process: OpaProcess, entry: str, *, compat: bool = False
) -> tuple[PolicyStage, PolicyStage, PolicyStage]:
    """Pruned with a cache, pruned without one, and asked the whole input."""
    members = {"entry_point": entry, "connections": 1, "timeout_s": PATIENCE_S, "compat": compat}
    made = [stage(process.socket, **members, ttl_s=ttl) for ttl in (600, 0, 0)]
    for one in made:
        await until(partial(_active, one), PATIENCE_S)
    whole(made[2])
    return made[0], made[1], made[2]


async def _active(policy: PolicyStage) -> bool:
    await policy._look()  # a busy machine may be late
    return policy._active is not None


def whole(policy: PolicyStage) -> None:
    """Let it ask everything, with the credentials that policy names."""
    active = policy._active
    assert active is not None
    assert active.manifest is not None
    entry = active.manifest.analysis.entry_points[policy.engine.entry_point]
    plan = policy._plan(replace(entry, prune=False), revision=active.revision, deterministic=True)
    policy._active = Active(plan, active.manifest)


async def check(
    entry: str, process: OpaProcess, asked: Sequence[Case], *, compat: bool = False
) -> Counter[str]:
    """Every case, and once more for the cache."""
    seen: Counter[str] = Counter()
    made = await stages(process, entry, compat=compat)
    try:
        for case in [*asked, *asked]:
            (one, where), (two, _), (three, _) = [await ask(policy, case) for policy in made]
            assert one == two == three, _difference(entry, made, case, (one, two, three))
            seen.update((where, three if isinstance(three, str) else str(three.decision)))
    finally:
        for policy in made:
            await policy.stop()
    return seen


def _difference(entry: str, made: Sequence[PolicyStage], case: Case, outcomes: Sequence[Outcome]) -> str:
    ways = ("cached", "pruned", "whole")
    asked = [policy.question(*case, NOW).question.decode() for policy in made]
    lines = [
        f"{way}: {outcome}\n    {text}" for way, outcome, text in zip(ways, outcomes, asked, strict=True)
    ]
    return "\n".join((entry, *lines))


def compare(source: Source, asked: Sequence[Case], *, compat: bool = False) -> Counter[str]:
    """Raises AssertionError where two ways of asking differ. `compat`: as with `policy.compat`."""

    async def all_of_them(version: PolicyVersion) -> Counter[str]:
        async with opa_with(version) as process:
            entries = version.analysis.entry_points
            seen = await asyncio.gather(*(check(each, process, asked, compat=compat) for each in entries))
        return sum(seen, Counter())

    with built(source) as version:
        entries = version.analysis.entry_points.values()
        found = asyncio.run(all_of_them(version))
    pruned = sum(entry.prune and () not in entry.facts for entry in entries)
    return found + Counter({"policies": 1, "entry points": len(entries), "pruned": pruned})


def main(minutes: float, first: int) -> None:
    """Compare from seed `first` on until the time is up; a difference is shown at its smallest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seen: Counter[str] = Counter()

    def run(source: Source, asked: list[Case]) -> None:
        try:
            seen.update(compare(source, asked))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{source}") from None

    bounded = settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    end, number = time.monotonic() + minutes * 60, first
    while time.monotonic() < end:
        seed(number)(bounded(given(sources(), cases)(run)))()
        number += 1
        print(json.dumps({"seeds": [first, number - 1], **seen}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
