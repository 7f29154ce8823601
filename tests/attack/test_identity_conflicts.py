"""Two identities in one request, and identities that only whoever reaches us could have claimed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.errors import Denied
from authz.identity.jwt import Identifier
from authz.testing import a_request
from authz.values import Assurance, Reason, Request, Subject
from tests.tokens import Clock, Issuer, an_identifier, presenting, write_keys

ISSUER = Issuer()
WEAK, STRONG = ISSUER.token(sub="weak"), ISSUER.token(sub="strong")
EVERYTHING: dict[str, Any] = {"use_authorization": True, "development_header": "x-agent"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "jwks.json", ISSUER)


@pytest.fixture(scope="module")
def identifier(file: Path) -> Identifier:
    return an_identifier(file, Clock(), **EVERYTHING)


def reason(identifier: Identifier, request: Request) -> Reason:
    with pytest.raises(Denied) as caught:
        identifier.identify(request)
    return caught.value.reason


@pytest.mark.parametrize("first", [WEAK, STRONG])
@pytest.mark.parametrize("second", [WEAK, STRONG])
@pytest.mark.parametrize("name", ["authorization", "proxy-authorization"])
def test_two_tokens_of_different_agents(identifier: Identifier, first: str, second: str, name: str) -> None:
    headers = {"x-aegis-agent-token": first, name: f"Bearer {second}"}
    request = a_request(method="CONNECT", headers=headers)
    if first == second:
        assert identifier.identify(request)
    else:
        assert reason(identifier, request) == Reason.IDENTITY_AMBIGUOUS


@pytest.mark.parametrize("claims", [{"act": {"sub": "parent"}}, {"role": "admin"}, {"sid": "other"}])
def test_two_tokens_of_one_agent_that_say_different_things(
    identifier: Identifier, claims: dict[str, Any]
) -> None:
    """Which chain, which role counts would depend on who reads."""
    request = presenting(WEAK, authorization=f"Bearer {ISSUER.token(sub='weak', **claims)}")
    assert reason(identifier, request) == Reason.IDENTITY_AMBIGUOUS


def test_a_valid_token_beside_an_invalid_one(identifier: Identifier) -> None:
    for request in (
        presenting(WEAK, authorization=f"Bearer {Issuer().token()}"),
        presenting(Issuer().token(), authorization=f"Bearer {WEAK}"),
        presenting("", authorization=f"Bearer {WEAK}"),
    ):
        assert reason(identifier, request) == Reason.IDENTITY_INVALID


@pytest.mark.parametrize("name", ["x-aegis-agent-token", "authorization", "x-agent"])
@pytest.mark.parametrize("separator", [",", ", ", " , "])
def test_a_header_that_stands_twice(identifier: Identifier, name: str, separator: str) -> None:
    """Envoy folds two headers of one name into one value with a comma."""
    value = "weak" if name == "x-agent" else f"Bearer {WEAK}"
    request = a_request(headers={name: f"{value}{separator}{value}"})
    assert reason(identifier, request) == Reason.IDENTITY_AMBIGUOUS


def test_a_development_header_that_names_another_agent_than_the_token(identifier: Identifier) -> None:
    assert reason(identifier, presenting(WEAK, x_agent="strong")) == Reason.IDENTITY_AMBIGUOUS


def test_a_development_header_that_nobody_configured(file: Path) -> None:
    plain = an_identifier(file, Clock(), minimum_assurance="none")
    assert reason(plain, a_request(headers={"x-agent": "strong"})) == Reason.IDENTITY_MISSING
    assert plain.identify(presenting(WEAK, x_agent="strong")).agent_id == "weak"


@pytest.mark.parametrize("name", ["", "unknown", "a b", "a\nb", "a" * 300, "é", "..", '{"sub":"a"}'])
def test_a_development_header_that_is_no_name(file: Path, name: str) -> None:
    lax = an_identifier(file, Clock(), development_header="x-agent", minimum_assurance="none")
    assert reason(lax, a_request(headers={"x-agent": name})) == Reason.IDENTITY_INVALID


@pytest.mark.parametrize("value", ["Basic c3Ryb25nOnB3", "Digest a=b", WEAK, "", "Bearer"])
def test_a_connect_with_a_proxy_authorization_of_another_scheme(identifier: Identifier, value: str) -> None:
    request = a_request(method="CONNECT", headers={"proxy-authorization": value})
    assert reason(identifier, request) == Reason.IDENTITY_INVALID


def test_where_anyone_can_call_us_no_token_counts(file: Path) -> None:
    exposed = an_identifier(file, Clock(), protected=False)
    assert reason(exposed, presenting(STRONG)) == Reason.IDENTITY_ASSURANCE


def test_where_anyone_can_call_us_the_agent_is_named_with_no_assurance(file: Path) -> None:
    exposed = an_identifier(file, Clock(), protected=False, minimum_assurance="none", **EVERYTHING)
    for request in (presenting(STRONG), a_request(headers={"x-agent": "strong"})):
        subject = exposed.identify(request)
        assert (subject.agent_id, subject.assurance) == ("strong", Assurance.NONE)
    assert reason(exposed, presenting(Issuer().token())) == Reason.IDENTITY_INVALID


@pytest.mark.parametrize("protected", [True, False])
def test_a_forged_principal_establishes_nothing(file: Path, protected: bool) -> None:
    lax = an_identifier(file, Clock(), protected=protected, minimum_assurance="none")
    spiffe = "spiffe://aegis.test/agent/strong"
    assert reason(lax, a_request(principal=spiffe)) == Reason.IDENTITY_MISSING
    headers = {"x-aegis-agent-token": WEAK, "x-forwarded-client-cert": f"By=a;URI={spiffe}"}
    assert lax.identify(a_request(principal=spiffe, headers=headers)).agent_id == "weak"


NAMES = st.sampled_from("x-aegis-agent-token authorization proxy-authorization x-agent cookie".split())
ANY = st.one_of(
    st.text(st.characters(codec=None), max_size=80),
    st.builds("Bearer {}".format, st.text(max_size=60)),
    st.builds(
        "{}.{}.{}".format, st.text("eyJhbGciOiJub25lIn0_-A=", max_size=40), st.text("Aa0_-"), st.just("AA")
    ),
    st.builds(lambda at, text: WEAK[:at] + text, st.integers(0, len(WEAK)), st.text(max_size=5)),
)


@settings(max_examples=500, deadline=None)
@given(headers=st.dictionaries(NAMES, ANY, max_size=4), method=st.sampled_from(["GET", "CONNECT"]))
def test_any_text_is_a_subject_or_a_denial(
    identifier: Identifier, headers: dict[str, str], method: str
) -> None:
    found = outcome(identifier, a_request(method=method, headers=headers))
    if isinstance(found, Denied):
        assert found.reason.startswith("identity_")
        assert WEAK[:20] not in found.detail
    else:
        assert found.agent_id in ("weak", headers.get("x-agent"))


def outcome(identifier: Identifier, request: Request) -> Subject | Denied:
    try:
        return identifier.identify(request)
    except Denied as denied:
        return denied
