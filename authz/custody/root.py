"""The root's own certificate as a file: what verifiers pin, and what a token's signatures are checked by."""

from __future__ import annotations

from cryptography import x509

from authz.config import Settings
from authz.errors import KeyUnusable
from authz.ledger import certificates


def read(settings: Settings) -> x509.Certificate:
    """Raises KeyUnusable if it is missing, or not one certificate of a root."""
    file = settings.path(settings.root.certificate)
    try:
        (certificate,) = certificates.read_roots(file.read_bytes())
    except OSError as error:
        raise KeyUnusable(f"{file}: {error.strerror}; run `aegis keys root`") from None
    except ValueError as error:
        raise KeyUnusable(f"{file}: {error}") from None
    return certificate
