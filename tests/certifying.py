"""A root for record keys in a test's memory, and certificates as it pleases to sign them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authz.ledger import certificates
from authz.ledger.certificates import Certified

USAGE = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


class Root:
    """Signs what it is asked to; `certificate` is what verifiers pin."""

    def __init__(self, name: str = "root", ca: bool = True) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self._key.public_key(), SINCE - timedelta(days=1), SINCE + timedelta(days=7300))
            .subject_name(self._name)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, public: Any, since: datetime, until: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .public_key(public)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )

    def vouch(self, public: bytes, **how: Any) -> tuple[str, Certified]:
        """As `rotation.Certify` has it."""
        text = self.certify(public, **how)
        return text, certificates.check(text, [self.certificate], "aegis.test/")

    def certify(
        self,
        public: bytes,
        *,
        since: datetime = SINCE,
        until: datetime = UNTIL,
        uri: str = "aegis:record:aegis.test/",
        extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
        subject: Any = None,
    ) -> str:
        """A good certificate for `public`, but for what is asked for."""
        builder = self._builder(subject or certificates.public_of(public), since, until)
        builder = builder.subject_name(x509.Name([]))
        for extension, critical in extensions if extensions is not None else good(uri):
            builder = builder.add_extension(extension, critical=critical)
        return certificates.write(builder.sign(self._key, hashes.SHA256()))


def good(uri: str = "aegis:record:aegis.test/") -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**USAGE), True),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True),
    ]
