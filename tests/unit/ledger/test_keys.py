"""Keys: the published thumbprint and vkeys, files that are whole and private, JWKs of one form."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.errors import KeyUnusable
from authz.ledger import keys
from tests.unit.ledger import golden

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"
EXPECTED = json.loads((VECTORS / "expected.json").read_bytes())
TRUST = json.loads((VECTORS / "trust.json").read_bytes())
RECORD_SEED = bytes.fromhex(EXPECTED["record_key_seed"])


def test_seeds_give_the_published_public_keys_and_thumbprint() -> None:
    public = keys.public_key(RECORD_SEED)
    assert keys.jwk(public) == TRUST["record_keys"][0]
    assert keys.thumbprint(public) == EXPECTED["kid"]
    log = keys.public_key(bytes.fromhex(EXPECTED["log_key_seed"]))
    assert keys.jwk(log) == TRUST["log_keys"]["aegis.example.com/worker-0/"]


def test_vkeys_are_the_published_ones() -> None:
    log_vkey = EXPECTED["vkey"]
    log = keys.public_key(bytes.fromhex(EXPECTED["log_key_seed"]))
    assert keys.vkey(log_vkey.split("+")[0], log) == log_vkey
    assert keys.vkey(golden.LOG, keys.public_key(golden.LOG_SEED)) == golden.LOG_VKEY


def test_other_people_s_library_has_the_same_public_key() -> None:
    theirs = Ed25519PrivateKey.from_private_bytes(RECORD_SEED).public_key().public_bytes_raw()
    assert keys.public_key(RECORD_SEED) == theirs


def test_a_missing_key_is_made_private_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "record.key"
    seed = keys.ensure(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert keys.ensure(file) == keys.load(file) == seed
    assert [path.name for path in file.parent.iterdir()] == ["record.key"]


def test_two_keys_differ(tmp_path: Path) -> None:
    assert keys.ensure(tmp_path / "a") != keys.ensure(tmp_path / "b")


def test_many_makers_agree_on_one_key(tmp_path: Path) -> None:
    file, found = tmp_path / "log.key", []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        found.append(keys.ensure(file))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {keys.load(file)}


def _write(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o606, 0o601])
def test_a_key_that_others_can_reach_is_not_used(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "record.key"
    _write(file, RECORD_SEED.hex() + "\n", mode)
    with pytest.raises(KeyUnusable, match="others may read it"):
        keys.ensure(file)
    assert file.read_text() == RECORD_SEED.hex() + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "ab" * 31,
        "ab" * 33,
        "AB" * 32,
        "ab" * 32 + "\n\n",
        " " + "ab" * 32,
        "zz" * 32,
        "ab" * 32 + "\r\n",
    ],
)
def test_what_is_no_seed_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "record.key"
    _write(file, text)
    with pytest.raises(KeyUnusable, match=r"record\.key: not an Ed25519 seed") as refused:
        keys.ensure(file)
    assert not text.strip() or text.strip() not in str(refused.value)
    assert file.read_bytes() == text.encode()


def test_a_key_without_a_last_newline_is_the_same_key(tmp_path: Path) -> None:
    _write(tmp_path / "a", RECORD_SEED.hex())
    assert keys.load(tmp_path / "a") == RECORD_SEED


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"record\.key: No such file"):
        keys.load(tmp_path / "record.key")


def test_a_directory_or_a_pipe_is_no_key_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    for name in ("pipe", "directory"):
        with pytest.raises(KeyUnusable):
            keys.ensure(tmp_path / name)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(KeyUnusable, match=r"record\.key"):
        keys.ensure(tmp_path / "keys" / "record.key")


def test_a_jwk_comes_back() -> None:
    public = keys.public_key(RECORD_SEED)
    assert keys.from_jwk(keys.jwk(public) | {"kid": "any", "use": "sig"}) == public


GOOD = keys.jwk(keys.public_key(RECORD_SEED))


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        "x",
        {},
        GOOD | {"kty": "EC"},
        GOOD | {"crv": "X25519"},
        GOOD | {"x": GOOD["x"] + "="},
        GOOD | {"x": GOOD["x"][:-1]},
        GOOD | {"x": GOOD["x"][:-1] + "1"},  # spare bits
        GOOD | {"x": "+" * 43},
        GOOD | {"x": 5},
        GOOD | {"d": "AAAA"},
        {"kty": "oct", "k": GOOD["x"]},
    ],
)
def test_what_is_no_public_ed25519_jwk_is_refused(jwk: Any) -> None:
    with pytest.raises(ValueError):
        keys.from_jwk(jwk)
