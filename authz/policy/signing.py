"""The ES256 key that signs policy bundles, and its public half for OPA's configuration.

Used when versions are made and OPA is configured; the worker never sees the private key.
"""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from authz import canonical
from authz.errors import KeyUnusable


def ensure_signing_key(path: Path) -> str:
    """Create the private key at `path` (PEM, mode 0600) unless it is there; returns the public key in PEM.

    Raises KeyUnusable for a file that is not a P-256 key or that others may read.
    """
    if not path.exists():
        _create(path)
    return public_key(path)


def public_key(path: Path) -> str:
    """The public half of the private key at `path`, in PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return _load(path).public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def thumbprint(path: Path) -> str:
    """RFC 7638 thumbprint of the public half of the private key at `path`."""
    numbers = _load(path).public_key().public_numbers()
    x, y = (
        urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
        for number in (numbers.x, numbers.y)
    )
    jwk = canonical.encode({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    return urlsafe_b64encode(hashlib.sha256(jwk).digest()).rstrip(b"=").decode()


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        if path.stat().st_mode & 0o077:
            raise KeyUnusable(f"{path}: others may read it; make it mode 0600")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyUnusable(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise KeyUnusable(f"{path}: not a private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyUnusable(f"{path}: not a P-256 key")
    return key


def _create(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,  # what opa's signer reads
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
