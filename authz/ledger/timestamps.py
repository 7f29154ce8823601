"""Time stamps of RFC 3161: that a time-stamping authority (TSA) had seen exactly these bytes.

    TimeStampResp (DER) -> status granted -> digest of the message -> signature -> chain to a pinned root,
    valid at that time -> the signer's certificate is for time stamping, and only that (section 2.3)

In: the response as it was received, the bytes it is about, pinned roots. Out: a time, or ValueError. Called
by the verifier and by the follower's TSA client. `openssl ts -verify` does the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

MAX_RESPONSE: Final = 65_536  # bytes
MAX_ROOTS: Final = 64


def check(
    response: bytes, message: bytes, roots: tuple[x509.Certificate, ...], nonce: int | None = None
) -> datetime:
    """The latest moment at which the TSA can have seen `message`: its time plus its stated accuracy. With
    `nonce` it must be the answer to the request that had it. Raises ValueError.
    """
    if len(response) > MAX_RESPONSE:
        raise ValueError(f"a time stamp of over {MAX_RESPONSE} bytes")
    if not roots:
        raise ValueError("no root of a time-stamping authority is pinned")
    builder = VerifierBuilder(roots=list(roots), nonce=nonce)
    try:
        decoded = decode_timestamp_response(response)
        builder.build().verify_message(decoded, message)
        return decoded.tst_info.gen_time + _accuracy(decoded.tst_info.accuracy)
    except (VerificationError, ValueError) as error:
        raise ValueError(f"the time stamp does not hold: {error}") from None
    except Exception as error:  # the package's own assertions and gaps: what it cannot judge does not hold
        raise ValueError(f"the time stamp cannot be read: {type(error).__name__}") from None


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in `pem`. Raises ValueError if there is none, or one that cannot be read."""
    roots = tuple(x509.load_pem_x509_certificates(pem))
    if len(roots) > MAX_ROOTS:
        raise ValueError(f"more than {MAX_ROOTS} certificates")
    return roots


def print_root(root: x509.Certificate) -> str:
    """As `read_roots` reads it."""
    return root.public_bytes(Encoding.PEM).decode()


def _accuracy(accuracy: object) -> timedelta:
    """A missing part counts as nothing (RFC 3161 section 2.4.2)."""
    seconds, millis, micros = (getattr(accuracy, name, None) or 0 for name in ("seconds", "millis", "micros"))
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)
