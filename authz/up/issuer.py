"""The sample issuer: signs short-lived tokens for the sample agents, as an organisation's own would.

In: a directory for its private keys and the file where the worker reads the public ones. Out: JWTs. Two keys,
so that both accepted algorithms are played: `sample-ed25519` and `sample-p256`. The file of public keys is
written once: keys that somebody adds for agents of their own stay.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.config_identity import Identity
from authz.errors import KeyUnusable

LIFE_S: Final = 3600
ED25519: Final = "sample-ed25519"
P256: Final = "sample-p256"

_Key = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class SampleIssuer:
    """Signs for anybody that asks; for samples and tests only."""

    def __init__(self, directory: Path, jwks: Path, settings: Identity) -> None:
        """Make what is missing. Raises KeyUnusable for a key file that is not one of ours."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings = settings
        self._keys: dict[str, tuple[str, _Key]] = {
            ED25519: ("EdDSA", _key(directory / f"{ED25519}.pem", Ed25519PrivateKey.generate)),
            P256: ("ES256", _key(directory / f"{P256}.pem", lambda: ec.generate_private_key(ec.SECP256R1()))),
        }
        self._publish(jwks)

    def token(
        self, agent: str, *, kid: str = ED25519, age_s: int = 0, life_s: int = LIFE_S, **claims: Any
    ) -> str:
        """A token for `agent`, issued `age_s` ago for `life_s`; `claims` are added."""
        issued = int(time.time()) - age_s
        says: dict[str, Any] = {"iss": self._settings.issuer, "aud": self._settings.audience, "sub": agent}
        says |= {"jti": str(uuid.uuid4()), "iat": issued, "exp": issued + life_s, **claims}
        algorithm, key = self._keys[kid]
        return jwt.encode(says, key, algorithm=algorithm, headers={"kid": kid})

    def forged(self, agent: str) -> str:
        """A token that names our key and is signed by another."""
        header, payload, _ = self.token(agent).split(".")
        other = Ed25519PrivateKey.generate()
        signature = jwt.utils.base64url_encode(other.sign(f"{header}.{payload}".encode())).decode()
        return f"{header}.{payload}.{signature}"

    def _publish(self, jwks: Path) -> None:
        """Put our public keys into the set, replacing only those of the same name."""
        ours = {kid: _jwk(kid, *entry) for kid, entry in self._keys.items()}
        listed = json.loads(jwks.read_text())["keys"] if jwks.exists() else []
        wanted = [key for key in listed if key.get("kid") not in ours] + list(ours.values())
        if wanted != listed:
            beside = jwks.with_name(f".{jwks.name}.{os.getpid()}")
            beside.write_text(json.dumps({"keys": wanted}, indent=1) + "\n")
            beside.chmod(0o644)
            beside.replace(jwks)


def _key(path: Path, generate: Any) -> _Key:
    if not path.exists():
        pem = generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        raise KeyUnusable(f"{path}: not a private key in PEM; remove it, and a new one is made") from None
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"{path}: neither Ed25519 nor P-256")
    return key


def _jwk(kid: str, algorithm: str, key: _Key) -> dict[str, Any]:
    public: Any = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        says = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    else:
        says = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
    return says | {"kid": kid, "alg": algorithm, "use": "sig"}
