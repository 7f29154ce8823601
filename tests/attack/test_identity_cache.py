"""What was verified once is not believed for longer, nor for more, than it would be today."""

import json
from pathlib import Path

import pytest

from authz.errors import Denied
from authz.identity.jwt import Identifier
from authz.values import Reason
from tests.tokens import NOW, Clock, Issuer, an_identifier, presenting, write_keys, write_set

ONE, TWO = Issuer("one"), Issuer("two", "ES256")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "jwks.json", ONE, TWO)


def denied(identifier: Identifier, token: str) -> Reason:
    with pytest.raises(Denied) as caught:
        identifier.identify(presenting(token))
    return caught.value.reason


def test_a_kept_token_expires(file: Path, clock: Clock) -> None:
    identifier, token = an_identifier(file, clock), ONE.token()
    for _ in range(3):
        identifier.identify(presenting(token))
    clock.now = NOW + 630
    assert denied(identifier, token) == Reason.IDENTITY_EXPIRED
    assert denied(identifier, token) == Reason.IDENTITY_EXPIRED


def test_a_kept_token_is_not_valid_before_its_time_when_the_clock_steps_back(
    file: Path, clock: Clock
) -> None:
    identifier, token = an_identifier(file, clock), ONE.token()
    identifier.identify(presenting(token))
    clock.now = NOW - 31
    assert denied(identifier, token) == Reason.IDENTITY_INVALID


@pytest.mark.parametrize("issuer", [ONE, TWO])
def test_a_kept_token_ends_with_its_key(file: Path, clock: Clock, issuer: Issuer) -> None:
    identifier, token = an_identifier(file, clock), issuer.token()
    identifier.identify(presenting(token))
    write_keys(file, *({ONE, TWO} - {issuer}))
    identifier.refresh()
    assert denied(identifier, token) == Reason.IDENTITY_INVALID


def test_a_kept_token_ends_when_another_key_takes_its_kid(file: Path, clock: Clock) -> None:
    identifier, token = an_identifier(file, clock), ONE.token()
    identifier.identify(presenting(token))
    write_keys(file, Issuer("one"))
    identifier.refresh()
    assert denied(identifier, token) == Reason.IDENTITY_INVALID


def test_emptying_the_set_ends_everybody(file: Path, clock: Clock) -> None:
    identifier = an_identifier(file, clock)
    identifier.identify(presenting(ONE.token()))
    write_set(file, [])
    identifier.refresh()
    for issuer in (ONE, TWO):
        assert denied(identifier, issuer.token()) == Reason.IDENTITY_INVALID


def test_a_token_kept_over_a_rotation_that_keeps_its_key_is_valid(file: Path, clock: Clock) -> None:
    identifier, token = an_identifier(file, clock), ONE.token()
    identifier.identify(presenting(token))
    write_keys(file, ONE, Issuer("three"))
    identifier.refresh()
    assert identifier.identify(presenting(token)).agent_id == "agent-1"


def test_a_new_key_counts_after_the_next_look(file: Path, clock: Clock) -> None:
    identifier, three = an_identifier(file, clock), Issuer("three")
    assert denied(identifier, three.token()) == Reason.IDENTITY_INVALID
    write_keys(file, ONE, three)
    identifier.refresh()
    assert identifier.identify(presenting(three.token()))


def test_a_broken_key_file_keeps_the_keys_but_not_for_ever(file: Path, clock: Clock) -> None:
    """A revocation that went wrong must not leave the revoked key trusted without an end."""
    identifier = an_identifier(file, clock, keys_max_age_s=100)
    file.write_text('{"keys": [')
    identifier.refresh()
    assert str(file) in identifier.keys_problem
    clock.now = NOW + 100
    assert identifier.identify(presenting(ONE.token()))
    clock.now = NOW + 101
    identifier.refresh()
    assert identifier.keys_age_s == 101
    assert denied(identifier, ONE.token()) == Reason.IDENTITY_KEYS_STALE
    write_keys(file, ONE)
    identifier.refresh()
    assert identifier.identify(presenting(ONE.token()))


def test_keys_that_nobody_looks_after_are_stale(file: Path, clock: Clock) -> None:
    identifier, token = an_identifier(file, clock), ONE.token(now=NOW + 3500)
    for_ever = an_identifier(file, clock, keys_max_age_s=0)
    clock.now = NOW + 3601
    assert denied(identifier, token) == Reason.IDENTITY_KEYS_STALE
    assert for_ever.identify(presenting(token))


def test_the_cache_never_grows_over_its_bound(file: Path, clock: Clock) -> None:
    identifier = an_identifier(file, clock, token_cache=8)
    for number in range(50):
        identifier.identify(presenting(ONE.token(sub=f"agent-{number}")))
        assert len(identifier._verified) <= 8
    for number in range(50):
        assert identifier.identify(presenting(ONE.token(sub=f"agent-{number}"))).agent_id == f"agent-{number}"


def test_the_token_used_last_is_kept_longest(file: Path, clock: Clock) -> None:
    identifier = an_identifier(file, clock, token_cache=2)
    tokens = [ONE.token(sub=f"agent-{number}") for number in range(3)]
    for number in (0, 1, 0, 2):
        identifier.identify(presenting(tokens[number]))
    kept = {verified.subject.agent_id for verified in identifier._verified.values()}
    assert kept == {"agent-0", "agent-2"}


def test_without_a_cache_nothing_is_kept(file: Path, clock: Clock) -> None:
    identifier, token = an_identifier(file, clock, token_cache=0), ONE.token()
    assert identifier.identify(presenting(token)) == identifier.identify(presenting(token))
    assert len(identifier._verified) == 0


def test_what_is_refused_takes_no_place(file: Path, clock: Clock) -> None:
    identifier = an_identifier(file, clock)
    forged = [Issuer("one").token(), ONE.token(exp=NOW - 60, iat=NOW - 90), ONE.token(aud="other"), "x.y.z"]
    for token in forged:
        denied(identifier, token)
    assert len(identifier._verified) == 0


def test_one_agents_token_never_answers_for_another(file: Path, clock: Clock) -> None:
    identifier = an_identifier(file, clock)
    for _ in range(2):
        for number in range(20):
            token = ONE.token(sub=f"agent-{number}", role=f"r{number}")
            subject = identifier.identify(presenting(token))
            assert (subject.agent_id, subject.claims) == (f"agent-{number}", {"role": f"r{number}"})


def test_the_key_file_says_nothing_secret_in_errors(tmp_path: Path) -> None:
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [ONE.jwk | {"d": secret}]}))
    file.chmod(0o644)
    with pytest.raises(Exception, match=r"private") as caught:
        an_identifier(file, Clock())
    assert secret not in str(caught.value)
