"""The files of a key: what is read from them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authz.errors import KeyUnusable
from authz.ledger import keys
from authz.ledger.keyring import Keyring, Listed, Revoked

ONE, TWO = b"\x01" * 32, b"\x02" * 32
TIME = "2026-01-01T00:00:00.000000Z"


def listed(seed: bytes, **members: Any) -> Listed:
    return Listed(keys.jwk(keys.public_key(seed)), **members)


def put(path: Path, seed: bytes) -> None:
    path.write_bytes(keys.encode(seed))
    path.chmod(0o600)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "record.key")
    put(made.path, ONE)
    return made


def test_without_a_list_the_key_in_use_is_the_only_one(ring: Keyring) -> None:
    assert ring.listed() == [listed(ONE)]
    assert ring.seed() == ONE
    assert ring.seed_before() is None


def test_a_list_is_read_back_as_it_was_written(ring: Keyring) -> None:
    said = [listed(TWO, since=TIME, revoked=Revoked(TIME, "stolen")), listed(ONE, since=TIME)]
    ring.write(said)
    assert ring.listed() == said
    assert json.loads(ring.list.read_bytes())["keys"][1] == {"jwk": said[1].jwk, "since": TIME}


def test_a_key_that_is_not_listed_is_not_used(ring: Keyring) -> None:
    ring.write([listed(TWO)])
    with pytest.raises(KeyUnusable, match=rf"{ring.path}: a key that {ring.list} does not have"):
        ring.seed()
    put(ring.previous, b"\x03" * 32)
    put(ring.path, TWO)
    assert ring.seed_before() is None


def test_a_revoked_key_signs_nothing_more(ring: Keyring) -> None:
    put(ring.previous, TWO)
    ring.write([listed(TWO), listed(ONE)])
    assert ring.seed_before() == TWO
    for seed in (ONE, TWO):
        ring.revoke(keys.public_key(seed), Revoked(TIME, "stolen"))
    assert ring.seed_before() is None
    with pytest.raises(
        KeyUnusable, match=r"revoked from 2026-01-01T00:00:00\.000000Z on; run `aegis keys rotate`"
    ):
        ring.seed()


def test_the_stamp_changes_with_each_file(ring: Keyring) -> None:
    stamps = {ring.stamp()}
    ring.write([listed(ONE)])
    stamps.add(ring.stamp())
    put(ring.previous, TWO)
    stamps.add(ring.stamp())
    assert len(stamps) == 3


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_list_that_others_may_write_is_refused(ring: Keyring, mode: int) -> None:
    ring.write([listed(ONE)])
    ring.list.chmod(mode)
    with pytest.raises(KeyUnusable, match=rf"{ring.list}: others may write it"):
        ring.listed()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "malformed|truncated"),
        (b'{"keys":[{"jw\xbc":{}}]}', "utf-8"),
        (b"[]", "Expected `object`"),
        (b'{"keys":[{"jwk":{"kty":"OKP"}}]}', "not an Ed25519 JWK"),
        (b'{"keys":[{"x":1}]}', "x"),
        (b'{"keys":[],"more":1}', "more"),
        (
            json.dumps({"keys": [{"jwk": keys.jwk(ONE), "since": "yesterday"}]}).encode(),
            "since: not RFC 3339",
        ),
        (
            json.dumps({"keys": [{"jwk": keys.jwk(ONE), "revoked": {"at": "now", "why": ""}}]}).encode(),
            "revoked.at: not RFC 3339",
        ),
    ],
)
def test_a_list_that_is_none_is_refused_and_named(ring: Keyring, data: bytes, why: str) -> None:
    ring.list.write_bytes(data)
    with pytest.raises(KeyUnusable, match=f"{ring.list}: .*({why})"):
        ring.listed()


def test_a_link_in_the_place_of_the_list_is_refused(ring: Keyring, tmp_path: Path) -> None:
    ring.write([listed(ONE)])
    ring.list.rename(tmp_path / "elsewhere")
    ring.list.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyUnusable, match=rf"{ring.list}: Too many levels of symbolic links"):
        ring.listed()


@pytest.mark.parametrize("name", ["path", "previous"])
def test_every_seed_that_others_may_read_is_refused(ring: Keyring, name: str) -> None:
    put(ring.previous, TWO)
    getattr(ring, name).chmod(0o640)
    with pytest.raises(KeyUnusable, match=rf"{getattr(ring, name)}: others may read it"):
        ring.seed() if name == "path" else ring.seed_before()
