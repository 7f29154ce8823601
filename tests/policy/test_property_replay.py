"""Generated policies: a batch of questions gets the answers that its questions get one by one."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.facts import Plan
from authz.replay import version
from authz.replay.isolated import Isolated
from authz.replay.version import NotRepeatable
from tests.policy.generated import Source, requests, sources, subjects
from tests.policy.opa import NOW
from tests.policy.pruning import built

CASES = st.lists(st.tuples(requests(), subjects), min_size=2, max_size=12)


class AskedAlone(Isolated):
    """Without the rule that maps over a batch."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._batched = False


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(sources(most=6), CASES)
def test_a_batch_answers_as_its_questions_do(source: Source, cases: list[Any]) -> None:
    with built(source) as made:
        found = version.of_bundle(made.file)
        for name, entry in found.analysis.entry_points.items():
            plan = Plan(entry, revision=found.label, deterministic=True)
            questions = []
            for request, subject in cases:
                try:
                    questions.append(plan.facts(request, subject, NOW).question)
                except Denied:
                    continue
            try:
                with Isolated(found, name) as together, AskedAlone(found, name) as alone:
                    batch, single = together.ask(questions), alone.ask(questions)
            except NotRepeatable:
                continue
            assert [(each.result, str(each.fault)) for each in batch] == [
                (each.result, str(each.fault)) for each in single
            ]
