"""An agent that borrows, forges or mixes certificates: who the transport says it is, and who may say so."""

from pathlib import Path
from typing import Any

import pytest

from authz.errors import Denied
from authz.identity.jwt import Identifier
from authz.testing import a_request
from authz.values import Assurance, Reason, Request
from tests.tokens import Clock, Issuer, an_identifier, presenting, write_keys

ISSUER = Issuer()
ME, OTHER, PROXY = (f"spiffe://aegis.test/{name}" for name in ("me", "other", "proxy"))
DOMAINS: dict[str, Any] = {"trust_domains": ["aegis.test", "partner.test"]}
XFCC: dict[str, Any] = {**DOMAINS, "trust_xfcc": True}
BEHIND_A_PROXY: dict[str, Any] = {**XFCC, "xfcc_proxies": [PROXY]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "jwks.json", ISSUER)


def with_xfcc(value: str, principal: str = "") -> Request:
    return a_request(principal=principal, headers={"x-forwarded-client-cert": value})


def reason(identifier: Identifier, request: Request) -> Reason:
    with pytest.raises(Denied) as caught:
        identifier.identify(request)
    return caught.value.reason


def known(identifier: Identifier, request: Request) -> tuple[str, Assurance, str]:
    subject = identifier.identify(request)
    return subject.agent_id, subject.assurance, subject.principal


def test_a_certificate_of_a_trust_domain_is_an_agent(file: Path) -> None:
    identifier = an_identifier(file, Clock(), **DOMAINS)
    assert known(identifier, a_request(principal=ME)) == (ME, Assurance.MTLS, ME)


def test_without_a_setting_a_certificate_is_nobody(file: Path) -> None:
    assert reason(an_identifier(file, Clock()), a_request(principal=ME)) == Reason.IDENTITY_MISSING


def test_a_certificate_reported_over_a_transport_that_others_reach_is_no_assurance(file: Path) -> None:
    exposed = an_identifier(file, Clock(), protected=False, **DOMAINS)
    assert reason(exposed, a_request(principal=ME)) == Reason.IDENTITY_ASSURANCE
    lax = an_identifier(file, Clock(), protected=False, minimum_assurance="none", **DOMAINS)
    assert known(lax, a_request(principal=ME)) == (ME, Assurance.NONE, ME)
    both = presenting(ISSUER.token(sub=ME))
    assert lax.identify(both).assurance is Assurance.NONE


@pytest.mark.parametrize(
    "principal",
    """
    spiffe://evil.test/me spiffe://aegis.test.evil/me spiffe://aegis.test spiffe://aegis.test/../me
    spiffe://AEGIS.test/me CN=me agent.aegis.test spiffe://aegis.test@evil/me
    """.split(),
)
def test_a_certificate_that_is_not_of_us_spoils_a_good_token(file: Path, principal: str) -> None:
    identifier = an_identifier(file, Clock(), **DOMAINS)
    headers = {"x-aegis-agent-token": ISSUER.token()}
    assert reason(identifier, a_request(principal=principal)) == Reason.IDENTITY_INVALID
    assert reason(identifier, a_request(principal=principal, headers=headers)) == Reason.IDENTITY_INVALID


def test_a_token_of_another_agent_than_the_certificate(file: Path) -> None:
    """Stolen, or lent: the certificate's key is where the request comes from."""
    identifier = an_identifier(file, Clock(), **DOMAINS)
    headers = {"x-aegis-agent-token": ISSUER.token(sub=OTHER)}
    with pytest.raises(Denied) as caught:
        identifier.identify(a_request(principal=ME, headers=headers))
    assert caught.value.reason == Reason.IDENTITY_AMBIGUOUS
    assert caught.value.detail == f"the certificate says {ME} and another credential {OTHER}"


def test_a_token_of_the_certificates_agent_brings_its_chain_and_claims(file: Path) -> None:
    identifier = an_identifier(file, Clock(), **DOMAINS)
    token = ISSUER.token(sub=ME, act={"sub": "planner"}, role="clerk", sid="s")
    subject = identifier.identify(a_request(principal=ME, headers={"x-aegis-agent-token": token}))
    assert (subject.agent_id, subject.assurance) == (ME, Assurance.MTLS)
    assert (subject.chain, subject.claims, subject.session_id) == (("planner",), {"role": "clerk"}, "s")
    assert (subject.key, subject.principal) == ("key-1", ME)


