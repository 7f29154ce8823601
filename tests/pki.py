"""A certificate authority for tests, and the certificates it signs."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOUR = timedelta(hours=1)


class Certificate:
    """A certificate and its key, as files: `<name>.pem`, `<name>.key` (mode 0600)."""

    def __init__(
        self, directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ):
        self.value, self.private = certificate, key
        self.certificate, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.touch(mode=0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.read_bytes()

    @property
    def spki(self) -> str:
        """SHA-256 of the public key's DER, as `listen.tls.envoy` names it."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            self.private.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return f"sha256:{digest.finalize().hex()}"


class Authority:
    """Signs certificates into `directory`; its own is `<name>.pem`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        built = (
            _builder(self._name, self._name, self._key, now - _HOUR, now + 24 * _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.own = Certificate(directory, name, built, self._key)

    def sign(self, name: str, *sans: str, valid: timedelta = _HOUR) -> Certificate:
        """A leaf for both sides of TLS. `sans`: URIs, IP addresses or names; it ends `valid` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(self._name, subject, key, now - 2 * _HOUR, now + valid)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if sans:
            names = x509.SubjectAlternativeName([_general(san) for san in sans])
            builder = builder.add_extension(names, critical=False)
        return Certificate(self._directory, name, builder.sign(self._key, hashes.SHA256()), key)

    def sign_for_time_stamps(self, name: str) -> Certificate:
        """What a time-stamping authority signs with (RFC 3161 section 2.3); valid since two hours."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, subject, key, now - 2 * _HOUR, now + _HOUR)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(only, critical=True)
        return Certificate(self._directory, name, builder.sign(self._key, hashes.SHA256()), key)


def client_context(authority: Authority, own: Certificate | None) -> ssl.SSLContext:
    """What a client needs to speak (m)TLS with whoever `authority` signed for."""
    context = ssl.create_default_context(cafile=str(authority.own.certificate))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general(san: str) -> x509.GeneralName:
    if "://" in san:
        return x509.UniformResourceIdentifier(san)
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)
