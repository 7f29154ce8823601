"""The root key in a PKCS#11 token (v2.40): it never leaves it, and signs certificates there.

In: the settings of the section `root`. Out: a P-256 private key of which `cryptography` can ask signatures,
and its own certificate. Called by `aegis keys` and by the follower's renewal, each in a process of its own: a
token's library is foreign code, which may hang or crash. Whatever goes wrong is KeyUnusable; the PIN is in no
text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from authz.config import Settings
from authz.custody import root as root_file
from authz.errors import KeyUnusable
from authz.ledger import certificates, keys
from authz.ledger.certificates import Certified
from authz.ledger.keyring import replace

ROOT_YEARS: Final = 20
CLOCKS_DIFFER: Final = timedelta(hours=1)  # a worker's clock may be behind that of who asks the token
MAX_PIN: Final = 256  # bytes
_POINT: Final = 65  # bytes of an uncompressed point on P-256


class TokenKey(ec.EllipticCurvePrivateKey):
    """The private key `private` in a token, whose public half is `public`: it can sign, and nothing else."""

    def __init__(self, private: Any, public: ec.EllipticCurvePublicKey) -> None:
        self._private, self._public = private, public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """DER of ECDSA with SHA-256 over `data`; the token gets the digest, which every one can sign."""
        digest = hashlib.sha256(data).digest()
        signature = self._private.sign(digest, mechanism=Mechanism.ECDSA)
        half = len(signature) // 2
        return encode_dss_signature(*(int.from_bytes(part) for part in (signature[:half], signature[half:])))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        raise NotImplementedError

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        raise NotImplementedError

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[TokenKey]:
    """The root key, made first if `make` and it is not there. Raises KeyUnusable."""
    root = settings.root
    if root.module is None:
        raise KeyUnusable("root.module: not set, so there is no root key")
    pin = keys.read_secret(settings.path(root.pin_file), MAX_PIN).decode("utf-8", "replace").strip()
    try:
        token = pkcs11.lib(str(root.module)).get_token(token_label=root.token)
        with token.open(rw=make, user_pin=pin) as session:
            yield _find(session, root.key, make=make)
    except (pkcs11.PKCS11Error, RuntimeError, ValueError) as error:
        said = str(error) or type(error).__name__
        raise KeyUnusable(f"root: token {root.token!r} of {root.module}: {said}") from None


def make_root(settings: Settings, now: datetime) -> tuple[x509.Certificate, bool]:
    """The root's certificate, and whether it was made now; the key is made, too, if it is missing. Raises
    KeyUnusable.
    """
    file = settings.path(settings.root.certificate)
    with opened(settings, make=True) as key:
        if os.path.lexists(file):
            certificate = root_file.read(settings)
            if certificate.public_key() != key.public_key():
                raise KeyUnusable(f"{file}: the certificate of another key than {settings.root.key!r}")
            return certificate, False
        certificate = _self_signed(settings, key, now)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace(file, certificate.public_bytes(Encoding.PEM), mode=0o644)
    return certificate, True


def certify(settings: Settings, public: bytes, now: datetime) -> tuple[str, Certified]:
    """A certificate in base64 for the record key `public` of the deployment's logs, and what it says, read as
    verifiers do. Raises KeyUnusable.
    """
    root = root_file.read(settings)
    with opened(settings) as key:
        certificate = _for_record_key(settings, root, key, public, now)
    text, prefix = certificates.write(certificate), f"{settings.deployment}/"
    try:
        return text, certificates.check(text, [root], prefix)
    except ValueError as error:
        raise KeyUnusable(f"root: what the token signed does not hold: {error}") from None


def _find(session: Any, label: str, *, make: bool) -> TokenKey:
    try:
        public = session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=label)
        private = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)
    except pkcs11.NoSuchKey:
        if not make:
            raise ValueError(f"no key {label!r}; run `aegis keys root`") from None
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        public, private = parameters.generate_keypair(store=True, label=label)
    return TokenKey(private, _public(public))


def _public(key: Any) -> ec.EllipticCurvePublicKey:
    """CKA_EC_POINT is the DER of an OCTET STRING with the point; some tokens give the point itself."""
    point = bytes(key[Attribute.EC_POINT])
    if len(point) == _POINT + 2:
        point = point[2:]
    if len(point) != _POINT:
        raise ValueError("the root key is none on P-256")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _self_signed(settings: Settings, key: TokenKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Aegis root of {settings.deployment}"[:64])])
    return (
        _builder(key.public_key(), now - timedelta(days=1), now + timedelta(days=365 * ROOT_YEARS))
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _for_record_key(
    settings: Settings, root: x509.Certificate, key: TokenKey, public: bytes, now: datetime
) -> x509.Certificate:
    since = max(now - CLOCKS_DIFFER, root.not_valid_before_utc)
    name = x509.UniformResourceIdentifier(f"{certificates.URI}{settings.deployment}/")
    subject = certificates.public_of(public)
    return (
        _builder(subject, since, now + timedelta(seconds=settings.root.life_s))
        .subject_name(x509.Name([]))  # the URI is its name (RFC 5280 section 4.2.1.6)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(public: Any, since: datetime, until: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since.replace(microsecond=0))
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
