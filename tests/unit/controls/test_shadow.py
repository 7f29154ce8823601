"""What is in shadow goes by the version that decided, its rule, and who asks; by nothing else."""

import pytest

from authz.controls.shadow import MAX_VERSIONS, Shadow
from authz.values import Assurance, Decision, ShadowScope, Subject, Verdict

AGENT = Subject("billing-agent", Assurance.JWT)


def denied(rule: str = "agent-limits", version: str = "v1.0.0", digest: str = "d1") -> Verdict:
    return Verdict(Decision.DENY, "code", rule, engine="opa", policy_version=version, policy_digest=digest)


def of_policy(scope: ShadowScope) -> Shadow:
    shadow = Shadow()
    shadow.activated("v1.0.0", "d1", scope)
    return shadow


def test_nothing_is_in_shadow_unless_somebody_says_so() -> None:
    assert not Shadow().covers(denied(), AGENT)
    assert not of_policy(ShadowScope()).covers(denied(), AGENT)
    assert of_policy(ShadowScope()).scope == ShadowScope()


def test_a_version_says_of_itself_what_is() -> None:
    assert of_policy(ShadowScope(all=True)).covers(denied(), AGENT)
    assert of_policy(ShadowScope(rules=("agent-limits",))).covers(denied(), AGENT)
    assert not of_policy(ShadowScope(rules=("agent-limits",))).covers(denied("agent-tool"), AGENT)
    assert of_policy(ShadowScope(agents=("billing-agent",))).covers(denied(), AGENT)
    assert not of_policy(ShadowScope(agents=("clinical-agent",))).covers(denied(), AGENT)


def test_a_verdict_goes_by_the_version_that_gave_it_also_after_the_next_is_active() -> None:
    shadow = of_policy(ShadowScope(all=True))
    shadow.activated("v1.1.0", "d2", ShadowScope())
    assert shadow.covers(denied(), AGENT)
    assert not shadow.covers(denied(digest="d2"), AGENT)
    assert not shadow.covers(denied(digest="never seen"), AGENT)
    assert shadow.scope == ShadowScope()
    shadow.activated("v1.0.0", "d1", ShadowScope(all=True))
    assert shadow.scope == ShadowScope(all=True)


def test_old_versions_are_forgotten() -> None:
    shadow = of_policy(ShadowScope(all=True))
    for number in range(MAX_VERSIONS):
        shadow.activated(f"v2.0.{number}", f"e{number}", ShadowScope(all=True))
    assert not shadow.covers(denied(), AGENT)
    assert shadow.covers(denied(digest=f"e{MAX_VERSIONS - 1}"), AGENT)


@pytest.mark.parametrize(
    ("chain", "covered"),
    [
        ((), True),
        (("clinical-agent",), True),
        (("stranger",), False),
        (("clinical-agent", "stranger"), False),
    ],
)
def test_an_agent_is_in_shadow_only_with_everyone_it_acts_for(chain: tuple[str, ...], covered: bool) -> None:
    shadow = of_policy(ShadowScope(agents=("billing-agent", "clinical-agent")))
    assert shadow.covers(denied(), Subject("billing-agent", Assurance.JWT, chain)) is covered


def test_the_settings_add_to_what_policy_says_and_may_change() -> None:
    shadow = of_policy(ShadowScope(rules=("agent-limits",)))
    shadow.configure(ShadowScope(rules=("agent-tool",), agents=("clinical-agent",)), ())
    assert shadow.covers(denied(), AGENT)
    assert shadow.covers(denied("agent-tool"), AGENT)
    assert shadow.scope == ShadowScope(agents=("clinical-agent",), rules=("agent-limits", "agent-tool"))
    shadow.configure(ShadowScope(), ())
    assert not shadow.covers(denied("agent-tool"), AGENT)


def test_the_settings_name_whole_versions() -> None:
    shadow = Shadow(ShadowScope(), ("v1.1.0",))
    shadow.activated("v1.0.0", "d1", ShadowScope(agents=("clinical-agent",)))
    assert not shadow.covers(denied(), AGENT)
    shadow.activated("v1.1.0", "d2", ShadowScope(agents=("clinical-agent",)))
    assert shadow.covers(denied(digest="d2"), AGENT)
    assert shadow.scope == ShadowScope(all=True)
    assert not shadow.covers(denied(), AGENT)


def test_policy_without_a_version_of_ours_is_in_shadow_by_settings() -> None:
    shadow = Shadow(ShadowScope(all=True))
    shadow.activated("none", "none", ShadowScope())
    assert shadow.covers(denied(version="none", digest="none"), AGENT)
