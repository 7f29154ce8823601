"""A second, independent reading of EVIDENCE's formats, written from the page and not from our verifier.

In: a log's directory. Out: its entries, or AssertionError. It shares no code with `authz`: json, hashlib and
`cryptography` instead of orjson, our tree and PyNaCl, so that writer and verifier cannot be wrong together.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SEGMENT = 65_536
MEMBERS = {"kind", "log", "seq", "previous_entry_hash", "timestamp", "signer_id", "attestation_signature"}
NAMED = ("decision_id", "timestamp", "policy_version", "signer_id", "kind", "log", "seq")
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


def epochs(worker: Path) -> list[Path]:
    """The epochs' directories of one worker, oldest first."""
    return sorted(path for path in worker.iterdir() if (path / "entries").is_dir())


def lines(epoch: Path) -> Iterator[bytes]:
    """The stored entries of one epoch; every file but the last is full, and every line is ended."""
    files = sorted((epoch / "entries").glob("*.jsonl"))
    assert [file.name for file in files] == [f"{number:08d}.jsonl" for number in range(len(files))]
    for number, file in enumerate(files):
        stored = file.read_bytes()
        assert not stored or stored.endswith(b"\n"), f"{file}: the last line is not ended"
        rows = stored.split(b"\n")[:-1]
        assert len(rows) == SEGMENT or (number == len(files) - 1 and len(rows) < SEGMENT), file
        yield from rows


def read(epoch: Path, *publics: bytes) -> list[dict[str, Any]]:
    """Every entry of the epoch, with its form, place, chain and attestation checked: by the one of `publics`
    that its first entry names, and from each hand-over on by the one that this names.
    """
    entries: list[dict[str, Any]] = []
    public = publics[0]
    previous = hashlib.sha256(b"").hexdigest()
    for seq, line in enumerate(lines(epoch)):
        entry = _object(line)
        assert entry.keys() >= MEMBERS, line
        assert entry["seq"] == seq
        assert entry["previous_entry_hash"] == previous
        assert entry["log"].split("/")[-1] == epoch.name
        assert entry["signer_id"] == entry["log"].rsplit("/", 1)[0]
        assert TIMESTAMP.match(entry["timestamp"])
        assert len(line) <= 16_384
        if seq == 0 and "record_keys" in entry:
            (public,) = [_public(jwk) for jwk in entry["record_keys"]]
        assert public in publics
        _attested(line, entry, public)
        if entry["kind"] == "key" and entry.get("of") == entry["log"]:
            assert (entry["size"], entry["tail_hash"]) == (seq, previous)
            public = _public(entry["jwk"])
        previous = hashlib.sha256(b"\x00" + line).hexdigest()
        entries.append(entry)
    return entries


def history(worker: Path, *publics: bytes) -> list[list[dict[str, Any]]]:
    """Every epoch of a worker, each one read; each but the first opens with the name of the one before."""
    found = [read(epoch, *publics) for epoch in epochs(worker)]
    for entries in found:
        assert entries, "an epoch without an entry"
        assert entries[0]["kind"] == "open"
    return found


def tip(epoch: Path) -> tuple[int, str]:
    """Size and RFC 6962 root (hex) of an epoch, by the recursive definition."""
    leaves = [hashlib.sha256(b"\x00" + line).digest() for line in lines(epoch)]
    return len(leaves), _root(leaves).hex()


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _root(leaves[:k]) + _root(leaves[k:])).digest()


def _object(line: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs), line
        assert [name for name, _ in pairs] == sorted(name for name, _ in pairs), line
        return dict(pairs)

    entry = json.loads(line, object_pairs_hook=once)
    plain = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    assert plain.encode() == line
    assert isinstance(entry, dict)
    return entry


def _attested(line: bytes, entry: dict[str, Any], public: bytes) -> None:
    token = entry["attestation_signature"]
    header, payload, signature = token.split(".")
    assert json.loads(_decode(header))["alg"] == "EdDSA"
    Ed25519PublicKey.from_public_bytes(public).verify(_decode(signature), f"{header}.{payload}".encode())
    claims = json.loads(_decode(payload))
    unsigned = line.replace(b'"attestation_signature":"' + token.encode() + b'",', b"", 1)
    assert claims == {name: entry[name] for name in NAMED if name in entry} | {
        "entry_sha256": hashlib.sha256(unsigned).hexdigest()
    }


def _public(jwk: dict[str, str]) -> bytes:
    assert (jwk["kty"], jwk["crv"]) == ("OKP", "Ed25519")
    return _decode(jwk["x"])


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
