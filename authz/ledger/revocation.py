"""What a revoked key signed: it counts only where an outside anchor dates it before the revocation.

    entries under the key      |---- dated before T ----|---- not believed ----|        (EVIDENCE section 7)
                                 largest size that an anchor dates before T ^

What an entry says of its own time counts for nothing here: whoever has the key writes any. In: trust, a log's
succession or the signers of its checkpoint, what was given of others. Out: what is wrong, if anything. Called
by the verifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import inf

from authz.ledger import keys
from authz.ledger.anchors import Given
from authz.ledger.succession import Succession
from authz.ledger.trust import Trust


def attested(
    trust: Trust, given: Given, log: str, succession: Succession, issuers: Mapping[str, str], entries: int
) -> tuple[int, str] | None:
    """The first of the `entries` of `log` that only a revoked record key vouches for, or one that a revoked
    root certified (`issuers` by kid), and what is wrong.
    """
    for (first, kid), (end, _) in pairwise([*succession.runs, (entries, "")]):
        for signer in (kid, issuers.get(kid, "")):
            moment = trust.revoked_at(signer)
            if moment is not None and (dated := given.size_before(log, moment)) < end:
                return max(first, dated), f"attestation: {_undated(trust, signer)}"
    return None


def signed(trust: Trust, given: Given, log: str, size: int, signers: Iterable[bytes]) -> str:
    """What is wrong with a checkpoint over `size` entries by the keys `signers`; "" if nothing is."""
    moment = trust.counts_until(signers)
    if moment == inf or size <= given.size_before(log, moment):
        return ""
    revoked = min(kid for kid in map(keys.thumbprint, signers) if kid in trust.revoked)
    return f"checkpoint: {_undated(trust, revoked)}"


def recorded(trust: Trust, given: Given, log: str, seq: int, kid: str, issuer: str = "") -> str:
    """What is wrong with entry `seq` of `log`, which the key `kid` attests, certified by `issuer` if that is
    not ""; "" if nothing is.
    """
    for signer in (kid, issuer):
        moment = trust.revoked_at(signer)
        if moment is not None and seq >= given.size_before(log, moment):
            return f"attestation: {_undated(trust, signer)}"
    return ""


def _undated(trust: Trust, kid: str) -> str:
    return f"by key {kid}, revoked from {trust.revoked[kid]} on; no outside anchor dates it before that"
