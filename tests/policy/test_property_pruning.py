"""Generated policies and requests: pruned or whole, cached or not, the verdict is the same."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, find, given, note, settings
from msgspec.structs import replace

from authz.policy.active import Active
from authz.policy.facts import Plan
from authz.policy.opa_tool import OpaTool
from authz.testing import a_request
from authz.values import Assurance, Subject
from tests.policy.generated import (
    FILLINGS,
    NEW,
    Library,
    Piece,
    Source,
    bodies,
    holes_of,
    library,
    sources,
    written,
)
from tests.policy.grammar import COLLECTIONS as MANY
from tests.policy.grammar import FORMS, PLAIN, Form
from tests.policy.opa import opa_with, version_of, write
from tests.policy.pruning import Case, ask, cases, compare, stages

EXAMPLES: Final = int(os.environ.get("AEGIS_PROPERTY_EXAMPLES", "15"))


def test_pruned_or_whole_cached_or_not_the_verdict_is_the_same() -> None:
    """And that hits, misses, errors and every decision were among what was compared."""
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sources(), cases)
    def run(source: Source, asked: list[Case]) -> None:
        note(str(source))
        seen.update(compare(source, asked))

    run()
    assert {"hit", "miss", "bypass", "error", "allow", "deny", "sanitize", "pruned"} <= seen.keys()


async def test_the_comparison_notices_a_field_that_was_left_out(tmp_path: Path) -> None:
    rego = 'decision := {"decision": "allow", "reason_code": "x"} if not input.agent.claims.role'
    version = version_of(tmp_path, rego)
    manifest = version.analysis.entry_points["aegis/decision"]
    assert manifest.facts == (("agent", "claims", "role"),)
    case = (a_request(), Subject("a", Assurance.JWT, claims={"role": "x"}))
    async with opa_with(version) as process:
        _, pruned, whole = made = await stages(process, "aegis/decision")
        assert pruned._active is not None
        left_out = Plan(replace(manifest, facts=()), revision=version.revision, deterministic=True)
        pruned._active = Active(left_out, pruned._active.manifest)
        outcomes = [(await ask(policy, case))[0] for policy in (pruned, whole)]
        for policy in made:
            await policy.stop()
    assert outcomes[0] != outcomes[1]


def filled(form: Form, number: int) -> Piece:
    """Another filling for each `number`."""
    kinds = {hole: kind for hole, kind in holes_of(form).items() if kind not in NEW}
    texts = {hole: FILLINGS[kind] for hole, kind in kinds.items() if kind != "body"}
    holes: dict[str, Any] = {hole: choice[number % len(choice)] for hole, choice in texts.items()}
    return Piece(form, {hole: [filled(PLAIN[0], number)] for hole in kinds if hole not in holes} | holes)


def test_every_form_is_rego_whatever_fills_it(tmp_path: Path) -> None:
    """Each filling in a package of its own, beside the libraries that it may name."""
    body = [filled(PLAIN[0], 0)]
    files = {
        f"lib/{name}.rego": library(Library(body, body, body, MANY[0], MANY[0]), f"lib.{name}")
        for name in FILLINGS["lib"]
    }
    for number in range(max(map(len, FILLINGS.values()))):
        for which, form in enumerate(FORMS):
            name = f"f{number}_{which}"
            files[f"form/{name}.rego"] = written([filled(form, number)], f"form.{name}")
    OpaTool().run(["check", "--strict", "--bundle", "."], write(tmp_path / "source", files))


def test_what_is_left_of_a_failure_can_be_read() -> None:
    """The smallest policy with an `every` holds little else."""
    pieces = find(bodies(FORMS, 1), lambda body: "every " in written(body, "p"))
    text = written(pieces, "p")
    assert text.startswith("package p\n\nheld if {\nevery ")
    assert (text.count("\n"), len(text) < 130) == (5, True)
