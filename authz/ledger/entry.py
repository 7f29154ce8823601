"""Members -> the bytes of one entry (EVIDENCE section 1).

    {..., "attestation_signature":"<JWS over the entry without this member>", ..., "kind":..., "log":..., ...}

The attestation covers the canonical encoding of everything else; `kind` sorts after it, so cutting the member
with its comma out of the entry gives those bytes back.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from authz import canonical
from authz.errors import EvidenceUnavailable
from authz.ledger.form import MAX_ENTRY
from authz.ledger.signer import Signer

# What gives way, in this order, when an entry is too long: each value becomes its digest.
GIVES_WAY: Final = ("context", "evidence", "rationale", "obligations", "agent_chain", "endpoint")


def encode(members: dict[str, Any], signer: Signer) -> bytes:
    """The signed entry, without a newline. `members` gains the attestation, and digests if it is too long.

    Raises EvidenceUnavailable for an entry that is too long whatever gives way.
    """
    entry = _signed(members, signer)
    if len(entry) <= MAX_ENTRY:
        return entry
    for name in GIVES_WAY:
        if name in members:
            members[name] = f"sha256:{hashlib.sha256(canonical.encode(members[name])).hexdigest()}"
            entry = _signed(members, signer)
            if len(entry) <= MAX_ENTRY:
                return entry
    raise EvidenceUnavailable(f"an entry of {len(entry)} bytes is over the limit of {MAX_ENTRY}")


def _signed(members: dict[str, Any], signer: Signer) -> bytes:
    members.pop("attestation_signature", None)
    members["attestation_signature"] = signer.attest(members, canonical.encode(members))
    return canonical.encode(members)
