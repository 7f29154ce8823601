"""Who asks: what a valid token, a header and the settings make of a request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authz.errors import Denied, KeyUnusable
from authz.identity.jwt import MAX_CHAIN, Identifier
from authz.testing import a_request
from authz.values import Assurance, Reason, Request
from tests.tokens import NOW, Clock, Issuer, an_identifier, presenting, write_keys

ISSUER = Issuer()
P256 = Issuer("key-2", "ES256")
RSA = Issuer("key-3", "RS256")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., Identifier]:
    file = write_keys(tmp_path / "jwks.json", ISSUER, P256, RSA)
    return lambda **settings: an_identifier(file, clock, **settings)


def denied(identifier: Identifier, request: Request) -> Reason:
    with pytest.raises(Denied) as caught:
        identifier.identify(request)
    return caught.value.reason


@pytest.mark.parametrize("issuer", [ISSUER, P256, RSA], ids=["EdDSA", "ES256", "RS256"])
@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}", "BEARER   {}"])
def test_a_valid_token_names_the_agent(make: Callable[..., Identifier], issuer: Issuer, form: str) -> None:
    subject = make().identify(presenting(form.format(issuer.token(sub="agent-7"))))
    assert (subject.agent_id, subject.assurance, subject.chain) == ("agent-7", Assurance.JWT, ())


def test_the_chain_is_unwrapped_nearest_first(make: Callable[..., Identifier]) -> None:
    act = {"sub": "planner", "act": {"sub": "user-desk", "iss": "https://agents.aegis.test"}}
    assert make().identify(presenting(ISSUER.token(act=act))).chain == ("planner", "user-desk")


def test_a_chain_is_as_long_as_the_bound_and_no_longer(make: Callable[..., Identifier]) -> None:
    act: dict[str, Any] = {"sub": "first"}
    for _ in range(MAX_CHAIN - 1):
        act = {"sub": "next", "act": act}
    identifier = make()
    assert len(identifier.identify(presenting(ISSUER.token(act=act))).chain) == MAX_CHAIN
    assert denied(identifier, presenting(ISSUER.token(act={"sub": "a", "act": act}))) == "identity_invalid"


@pytest.mark.parametrize("name", ["sid", "session_id"])
def test_the_session_comes_from_a_claim(make: Callable[..., Identifier], name: str) -> None:
    assert make().identify(presenting(ISSUER.token(**{name: "s-1"}))).session_id == "s-1"


def test_other_claims_are_kept_for_policy_and_the_checked_ones_are_not(
    make: Callable[..., Identifier],
) -> None:
    token = ISSUER.token(nbf=NOW, sid="s", act={"sub": "b"}, roles=["clerk"], env="prod", limit=0.5, jti="1")
    claims = make().identify(presenting(token)).claims
    assert claims == {"roles": ["clerk"], "env": "prod", "limit": 0.5, "jti": "1"}


def test_one_of_several_audiences_is_enough(make: Callable[..., Identifier]) -> None:
    assert make().identify(presenting(ISSUER.token(aud=["x", "aegis"]))).agent_id == "agent-1"


@pytest.mark.parametrize(
    "name", ["spiffe://aegis.test/ns/a/sa/b", "urn:agent:7", "client|9", "bot@example.com", "a" * 256]
)
def test_the_usual_forms_of_names_are_names(make: Callable[..., Identifier], name: str) -> None:
    assert make().identify(presenting(ISSUER.token(sub=name))).agent_id == name


def test_without_a_credential_the_identity_is_missing(make: Callable[..., Identifier]) -> None:
    assert denied(make(), a_request()) == Reason.IDENTITY_MISSING


def test_a_connect_brings_its_token_as_proxy_authorization(make: Callable[..., Identifier]) -> None:
    headers = {"proxy-authorization": f"Bearer {ISSUER.token()}"}
    assert make().identify(a_request(method="CONNECT", headers=headers)).agent_id == "agent-1"
    assert denied(make(), a_request(headers=headers)) == Reason.IDENTITY_MISSING


def test_authorization_counts_only_where_it_is_turned_on(make: Callable[..., Identifier]) -> None:
    request = a_request(headers={"authorization": f"Bearer {ISSUER.token()}"})
    assert make(use_authorization=True).identify(request).agent_id == "agent-1"
    assert denied(make(), request) == Reason.IDENTITY_MISSING


def test_an_authorization_of_another_scheme_is_the_upstreams(make: Callable[..., Identifier]) -> None:
    request = presenting(ISSUER.token(), authorization="Basic dXNlcjpwYXNz, more")
    assert make(use_authorization=True).identify(request).agent_id == "agent-1"


def test_a_development_header_is_believed_and_called_what_it_is(make: Callable[..., Identifier]) -> None:
    identifier = make(development_header="X-Agent", minimum_assurance="header")
    subject = identifier.identify(a_request(headers={"x-agent": "agent-9"}))
    assert (subject.agent_id, subject.assurance) == ("agent-9", Assurance.HEADER)


def test_a_development_header_is_below_the_default_floor(make: Callable[..., Identifier]) -> None:
    identifier = make(development_header="x-agent")
    assert denied(identifier, a_request(headers={"x-agent": "agent-9"})) == Reason.IDENTITY_ASSURANCE


def test_a_token_and_a_header_of_one_name_have_the_tokens_assurance(
    make: Callable[..., Identifier],
) -> None:
    identifier = make(development_header="x-agent")
    assert identifier.identify(presenting(ISSUER.token(), x_agent="agent-1")).assurance is Assurance.JWT


def test_a_floor_above_tokens_denies_them(make: Callable[..., Identifier]) -> None:
    identifier = make(minimum_assurance="mtls")
    assert denied(identifier, presenting(ISSUER.token())) == Reason.IDENTITY_ASSURANCE


def test_the_longest_life_is_valid_and_a_second_more_is_not(make: Callable[..., Identifier]) -> None:
    identifier = make(max_token_life_s=900)
    assert identifier.identify(presenting(ISSUER.token(exp=NOW + 900)))
    assert denied(identifier, presenting(ISSUER.token(exp=NOW + 901))) == Reason.IDENTITY_INVALID


def test_a_token_expires_at_the_second_and_not_before(make: Callable[..., Identifier], clock: Clock) -> None:
    identifier, request = make(skew_s=30), presenting(ISSUER.token())
    clock.now = NOW + 600 + 30 - 0.001
    assert identifier.identify(request)
    clock.now = NOW + 600 + 30
    assert denied(identifier, request) == Reason.IDENTITY_EXPIRED


@pytest.mark.parametrize(
    "claims",
    [{"iat": NOW + 40}, {"iat": NOW + 40, "nbf": NOW}, {"nbf": NOW + 40}, {"iat": NOW - 9, "nbf": NOW + 40}],
)
def test_a_token_begins_at_the_second_and_not_before(
    make: Callable[..., Identifier], clock: Clock, claims: dict[str, Any]
) -> None:
    identifier, request = make(skew_s=30), presenting(ISSUER.token(**claims))
    clock.now = NOW + 10 - 0.001
    assert denied(identifier, request) == Reason.IDENTITY_INVALID
    clock.now = NOW + 10
    assert identifier.identify(request)


def test_without_skew_the_times_hold_as_they_are(make: Callable[..., Identifier], clock: Clock) -> None:
    identifier, request = make(skew_s=0), presenting(ISSUER.token())
    assert identifier.identify(request)
    clock.now = NOW - 0.5
    assert denied(identifier, request) == Reason.IDENTITY_INVALID
    clock.now = NOW + 600
    assert denied(identifier, request) == Reason.IDENTITY_EXPIRED


def test_without_a_key_file_there_is_no_start(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(KeyUnusable, match=r"jwks\.json: No such file"):
        an_identifier(tmp_path / "jwks.json", clock)


def test_policy_may_judge_who_presents_nothing_where_the_settings_say_so(
    make: Callable[..., Identifier],
) -> None:
    identifier = make(anonymous=True, minimum_assurance="none")
    subject = identifier.identify(a_request())
    assert (subject.agent_id, subject.assurance) == ("unknown", Assurance.NONE)
    assert identifier.identify(presenting(ISSUER.token(sub="agent-7"))).agent_id == "agent-7"
    assert denied(identifier, presenting("broken")) == "identity_invalid"


def test_nobody_is_let_through_as_anonymous_above_assurance_none(make: Callable[..., Identifier]) -> None:
    with pytest.raises(ValueError, match="anonymous: needs minimum_assurance: none"):
        make(anonymous=True)
