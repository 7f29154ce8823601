"""Checks OPA's signature of a bundle, as OPA does, and takes the bundle apart.

In: the bytes of a bundle, and the public key. Out: its files, or BundleRejected. Called by `wasm/source.py`.
Nothing of a bundle is believed before.

    .signatures.json   {"signatures": [JWT]}, exactly one; ES256; payload
                       {"files": [{"name": "data.json", "hash": hex, "algorithm": "SHA-256"}, ...]}
    hash               of the bytes; of `data.json` and `.manifest` with their members in order, without
                       spaces
(https://www.openpolicyagent.org/docs/management-bundles#signature-format)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from typing import Any, Final

from jwt import PyJWS, PyJWTError

from authz.errors import PolicyRejected

MAX_BUNDLE: Final = 64 << 20  # bytes, as it is sent
MAX_CONTENT: Final = 256 << 20  # bytes of all files together
_SIGNATURES: Final = "/.signatures.json"
_STRUCTURED: Final = frozenset((".manifest", "data.json"))


class BundleRejected(PolicyRejected):
    """A bundle that is not taken. `code`: one of `activation.Failure`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def verified(bundle: bytes, public_key: str, key_id: str, algorithm: str) -> dict[str, bytes]:
    """The files by their paths (`/.manifest`), every one of them signed, and all that was signed there."""
    files = _unpacked(bundle)
    signatures = files.pop(_SIGNATURES, None)
    if signatures is None:
        raise BundleRejected("unsigned", "missing .signatures.json")
    hashes = _signed(signatures, public_key, key_id, algorithm)
    for path, data in files.items():
        name = path.lstrip("/")
        if hashes.pop(name, None) != _hash(name, data):
            raise BundleRejected("bad_signature", f"{name}: digest mismatch, or not signed")
    if hashes:
        raise BundleRejected("bad_signature", f"signed, and not there: {min(hashes)}")
    return files


def _unpacked(bundle: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MAX_CONTENT
    try:
        with (
            gzip.GzipFile(fileobj=io.BytesIO(bundle)) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for member in tar:
                left -= member.size
                if left < 0:
                    raise BundleRejected("too_large", f"over {MAX_CONTENT} bytes of content")
                stream, path = tar.extractfile(member), "/" + member.name.lstrip("/")
                if stream is None:
                    continue
                if path in files:
                    raise BundleRejected("unreadable", f"{path}: twice")
                files[path] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BundleRejected("unreadable", f"bundle read failed: {type(error).__name__}") from None
    return files


def _signed(signatures: bytes, public_key: str, key_id: str, algorithm: str) -> dict[str, str]:
    """The hashes by name that the one signature is about."""
    try:
        (token,) = json.loads(signatures)["signatures"]
        decoded = PyJWS().decode_complete(token, public_key, algorithms=[algorithm])
        if decoded["header"].get("kid", key_id) != key_id:
            raise BundleRejected("bad_signature", "the signature names another key")
        payload = json.loads(decoded["payload"])
        if payload.get("scope", ""):
            raise BundleRejected("bad_signature", "the signature has another scope")
        hashes = {file["name"]: file["hash"].lower() for file in payload["files"]}
        algorithms = {file["algorithm"] for file in payload["files"]}
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BundleRejected("bad_signature", "no signature of the key that is trusted") from None
    if algorithms - {"SHA-256"}:
        raise BundleRejected("bad_signature", "a hash that is not SHA-256")
    return hashes


def _hash(name: str, data: bytes) -> str:
    if name.rpartition("/")[2] in _STRUCTURED:
        try:
            tree = json.loads(data, parse_float=_Number, parse_int=_Number)
            data = _written(tree).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            raise BundleRejected("unreadable", f"{name}: not JSON, or nested too deeply") from None
    return hashlib.sha256(data).hexdigest()


class _Number(str):
    """A number as it is spelt: OPA hashes its digits, not its value."""

    __slots__ = ()


def _written(tree: Any) -> str:
    if isinstance(tree, dict):
        return "{" + ",".join(f"{_text(key)}:{_written(tree[key])}" for key in sorted(tree)) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_written, tree)) + "]"
    if isinstance(tree, _Number):
        return tree
    return _text(tree) if isinstance(tree, str) else json.dumps(tree)


def _text(text: str) -> str:
    """As Go's encoder writes it: these two are escaped, and everything else beyond ASCII is not."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
