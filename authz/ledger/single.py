"""Verifies one record from files alone: its proof, its checkpoint, its attestation.

    entry --leaf hash--> way --> root of the checkpoint --signed by--> a pinned log key
          --attested by--> a pinned record key, or one for which a pinned root vouches

In: the bytes of a proof file, of an entry and perhaps a certificate, Trust, what others outside have given.
Out: Verified, or an IntegrityViolation that names what does not hold. Called by `aegis proof verify`. It
reads no ledger.
"""

from __future__ import annotations

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import certificates, form, merkle, proofs, revocation, sealed
from authz.ledger.anchors import Anchor, Given
from authz.ledger.attestation import Attestations
from authz.ledger.certificates import Certified
from authz.ledger.notes import Checkpoint
from authz.ledger.trust import Trust


class Verified(Struct, frozen=True):
    """Entry `seq` of `log`, with its leaf hash (hex), is under the checkpoint of `size` entries.

    `attested_by` is the record key's thumbprint; `cosigned_at` is when the pinned witnesses' quorum had seen
    the checkpoint (Unix seconds), 0 if it has not.
    """

    log: str
    seq: int
    entry_hash: str
    attested_by: str
    size: int
    cosigned_at: int


class Named(Struct, frozen=True):
    """A file's bytes and what to call it in an error."""

    name: str
    data: bytes


def verify(
    proof: Named, entry: Named, trust: Trust, given: Given, certificate: Named | None = None
) -> Verified:
    """Raises IntegrityViolation naming the file that does not hold, and the entry's number if it is that.

    `certificate` (PEM) is of a record key for which a pinned root has to vouch.
    """
    if given.faults:
        raise IntegrityViolation(given.faults[0].what, file=given.faults[0].file)
    try:
        found = proofs.parse(proof.data)
        checkpoint, signers = sealed.opened(found.note, trust)
        cosigned_at = _cosigned_at(checkpoint, trust)
        given = _with(given, proof.name, checkpoint, cosigned_at)
        _check_others(checkpoint, given)
        _check_none(revocation.signed(trust, given, checkpoint.log, checkpoint.size, signers))
    except ValueError as error:
        raise IntegrityViolation(str(error), file=proof.name) from None
    certified = _certified(certificate, trust, checkpoint.log) if certificate else None
    data = entry.data.removesuffix(b"\n")  # as it stands in a ledger
    try:
        found.check(data)
        members = form.read(data, checkpoint.log, found.index, None)
        attestations = Attestations(trust.record_keys, [certified] if certified else [])
        kid = attestations.check(data, members)
        issuer = attestations.issuers.get(kid, "")
        _check_none(revocation.recorded(trust, given, checkpoint.log, found.index, kid, issuer))
    except ValueError as error:
        raise IntegrityViolation(str(error), file=entry.name, seq=found.index) from None
    leaf = merkle.leaf_hash(data).hex()
    return Verified(checkpoint.log, found.index, leaf, kid, checkpoint.size, cosigned_at)


def _certified(certificate: Named, trust: Trust, log: str) -> Certified:
    try:
        return certificates.check(certificates.from_pem(certificate.data), trust.record_roots, log)
    except ValueError as error:
        raise IntegrityViolation(str(error), file=certificate.name) from None


def _cosigned_at(checkpoint: Checkpoint, trust: Trust) -> int:
    """Raises ValueError for a forged line of a pinned witness."""
    policy = trust.witnesses
    return (policy and policy.met_at(policy.times(checkpoint))) or 0


def _with(given: Given, file: str, checkpoint: Checkpoint, cosigned_at: int) -> Given:
    """What was given, and what the witnesses say in the proof itself."""
    if not cosigned_at:
        return given
    own = Anchor(checkpoint.log, checkpoint.size, checkpoint.root, file, "witnesses", cosigned_at)
    others = given.anchors.get(checkpoint.log, [])
    return Given({**given.anchors, checkpoint.log: [*others, own]}, given.faults, given.unused)


def _check_others(checkpoint: Checkpoint, given: Given) -> None:
    """Raises ValueError if others were shown another history of this size."""
    for anchor in given.anchors.get(checkpoint.log, ()):
        if anchor.counts and anchor.size == checkpoint.size and anchor.root != checkpoint.root:
            raise ValueError(f"checkpoint: {anchor.file} has another root for {anchor.size} entries")


def _check_none(what: str) -> None:
    if what:
        raise ValueError(what)
