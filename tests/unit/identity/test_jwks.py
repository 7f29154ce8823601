"""Keys from the issuer's URL: asked for in the background, at most so often, and kept when it fails."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from authz.config_identity import Identity
from authz.errors import Denied, KeyUnusable
from authz.identity.fetch import _max_age
from authz.identity.jwks import RemoteKeys, Schedule, open_keys
from authz.identity.jwt import Identifier
from authz.identity.keyset import MAX_FILE_BYTES, MAX_KEYS, KeySet
from authz.values import Reason
from tests.pki import Authority
from tests.tokens import Clock, Issuer, presenting, write_keys
from tests.unit.identity.server import KeyServer, key_server

ONE, TWO, RSA = Issuer("one"), Issuer("two", "ES256"), Issuer("three", "RS256")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as made:
        made.serve(ONE)
        yield made


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def following(
    server: KeyServer, clock: Clock | None = None, authorities: Path | None = None, **settings: Any
) -> Iterator[RemoteKeys]:
    keys = RemoteKeys(Identity(jwks_url=server.url, **settings), authorities, clock or Clock())
    try:
        yield keys
    finally:
        keys.close()
        keys._thread.join(10)
        assert not keys._thread.is_alive()


def asked_again(server: KeyServer, keys: RemoteKeys) -> None:
    """Time passes: the next request is due now, and answered."""
    before = len(server.asked)
    known = keys._known
    with keys._changed:
        keys._schedule._next = -math.inf
        keys._changed.notify()
    until(lambda: len(server.asked) > before and keys._known is not known)


def test_keys_arrive_and_are_taken_once(server: KeyServer) -> None:
    with following(server) as keys:
        until(keys.refresh)
        assert list(keys.keys) == ["one"]
        assert keys.refresh() is False
        assert (keys.problem, keys.age_s) == ("", 0)
    assert server.paths == ["/jwks.json?v=1"]
    assert server.asked[0]["accept"].startswith("application/jwk-set+json")


def test_keys_that_are_replaced_are_followed(server: KeyServer) -> None:
    with following(server) as keys:
        until(keys.refresh)
        server.serve(TWO, RSA)
        asked_again(server, keys)
        assert keys.refresh()
        assert list(keys.keys) == ["two", "three"]


def test_an_unchanged_set_is_not_sent_again_and_counts_as_read(server: KeyServer) -> None:
    clock = Clock()
    server.serve(ONE, ETag='"v1"')
    with following(server, clock) as keys:
        until(keys.refresh)
        clock.now += 500
        assert keys.age_s == 500
        asked_again(server, keys)
        assert server.asked[1]["if-none-match"] == '"v1"'
        assert keys.age_s == 500  # nothing is in use that was not taken
        assert keys.refresh() is False
        assert keys.age_s == 0
        assert list(keys.keys) == ["one"]


@pytest.mark.parametrize("etag", ["v1", '"a\x7f"', '"' + "a" * 300 + '"', 'W/"a" b'])
def test_an_etag_of_another_form_is_not_repeated(server: KeyServer, etag: str) -> None:
    server.serve(ONE, ETag=etag)
    with following(server) as keys:
        until(keys.refresh)
        asked_again(server, keys)
        assert "if-none-match" not in server.asked[1]


TOO_MANY = b'{"keys": [' + b"{}," * MAX_KEYS + b"{}]}"
BAD: dict[str, tuple[tuple[int, dict[str, str], bytes], str]] = {
    "an error": ((500, {}, b""), "HTTP status 500"),
    "not found": ((404, {}, b'{"keys": []}'), "HTTP status 404"),
    "a redirect": ((302, {"Location": "http://127.0.0.1:1/"}, b'{"keys": []}'), "redirects are not followed"),
    "a permanent redirect": ((308, {"Location": "/other"}, b""), "redirects are not followed"),
    "a 304 to nothing": ((304, {}, b""), "HTTP status 304"),
    "a page": ((200, {"Content-Type": "text/html"}, b"<html>"), "JSON"),
    "no set": ((200, {}, b"[]"), "not a JWK set"),
    "two sets": ((200, {}, b'{"keys": [], "keys": []}'), "twice"),
    "too many keys": ((200, {}, TOO_MANY), "at most 1000"),
    "too large": ((200, {}, b" " * (MAX_FILE_BYTES + 1)), f"over {MAX_FILE_BYTES} bytes"),
    "cut short": ((200, {"Content-Length": "1000"}, b'{"keys": []}'), "before its end"),
    "compressed": ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "encoding"),
    "a header without end": ((200, {"X": "a" * 70_000}, b'{"keys": []}'), "not an HTTP answer"),
}


@pytest.mark.parametrize(("answer", "why"), BAD.values(), ids=BAD)
def test_an_answer_that_cannot_be_used_leaves_the_keys(
    server: KeyServer, answer: tuple[int, dict[str, str], bytes], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    with following(server, clock) as keys:
        until(keys.refresh)
        server.answer = answer
        clock.now += 70
        asked_again(server, keys)
        assert keys.refresh() is False
        assert list(keys.keys) == ["one"]
        assert keys.age_s == 70
        assert keys.problem.startswith(f"{server.url}: ")
        assert why in keys.problem
        server.serve(TWO)
        asked_again(server, keys)
        assert keys.refresh()
        assert (list(keys.keys), keys.problem, keys.age_s) == (["two"], "", 0)
    assert capsys.readouterr().out.count("agent_keys_unusable") == 1


def test_a_server_that_does_not_answer_is_left_after_a_while(server: KeyServer) -> None:
    server.go_on.clear()
    with following(server, jwks_timeout_s=0.2) as keys:
        until(lambda: keys.problem)
        assert "in time" in keys.problem or "not an HTTP answer" in keys.problem
        server.go_on.set()
        until(keys.refresh)  # asked again after a second
    assert len(server.asked) == 2


def test_closing_does_not_wait_for_an_answer(server: KeyServer) -> None:
    server.go_on.clear()
    keys = RemoteKeys(Identity(jwks_url=server.url), None, Clock())
    until(lambda: server.asked)
    keys.close()
    assert keys._thread.is_alive()
    server.go_on.set()
    keys._thread.join(10)
    assert len(server.asked) == 1


# -- when to ask


def test_the_next_request_is_where_the_answer_wants_it_within_bounds() -> None:
    for max_age, wait in ((None, 300), (0, 30), (29, 30), (120, 120), (86400, 300)):
        schedule = Schedule(300, 30)
        schedule.asked(1000)
        schedule.succeeded(max_age)
        assert schedule.due(False) == 1000 + wait


def test_a_missing_key_is_asked_for_early_and_never_twice_within_the_bound() -> None:
    schedule = Schedule(300, 30)
    schedule.asked(1000)
    schedule.succeeded(None)
    assert (schedule.due(True), schedule.due(False)) == (1030, 1300)
    schedule.asked(1030)
    schedule.failed()
    assert schedule.due(True) == 1031  # the failure's own first wait


def test_failures_wait_longer_each_time_up_to_the_bound_and_a_success_ends_that() -> None:
    schedule = Schedule(300, 30)
    waits = []
    for _ in range(30):
        schedule.asked(0)
        schedule.failed()
        waits.append(schedule.due(False))
    assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(waits[10:]) == {300}
    schedule.succeeded(None)
    schedule.asked(1000)
    schedule.failed()
    assert schedule.due(False) == 1001


@pytest.mark.parametrize(
    ("control", "age", "expected"),
    [
        ("", "", None),
        ("public, max-age=120", "", 120),
        ('MAX-AGE="120", public', "20", 100),
        ("max-age=10", "999", 0),
        ("max-age=10", "-5", 10),
        ("no-cache, max-age=600", "", 0),
        ("no-store", "", 0),
        ("s-maxage=5, x-max-age=7", "", None),
        ("max-age=-1", "", None),
        ("max-age=99999999999", "", None),
    ],
)
def test_cache_control_says_how_long(control: str, age: str, expected: float | None) -> None:
    assert _max_age(control, age) == expected


# -- tokens


def identifier(keys: RemoteKeys, clock: Clock, **settings: Any) -> Identifier:
    return Identifier(Identity(**settings), keys=keys, protected=True, wall=clock)


def reason(made: Identifier, token: str) -> Reason:
    with pytest.raises(Denied) as caught:
        made.identify(presenting(token))
    return caught.value.reason


@pytest.mark.parametrize("issuer", [ONE, TWO, RSA], ids=["EdDSA", "ES256", "RS256"])
def test_tokens_by_the_fetched_keys_are_believed(server: KeyServer, issuer: Issuer) -> None:
    server.serve(ONE, TWO, RSA)
    clock = Clock()
    with following(server, clock) as keys:
        until(keys.refresh)
        assert identifier(keys, clock).identify(presenting(issuer.token())).key == issuer.kid


@pytest.mark.parametrize("max_age", [3600, 0], ids=["bounded", "for ever"])
def test_before_the_first_answer_nobody_is_known(server: KeyServer, max_age: float) -> None:
    server.answer = (503, {}, b"")
    clock = Clock()
    with following(server, clock) as keys:
        until(lambda: keys.problem)
        made = identifier(keys, clock, keys_max_age_s=max_age)
        assert math.isinf(made.keys_age_s)
        assert reason(made, ONE.token()) == Reason.IDENTITY_KEYS_STALE


def test_keys_beyond_their_age_are_believed_no_longer_not_even_for_a_token_of_before(
    server: KeyServer,
) -> None:
    clock = Clock()
    with following(server, clock) as keys:
        until(keys.refresh)
        made, token = identifier(keys, clock, max_token_life_s=7200), ONE.token(exp=clock.now + 7200)
        assert made.identify(presenting(token))
        server.answer = (500, {}, b"")
        clock.now += 3600
        asked_again(server, keys)
        assert made.identify(presenting(token))
        clock.now += 1
        assert reason(made, token) == Reason.IDENTITY_KEYS_STALE
        server.serve(ONE)
        asked_again(server, keys)
        made.refresh()
        assert made.identify(presenting(token))


def test_a_key_that_was_taken_away_takes_its_verified_tokens_along(server: KeyServer) -> None:
    clock = Clock()
    with following(server, clock) as keys:
        until(keys.refresh)
        made = identifier(keys, clock)
        assert made.identify(presenting(ONE.token()))
        server.serve(TWO)
        asked_again(server, keys)
        made.refresh()
        assert reason(made, ONE.token()) == Reason.IDENTITY_INVALID


def test_tokens_by_an_unknown_key_ask_once_and_the_request_does_not_wait(server: KeyServer) -> None:
    clock, ticks = Clock(), Clock(0)
    keys = RemoteKeys(Identity(jwks_url=server.url), None, clock, monotonic=ticks)
    try:
        until(keys.refresh)
        made = identifier(keys, clock)
        server.serve(ONE, TWO)
        server.go_on.clear()
        for _ in range(50):
            assert reason(made, TWO.token()) == Reason.IDENTITY_INVALID
        assert len(server.asked) == 1  # within jwks_early_s of the request before
        ticks.now = 30
        assert reason(made, TWO.token()) == Reason.IDENTITY_INVALID
        keys._wanted = False
        keys.missing()  # wakes the thread that a real clock would have woken
        until(lambda: len(server.asked) == 2)
        for _ in range(50):  # while the answer is on its way
            assert reason(made, TWO.token()) == Reason.IDENTITY_INVALID
        server.go_on.set()
        until(keys.refresh)
        assert made.identify(presenting(TWO.token())).key == "two"
        assert len(server.asked) == 2
    finally:
        keys.close()
        keys._thread.join(10)


# -- transport


def test_over_tls_the_servers_certificate_is_checked(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    with key_server(authority.sign("issuer", "127.0.0.1")) as server:
        server.serve(ONE)
        with following(server, authorities=authority.own.certificate) as keys:
            until(keys.refresh)
            assert list(keys.keys) == ["one"]
        with following(server, authorities=other.own.certificate) as keys:
            until(lambda: keys.problem)
            assert "its certificate" in keys.problem
            assert not keys.refresh()
        with following(server) as keys:  # the system's CAs
            until(lambda: keys.problem)
            assert not keys.refresh()
    with key_server(authority.sign("elsewhere", "10.9.9.9")) as server:
        server.serve(ONE)
        with following(server, authorities=authority.own.certificate) as keys:
            until(lambda: keys.problem)
            assert "its certificate" in keys.problem


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    settings = Identity(jwks_url="https://issuer.example/jwks", jwks_ca="ca.pem")
    with pytest.raises(KeyUnusable, match=r"ca\.pem: No such file"):
        open_keys(settings, tmp_path, Clock())
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(KeyUnusable, match=r"ca\.pem: "):
        open_keys(settings, tmp_path, Clock())


def test_no_proxy_from_the_environment_stands_between(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with following(server) as keys:
        until(keys.refresh)


def test_without_a_url_the_keys_are_the_files(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    write_keys(tmp_path / "keys/agents.jwks.json", ONE)
    before = threading.active_count()
    keys = open_keys(Identity(), tmp_path, Clock())
    keys.missing()
    keys.close()
    assert isinstance(keys, KeySet)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "url",
    """
    http://issuer.example/jwks http://localhost/jwks ftp://127.0.0.1/jwks https:///jwks issuer.example/jwks
    https://user:secret@issuer.example/jwks https://issuer.example/jwks#x https://issuer.example:99999/jwks
    http://127.0.0.1.issuer.example/jwks http://10.0.0.1/jwks file:///etc/jwks https://issuer.example/\u00e4
    """.split(),
)
def test_a_url_that_others_could_answer_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="jwks_url"):
        Identity(jwks_url=url)


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="keys_max_age_s"):
        Identity(jwks_url="https://issuer.example/jwks", keys_max_age_s=300, jwks_refresh_s=300)
    with pytest.raises(ValueError, match="jwks_early_s"):
        Identity(jwks_early_s=301)
