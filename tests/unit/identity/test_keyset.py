"""The key file: which keys are used, for what, and how a changed file is noticed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from authz.errors import KeyUnusable
from authz.identity.keyset import MAX_FILE_BYTES, MAX_KEYS, KeySet, parse_keys
from tests.tokens import NOW, Clock, Issuer, b64, write_keys, write_set

BOTH = ("EdDSA", "ES256")
ALL = (*BOTH, "RS256")
ONE = Issuer("one")
TWO = Issuer("two", "ES256")
THREE = Issuer("three", "RS256")
FIRST = Issuer("first")
LONG_AGO = NOW - 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return settled(write_keys(tmp_path / "jwks.json", ONE))


def settled(file: Path) -> Path:
    os.utime(file, (LONG_AGO, LONG_AGO))
    return file


def parse(*keys: Any, algorithms: tuple[str, ...] = BOTH) -> list[str]:
    return list(parse_keys(json.dumps({"keys": keys}).encode(), algorithms, "f"))


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


def test_each_key_has_the_one_algorithm_of_its_curve() -> None:
    keys = parse_keys(json.dumps({"keys": [ONE.jwk, TWO.jwk]}).encode(), BOTH, "f")
    assert {kid: key.algorithm_name for kid, key in keys.items()} == {"one": "EdDSA", "two": "ES256"}


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_both_names_of_ed25519_are_known(alg: str) -> None:
    assert parse(ONE.jwk | {"alg": alg}) == ["one"]


def test_a_key_of_rsa_has_one_algorithm() -> None:
    for jwk in (THREE.jwk, THREE.jwk | {"alg": "RS256"}):
        keys = parse_keys(json.dumps({"keys": [jwk]}).encode(), ALL, "f")
        assert {kid: key.algorithm_name for kid, key in keys.items()} == {"three": "RS256"}


@pytest.mark.parametrize("alg", ["PS256", "RS512", "RSA-OAEP"])
def test_an_rsa_key_for_another_algorithm_is_left_out(alg: str) -> None:
    assert parse(THREE.jwk | {"alg": alg}, TWO.jwk, algorithms=ALL) == ["two"]


def rsa_of(bits: int, exponent: int = 65537) -> dict[str, Any]:
    public = rsa.generate_private_key(exponent, bits).public_key()
    return {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "r"}


@pytest.mark.parametrize(
    ("jwk", "what"),
    [
        (rsa_of(1024), "2048"),
        (rsa_of(2048, 3), "65537"),
        (THREE.jwk | {"e": b64((65538).to_bytes(3, "big"))}, "RSA key"),
        (THREE.jwk | {"n": b64(b"\xff" * 1025)}, "8192"),
        (THREE.jwk | {"n": "A" * 2000}, "n or e"),
        (THREE.jwk | {"n": "!"}, "n or e"),
        (THREE.jwk | {"e": 65537}, "n or e"),
        (THREE.jwk | {"alg": "HS256"}, "alg"),
        (THREE.jwk | {"alg": "ES256"}, "alg"),
        (THREE.jwk | {"alg": ["RS256"]}, "alg"),
        (THREE.jwk | {"d": "AQAB"}, "private"),
    ],
)
def test_an_rsa_key_that_is_weak_or_no_key_makes_the_set_unusable(jwk: dict[str, Any], what: str) -> None:
    with pytest.raises(KeyUnusable, match=rf"f: keys\[0\]: .*{what}"):
        parse(jwk, algorithms=ALL)


def test_an_empty_set_is_a_set_without_keys() -> None:
    assert parse() == []


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "EC", "crv": "P-384", "x": "A" * 64, "y": "A" * 64},
        ONE.jwk | {"use": "enc"},
        ONE.jwk | {"key_ops": ["sign"]},
        ONE.jwk | {"key_ops": 7},
        {"kty": ["OKP"], "crv": {"a": 1}},
        {},
    ],
)
def test_a_key_that_cannot_be_used_is_left_out(key: dict[str, Any]) -> None:
    assert parse(key, TWO.jwk) == ["two"]


def test_a_key_of_an_algorithm_that_is_turned_off_is_left_out() -> None:
    assert parse(ONE.jwk, TWO.jwk, algorithms=("ES256",)) == ["two"]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (ONE.jwk | {"d": "A" * 43}, "private"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}, "secret"),
        (ONE.jwk | {"alg": "HS256"}, "alg"),
        (ONE.jwk | {"alg": "ES256"}, "alg"),
        (TWO.jwk | {"alg": "EdDSA"}, "alg"),
        (ONE.jwk | {"alg": None}, "alg"),
        (without(ONE.jwk, "kid"), "kid"),
        (ONE.jwk | {"kid": 1}, "kid"),
        (ONE.jwk | {"kid": ""}, "kid"),
        (without(ONE.jwk, "x"), "curve"),
        (ONE.jwk | {"x": "A" * 42}, "coordinate"),
        (ONE.jwk | {"x": "!" * 43}, "coordinate"),
        (without(TWO.jwk, "y"), "coordinate"),
        (TWO.jwk | {"y": "A" * 43}, "curve"),
        ("key", "object"),
        (FIRST.jwk, "twice"),
    ],
)
def test_a_wrong_key_makes_the_file_unusable_and_is_named(key: Any, what: str) -> None:
    with pytest.raises(KeyUnusable, match=rf"f: keys\[1\]: .*{what}"):
        parse(FIRST.jwk, key)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b"\xff",
        b'{"keys": ' + b"[" * 20 + b"]" * 20 + b"}",
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
    ],
)
def test_what_is_not_a_set_is_unusable(content: bytes) -> None:
    with pytest.raises(KeyUnusable, match=r"^f: "):
        parse_keys(content, BOTH, "f")


def test_a_key_that_was_replaced_is_there_after_the_next_look(file: Path) -> None:
    keys = KeySet(file, BOTH, Clock())
    assert not keys.refresh()
    settled(write_keys(file, TWO))
    assert keys.refresh()
    assert list(keys.keys) == ["two"]
    assert not keys.refresh()


def test_a_file_rewritten_in_place_with_its_old_date_is_noticed(file: Path) -> None:
    keys = KeySet(file, BOTH, Clock())
    other = Issuer("eno")
    file.write_text(json.dumps({"keys": [other.jwk]}))
    settled(file)
    assert keys.refresh()
    assert list(keys.keys) == ["eno"]


def test_a_file_that_was_just_written_is_read_again_although_it_looks_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(file, (NOW, NOW))
    keys = KeySet(file, BOTH, Clock())
    before = file.stat()
    file.write_text(json.dumps({"keys": [Issuer("eno").jwk]}))
    monkeypatch.setattr(os, "stat", lambda *_, **__: before)  # two writes within one tick of the disk's clock
    assert keys.refresh()


def test_a_touched_file_with_the_same_keys_is_no_change(file: Path) -> None:
    keys = KeySet(file, BOTH, Clock())
    os.utime(file, (LONG_AGO + 5, LONG_AGO + 5))
    assert not keys.refresh()


def broken(file: Path) -> None:
    file.write_text('{"keys": [')


def missing(file: Path) -> None:
    file.unlink()


def writable(file: Path) -> None:
    file.chmod(0o666)


def writable_for_the_group(file: Path) -> None:
    file.chmod(0o664)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o644)


def huge(file: Path) -> None:
    file.write_bytes(b" " * (MAX_FILE_BYTES + 1))


@pytest.mark.parametrize("damage", [broken, missing, writable, writable_for_the_group, pipe, huge])
def test_a_file_that_becomes_unusable_leaves_the_keys_and_is_told(
    file: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    keys = KeySet(file, BOTH, clock)
    damage(file)
    clock.now += 50
    assert [keys.refresh() for _ in range(3)] == [False] * 3
    assert list(keys.keys) == ["one"]
    assert str(file) in keys.problem
    assert keys.age_s == 50
    assert capsys.readouterr().out.count("agent_keys_unusable") == 1


@pytest.mark.parametrize("damage", [broken, missing, writable, writable_for_the_group, pipe, huge])
def test_an_unusable_file_at_the_start_is_an_error_that_names_it(
    file: Path, damage: Callable[[Path], None]
) -> None:
    damage(file)
    with pytest.raises(KeyUnusable, match=str(file)):
        KeySet(file, BOTH, Clock())


@pytest.mark.parametrize("damage", [broken, missing, writable])
def test_a_repaired_file_ends_the_problem(file: Path, damage: Callable[[Path], None]) -> None:
    clock = Clock()
    keys = KeySet(file, BOTH, clock)
    damage(file)
    keys.refresh()
    settled(write_keys(file, ONE))
    clock.now += 50
    assert not keys.refresh()
    assert (keys.problem, keys.age_s) == ("", 0)


def test_a_file_that_comes_back_untouched_ends_the_problem(file: Path) -> None:
    keys = KeySet(file, BOTH, Clock())
    away = file.parent.with_name(file.parent.name + "-away")
    file.parent.rename(away)
    keys.refresh()
    assert keys.problem
    away.rename(file.parent)
    keys.refresh()
    assert keys.problem == ""


def test_a_link_that_points_back_to_the_file_of_before_ends_the_problem(file: Path) -> None:
    """As a mounted volume is rolled back: nothing about the file of before has changed."""
    link, bad = file.with_name("link"), file.with_name("bad")
    link.symlink_to(file)
    keys = KeySet(link, BOTH, Clock())
    bad.write_text(file.read_text())
    bad.chmod(0o666)
    link.unlink()
    link.symlink_to(bad)
    keys.refresh()
    assert keys.problem
    link.unlink()
    link.symlink_to(file)
    keys.refresh()
    assert keys.problem == ""


def test_a_look_at_an_unchanged_file_makes_the_keys_fresh(file: Path) -> None:
    clock = Clock()
    keys = KeySet(file, BOTH, clock)
    clock.now += 50
    assert keys.age_s == 50
    keys.refresh()
    assert keys.age_s == 0


def test_an_emptied_set_takes_every_key_away(file: Path) -> None:
    keys = KeySet(file, BOTH, Clock())
    settled(write_set(file, []))
    assert keys.refresh()
    assert (keys.keys, keys.problem) == ({}, "")