def test_one_token_is_as_strong_as_the_connection_it_comes_over(file: Path) -> None:
    """What was verified is remembered; the connection is looked at each time."""
    identifier = an_identifier(file, Clock(), **DOMAINS)
    headers = {"x-aegis-agent-token": ISSUER.token(sub=ME)}
    strong, weak = a_request(principal=ME, headers=headers), a_request(headers=headers)
    assert [identifier.identify(each).assurance for each in (weak, strong, weak)] == ["jwt", "mtls", "jwt"]


@pytest.mark.parametrize("principal", [ME, OTHER])
def test_names_that_policy_calls_one_agent_are_one(file: Path, principal: str) -> None:
    identifier = policy_says(file, {ME: "billing", OTHER: "billing", "planner-jwt": "planner"})
    headers = {"x-aegis-agent-token": ISSUER.token(sub="billing", act={"sub": "planner-jwt"})}
    subject = identifier.identify(a_request(principal=principal, headers=headers))
    assert (subject.agent_id, subject.chain, subject.assurance) == ("billing", ("planner",), "mtls")
    assert known(identifier, a_request(principal=principal)) == ("billing", Assurance.MTLS, principal)
    token = presenting(ISSUER.token(sub=ME))
    assert known(identifier, token) == ("billing", Assurance.JWT, "")


def test_names_that_policy_calls_two_agents_are_two(file: Path) -> None:
    identifier = policy_says(file, {ME: "billing", OTHER: "clinical"})
    headers = {"x-aegis-agent-token": ISSUER.token(sub="clinical")}
    assert reason(identifier, a_request(principal=ME, headers=headers)) == Reason.IDENTITY_AMBIGUOUS


def policy_says(file: Path, same: dict[str, str]) -> Identifier:
    return an_identifier(file, Clock(), same=lambda: same, **DOMAINS)


# -- x-forwarded-client-cert


@pytest.mark.parametrize("settings", [DOMAINS, {}], ids=["domains", "nothing set"])
def test_a_forwarded_certificate_that_nobody_asked_for_is_ignored(
    file: Path, settings: dict[str, Any]
) -> None:
    identifier = an_identifier(file, Clock(), **settings)
    assert reason(identifier, with_xfcc(f"URI={ME}")) == Reason.IDENTITY_MISSING


def test_only_the_last_hops_element_counts(file: Path) -> None:
    identifier = an_identifier(file, Clock(), **XFCC)
    assert known(identifier, with_xfcc(f"URI={OTHER},Hash=00;URI={ME}")) == (ME, Assurance.MTLS, ME)
    assert reason(identifier, with_xfcc(f"URI={OTHER},Hash=00")) == Reason.IDENTITY_MISSING


@pytest.mark.parametrize(
    "value",
    [
        f"URI={ME};URI={OTHER}",
        f'URI={OTHER},Subject="',
        f'Subject=",By=x;Subject="";URI={ME}',
        f"URI={ME}, URI={ME}",
        "URI=spiffe://evil.test/me",
        f"URI={ME}/..",
        "",
    ],
)
def test_a_forwarded_certificate_with_two_readings_is_refused(file: Path, value: str) -> None:
    assert reason(an_identifier(file, Clock(), **XFCC), with_xfcc(value)) == Reason.IDENTITY_INVALID


def test_a_forwarded_certificate_of_another_client_than_the_connections(file: Path) -> None:
    identifier = an_identifier(file, Clock(), **XFCC)
    assert reason(identifier, with_xfcc(f"URI={OTHER}", principal=ME)) == Reason.IDENTITY_AMBIGUOUS
    assert known(identifier, with_xfcc(f"URI={ME}", principal=ME)) == (ME, Assurance.MTLS, ME)


def test_a_proxy_speaks_for_its_client_and_is_none_itself(file: Path) -> None:
    identifier = an_identifier(file, Clock(), **BEHIND_A_PROXY)
    assert known(identifier, with_xfcc(f"URI={ME}", principal=PROXY)) == (ME, Assurance.MTLS, ME)
    for request in (a_request(principal=PROXY), with_xfcc(f"URI={PROXY}"), with_xfcc("Hash=00", PROXY)):
        assert reason(identifier, request) == Reason.IDENTITY_MISSING
    assert reason(identifier, with_xfcc(f"URI={ME}", principal=OTHER)) == Reason.IDENTITY_AMBIGUOUS


def test_a_forwarded_certificate_over_an_open_transport_is_no_assurance(file: Path) -> None:
    exposed = an_identifier(file, Clock(), protected=False, **XFCC)
    assert reason(exposed, with_xfcc(f"URI={ME}")) == Reason.IDENTITY_ASSURANCE
