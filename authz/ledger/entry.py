"""Members -> the bytes of one entry (EVIDENCE section 1).

    {..., "attestation_signature":"<JWS over the entry without this member>", ..., "kind":..., "log":..., ...}

The attestation covers the canonical encoding of everything else; `kind` sorts after it, so cutting the member
with its comma out of the entry gives those bytes back. The entry is encoded once: a mark stands where the
attestation goes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from authz import canonical
from authz.ledger.form import MAX_ENTRY
from authz.ledger.signer import Signer

# What gives way, in this order, when an entry is too long: each value becomes its digest.
GIVES_WAY: Final = ("context", "evidence", "rationale", "obligations", "agent_chain", "endpoint")
_MEMBER: Final = "attestation_signature"
_NAME: Final = len(f'"{_MEMBER}":')
# JSON escapes NUL wherever a value holds it, so a bare one in the encoding can only be this mark.
_MARK: Final = b"\x00"
_PLACE: Final = orjson.Fragment(_MARK)


def encode(members: dict[str, Any], signer: Signer) -> bytes:
    """The signed entry, without a newline. `members`, which have a `kind`, gain the attestation's place, and
    digests if the entry is too long.

    Raises ValueError for what fits no entry: too long whatever gives way, or outside of the profile.
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
    raise ValueError(f"an entry of {len(entry)} bytes is over the limit of {MAX_ENTRY}")


def _signed(members: dict[str, Any], signer: Signer) -> bytes:
    members[_MEMBER] = _PLACE
    before, _, after = canonical.encode(members).partition(_MARK)
    attestation = signer.attest(members, before[:-_NAME] + after[1:])
    return b"".join((before, b'"', attestation, b'"', after))
