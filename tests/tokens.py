"""An issuer of agents' tokens, its key file, and a clock that stands still until it is told."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from authz.config_identity import Identity
from authz.identity.jwt import Identifier
from authz.identity.keyset import KeySet
from authz.testing import a_request
from authz.values import Request

NOW = 1_800_000_000
SETTINGS = Identity()


class Clock:
    """Seconds since 1970, as given."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Issuer:
    """One signing key and what is signed with it."""

    def __init__(self, kid: str = "key-1", algorithm: str = "EdDSA") -> None:
        self.kid, self.algorithm = kid, algorithm
        if algorithm == "RS256":
            self.private: Any = rsa.generate_private_key(65537, 2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {**public, "kid": kid}

    def token(self, *, header: dict[str, Any] | None = None, now: int = NOW, **claims: Any) -> str:
        """A token valid from `now` for ten minutes; a claim given as None is left out."""
        return self.signed(json.dumps(claims_of(now, **claims)).encode(), header)

    def signed(self, payload: bytes, header: dict[str, Any] | None = None) -> str:
        """Any bytes, signed; members of the header given as None are left out."""
        members = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} | (header or {})
        members = {name: value for name, value in members.items() if value is not None}
        body = f"{b64(json.dumps(members).encode())}.{b64(payload)}"
        algorithm = jwt.PyJWS().get_algorithm_by_name(self.algorithm)
        return f"{body}.{b64(algorithm.sign(body.encode(), self.private))}"


def claims_of(now: int, **claims: Any) -> dict[str, Any]:
    plain = {
        "iss": SETTINGS.issuer,
        "aud": SETTINGS.audience,
        "sub": "agent-1",
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (plain | claims).items() if value is not None}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def write_keys(file: Path, *issuers: Issuer) -> Path:
    """The issuers' public keys as a JWK set, in place of what was there."""
    return write_set(file, [issuer.jwk for issuer in issuers])


def write_set(file: Path, keys: Any) -> Path:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": keys}))
    fresh.chmod(0o644)
    fresh.replace(file)
    return file


def an_identifier(
    file: Path,
    clock: Clock,
    *,
    protected: bool = True,
    same: Callable[[], dict[str, str]] = dict,
    **settings: Any,
) -> Identifier:
    return with_keys(Identity(**settings), file, clock, protected=protected, same=same)


def with_keys(settings: Identity, file: Path, clock: Callable[[], float], **how: Any) -> Identifier:
    keys = KeySet(file, settings.algorithms, clock)
    return Identifier(settings, keys=keys, wall=clock, **({"protected": True} | how))


def presenting(token: str, **headers: str) -> Request:
    """A request with `token` where agents' tokens belong, and other headers (`_` for `-`)."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return a_request(headers={"x-aegis-agent-token": token} | given)
