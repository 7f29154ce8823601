"""trust.json: read strictly, written the same way, and the longest prefix counts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from authz.errors import ConfigError
from authz.ledger import keys, quorum, trust
from authz.ledger.cosignatures import Witness
from tests.pki import Authority

VECTORS = Path(__file__).parents[2] / "vectors" / "ledger"
ONE, TWO = keys.public_key(b"\x01" * 32), keys.public_key(b"\x02" * 32)
JWK = keys.jwk(ONE)


def test_the_published_keys_give_the_published_file() -> None:
    expected = json.loads((VECTORS / "expected.json").read_bytes())
    log, record = (
        keys.public_key(bytes.fromhex(expected[name])) for name in ("log_key_seed", "record_key_seed")
    )
    data = trust.export({"aegis.example.com/worker-0/": [log]}, [record])
    assert data == (VECTORS / "trust.json").read_bytes()
    assert trust.load(VECTORS / "trust.json") == trust.Trust(
        {"aegis.example.com/worker-0/": (log,)}, (record,)
    )


def test_the_longest_prefix_names_the_key() -> None:
    pinned = trust.Trust({"a/": (ONE,), "a/worker-1/": (TWO,)}, ())
    assert pinned.log_keys_of("a/worker-1/e") == (TWO,)
    assert pinned.log_keys_of("a/worker-10/e") == (ONE,)
    assert pinned.log_keys_of("b/worker-1/e") == ()


def test_a_log_has_two_keys_while_one_takes_over() -> None:
    data = trust.export({"a/b/": [ONE, TWO]}, [])
    assert json.loads(data)["log_keys"]["a/b/"] == [keys.jwk(ONE), keys.jwk(TWO)]
    assert trust.parse(data).log_keys_of("a/b/e") == (ONE, TWO)


def test_what_a_revoked_key_signed_has_to_be_dated() -> None:
    data = trust.export({"a/": [ONE, TWO]}, [], revoked={keys.thumbprint(ONE): "1970-01-01T00:16:40.500000Z"})
    pinned = trust.parse(data)
    assert pinned.revoked_at(keys.thumbprint(ONE)) == 1000.5
    assert pinned.revoked_at(keys.thumbprint(TWO)) is None
    assert pinned.counts_until([ONE]) == 1000.5
    assert pinned.counts_until([ONE, TWO]) == math.inf


def test_what_a_later_version_pins_is_kept_as_unused() -> None:
    tree = {"log_keys": {}, "record_keys": [], "package_keys": [1]}
    assert trust.parse(json.dumps(tree).encode()).unused == ("package_keys",)


def test_witnesses_and_roots_are_written_as_they_are_read(tmp_path: Path) -> None:
    root = Authority(tmp_path).own.value
    witness = Witness("witness.example.net/w1", TWO)
    policy = quorum.parse(f"witness w1 {witness.vkey}\ngroup any-one any w1\nquorum any-one".encode())
    data = trust.export({"a/b/": [ONE]}, [ONE], witnesses=policy, tsa_roots=[root])
    read = trust.parse(data)
    assert (read.witnesses, read.tsa_roots) == (policy, (root,))


def test_what_was_pinned_before_there_were_witnesses_is_written_as_before() -> None:
    assert b"witnesses" not in trust.export({"a/b/": [ONE]}, [ONE])


KID = keys.thumbprint(ONE)
TIME = "2026-01-01T00:00:00.000000Z"
GOOD: dict[str, Any] = {"log_keys": {"a/b/": JWK}, "record_keys": [JWK]}


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ([], "not an object"),
        ({"record_keys": [JWK]}, "log_keys: missing"),
        ({"log_keys": {}}, "record_keys: missing"),
        (GOOD | {"log_keys": [JWK]}, "log_keys: missing"),
        (GOOD | {"record_keys": {"a": JWK}}, "record_keys: missing"),
        (GOOD | {"record_key": [JWK]}, "'record_key' is no member"),
        (GOOD | {"log_keys": {"a/b": JWK}}, "log_keys: 'a/b' is not an origin prefix"),
        (GOOD | {"log_keys": {"": JWK}}, "log_keys: '' is not an origin prefix"),
        (GOOD | {"log_keys": {"a b/": JWK}}, "log_keys: 'a b/' is not an origin prefix"),
        (GOOD | {"log_keys": {"a/b/": None}}, r"log_keys\['a/b/'\]: not an Ed25519 JWK"),
        (GOOD | {"revoked": []}, "revoked: not an object"),
        (GOOD | {"revoked": {"short": TIME}}, "revoked: 'short' is not a thumbprint"),
        (GOOD | {"revoked": {KID: "2026-01-01"}}, f"revoked\\['{KID}'\\]: not RFC 3339"),
        (GOOD | {"log_keys": {"a/b/": []}}, r"log_keys\['a/b/'\]: no key"),
        (GOOD | {"log_keys": {"a/b/": [JWK, [JWK]]}}, r"log_keys\['a/b/'\]\[1\]: not an Ed25519 JWK"),
        (GOOD | {"record_keys": [JWK, JWK | {"crv": "P-256"}]}, r"record_keys\[1\]: not an Ed25519 JWK"),
        (GOOD | {"record_keys": [JWK | {"d": "secret"}]}, r"record_keys\[0\]: a private key"),
        (GOOD | {"witnesses": "quorum w"}, "witnesses: not an array of strings"),
        (GOOD | {"witnesses": []}, "witnesses: no quorum line"),
        (GOOD | {"witnesses": ["quorum w"]}, "witnesses: line 1: w is not defined above"),
        (GOOD | {"tsa_roots": [1]}, "tsa_roots: not an array of strings"),
        (GOOD | {"tsa_roots": []}, "tsa_roots: "),
        (GOOD | {"tsa_roots": ["no certificate"]}, "tsa_roots: "),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_member(tree: Any, names: str) -> None:
    with pytest.raises(ConfigError, match=f"^my-trust.json: {names}"):
        trust.parse(json.dumps(tree).encode(), "my-trust.json")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"log_keys":{},"log_keys":{},"record_keys":[]}',
        b"\xff",
        b"[" * 100_000,
        b" " * (trust.MAX_TRUST + 1),
    ],
)
def test_what_is_no_json_of_one_meaning_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^trust\.json: "):
        trust.parse(data)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ConfigError, match=f"^{path}: "):
            trust.load(path)


def test_nothing_is_exported_that_would_not_be_read() -> None:
    with pytest.raises(ConfigError):
        trust.export({"no-slash": [ONE]}, [TWO])
