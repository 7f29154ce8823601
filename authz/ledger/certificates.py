"""The certificate by which a root key vouches for a record key: X.509 (RFC 5280), short-lived.

    issuer, signature     a pinned root, ECDSA P-256 with SHA-256      subject key   Ed25519 (RFC 8410)
    validity              the entries' timestamps lie within it        basicConstraints  critical, CA false
    keyUsage              critical, digitalSignature alone
    subjectAltName        critical, one URI: `aegis:record:<origin prefix>`, of the logs it may attest

`open` and `key` entries carry it as base64 of its DER; `openssl verify` reads it. In: the base64, pinned root
certificates, a log's name. Out: Certified, or ValueError. Nothing else may be in it: an extension that nobody
here reads could take back what the others say.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from authz import canonical

URI: Final = "aegis:record:"
MAX_CERTIFICATE: Final = 4096  # characters of base64
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_PREFIX: Final = re.compile(r"[^\s+]{1,511}/")
_EXTENSIONS: Final = (x509.BasicConstraints, x509.KeyUsage, x509.SubjectAlternativeName)
_USES: Final = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
    "crl_sign".split()
)


class Certified(Struct, frozen=True):
    """`public` may attest entries with timestamps (RFC 3339, six decimals) from `since` to `until`, says the
    root with the thumbprint `issuer`.
    """

    public: bytes
    issuer: str
    since: str
    until: str


def check(text: Any, roots: Iterable[x509.Certificate], log: str) -> Certified:
    """What `text`, a certificate in base64, says of a record key of `log`. Raises ValueError."""
    certificate = read(text)
    try:
        return _check(certificate, roots, log)
    except ValueError:
        raise
    except Exception as error:  # the package names algorithms and extensions that it does not know so
        raise ValueError(f"certificate: cannot be judged: {type(error).__name__}") from None


def _check(certificate: x509.Certificate, roots: Iterable[x509.Certificate], log: str) -> Certified:
    root = _issuer(certificate, roots)
    prefix = _prefix(certificate)
    if not log.startswith(prefix):
        raise ValueError(f"certificate: for logs of {prefix}")
    since, until = window(certificate)
    if certificate.not_valid_before_utc < root.not_valid_before_utc:
        raise ValueError("certificate: begins before that of its root")
    if certificate.not_valid_after_utc > root.not_valid_after_utc:
        raise ValueError("certificate: ends after that of its root")
    return Certified(subject(certificate), thumbprint(root), since, until)


def read(text: Any) -> x509.Certificate:
    """The certificate in canonical base64. Raises ValueError."""
    if not isinstance(text, str) or len(text) > MAX_CERTIFICATE:
        raise ValueError("certificate: not a text, or too long")
    try:
        data = b64decode(text, validate=True)
        if b64encode(data).decode() != text:
            raise ValueError("base64 that is not canonical")
        certificate = x509.load_der_x509_certificate(data)
        certificate.extensions  # noqa: B018 - parsed here, where it may fail
    except (
        Exception
    ) as error:  # errors of the package's own, for versions and extensions that it does not know
        raise ValueError(f"certificate: {error}") from None
    return certificate


def write(certificate: x509.Certificate) -> str:
    """As entries carry it."""
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()


def to_pem(text: str) -> bytes:
    """The certificate in base64 as other people's tools read it."""
    return read(text).public_bytes(Encoding.PEM)


def from_pem(pem: bytes) -> str:
    """The one certificate in `pem`, in base64. Raises ValueError."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError(f"certificate: {error}") from None
    if len(found) != 1:
        raise ValueError(f"certificate: {len(found)} of them in one file")
    return write(found[0])


def window(certificate: x509.Certificate) -> tuple[str, str]:
    """The first and the last moment at which it holds, as timestamps are written."""
    return (
        certificate.not_valid_before_utc.strftime(_TIME),
        certificate.not_valid_after_utc.strftime(_TIME),
    )


def subject(certificate: x509.Certificate) -> bytes:
    """The record key (32 bytes) that it is about. Raises ValueError."""
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(f"certificate: {error}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ValueError("certificate: not of an Ed25519 key")  # noqa: TRY004 - of what is stored
    return key.public_bytes_raw()


def public_of(public: bytes) -> ed25519.Ed25519PublicKey:
    """A record key (32 bytes) as certificates have it."""
    return ed25519.Ed25519PublicKey.from_public_bytes(public)


def thumbprint(root: x509.Certificate) -> str:
    """RFC 7638 thumbprint of a root's P-256 key, by which it may be revoked. Raises ValueError."""
    digest = hashlib.sha256(canonical.encode(jwk(root))).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def jwk(root: x509.Certificate) -> dict[str, str]:
    """A root's key as a JWK (RFC 7518 section 6.2). Raises ValueError if it is none on P-256."""
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("certificate of a root: not of a P-256 key")  # noqa: TRY004 - as above
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    x, y = (urlsafe_b64encode(half).decode().rstrip("=") for half in (point[:32], point[32:]))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Root certificates that may be pinned: self-signed, of an authority, P-256. Raises ValueError."""
    try:
        roots = tuple(x509.load_pem_x509_certificates(pem))
    except x509.InvalidVersion as error:
        raise ValueError(f"certificate of a root: {error}") from None
    for root in roots:
        jwk(root)
        try:
            root.verify_directly_issued_by(root)
            constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            raise ValueError("certificate of a root: not signed by itself, or not an authority's") from None
        if not constraints.ca:
            raise ValueError("certificate of a root: not an authority's")
    return roots


def moment(text: str) -> float:
    """Unix seconds of a time of a `window`."""
    return datetime.fromisoformat(text).timestamp()


def _issuer(certificate: x509.Certificate, roots: Iterable[x509.Certificate]) -> x509.Certificate:
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return root
    raise ValueError("certificate: by a root that is not in trust")


def _prefix(certificate: x509.Certificate) -> str:
    """The logs it is for. Raises ValueError if it says more, or less, than one for a record key does."""
    found = {type(extension.value): extension for extension in certificate.extensions}
    if found.keys() != set(_EXTENSIONS) or not all(extension.critical for extension in found.values()):
        raise ValueError("certificate: its extensions are not those of one for a record key")
    if found[x509.BasicConstraints].value.ca:
        raise ValueError("certificate: of an authority")
    usage = found[x509.KeyUsage].value
    if [name for name in _USES if getattr(usage, name)] != ["digital_signature"]:
        raise ValueError("certificate: for other uses than signing")
    names = list(found[x509.SubjectAlternativeName].value)
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise ValueError("certificate: not one URI")
    uri = names[0].value
    prefix = uri.removeprefix(URI)
    if prefix == uri or not _PREFIX.fullmatch(prefix):
        raise ValueError(f"certificate: {uri!r} is not `{URI}<origin prefix>`")
    return prefix
