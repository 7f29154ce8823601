"""What a policy version says of itself is in shadow: read strictly, and carried in the manifest."""

from typing import Any

import pytest

from authz.errors import PolicyRejected
from authz.policy.manifest import Analysis, read_manifest
from authz.policy.shadow import shadow_of
from authz.shadow_names import MOST
from authz.values import ShadowScope

AGENTS = {"billing-agent": {}, "clinical-agent": {}}


@pytest.mark.parametrize(
    ("said", "scope"),
    [
        (None, ShadowScope()),
        ({}, ShadowScope()),
        ({"all": True}, ShadowScope(all=True)),
        ({"all": False, "rules": ["b", "a", "b"]}, ShadowScope(rules=("a", "b"))),
        ({"agents": ["billing-agent"]}, ShadowScope(agents=("billing-agent",))),
    ],
)
def test_what_can_be_said(said: Any, scope: ShadowScope) -> None:
    data = {"agents": AGENTS} | ({} if said is None else {"shadow": said})
    assert shadow_of(data) == scope


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ([], "shadow: not an object"),
        ({"rule": ["a"]}, "shadow: not an object"),
        ({"all": "yes"}, "shadow/all"),
        ({"all": 1}, "shadow/all"),
        ({"rules": "agent-limits"}, "shadow/rules"),
        ({"rules": [""]}, "shadow/rules"),
        ({"rules": [1]}, "shadow/rules"),
        ({"rules": ["a\nb"]}, "shadow/rules"),
        ({"rules": ["a" * 256]}, "shadow/rules"),
        ({"rules": ["egress\u00a0rule"]}, "shadow/rules"),
        ({"rules": [f"{number:0255}" for number in range(MOST)]}, "shadow: agents and rules take .* bytes"),
        ({"rules": [f"r{number}" for number in range(MOST + 1)]}, "shadow/rules"),
        ({"agents": ["biling-agent"]}, "biling-agent is no agent of the data"),
    ],
)
def test_what_is_misspelt_or_of_another_form_is_refused_by_name(said: Any, named: str) -> None:
    with pytest.raises(PolicyRejected, match=named):
        shadow_of({"agents": AGENTS, "shadow": said})


def test_data_of_another_library_has_agents_of_its_own_names() -> None:
    assert shadow_of({"shadow": {"agents": ["anybody"]}}) == ShadowScope(agents=("anybody",))
    assert shadow_of([]) == ShadowScope()


def manifest(analysis: Analysis) -> dict[str, Any]:
    revision = f"v1.0.0+{'0' * 64}"
    return {"revision": revision, "roots": [""], "metadata": analysis.as_metadata()}


def test_the_manifest_carries_it_and_says_nothing_where_there_is_nothing() -> None:
    scope = ShadowScope(all=False, agents=("a",), rules=("b",))
    read = read_manifest(manifest(Analysis(1, {}, (), shadow=scope)))
    assert read is not None
    assert read.analysis.shadow == scope
    assert "shadow" not in Analysis(1, {}, ()).as_metadata()["aegis"]
