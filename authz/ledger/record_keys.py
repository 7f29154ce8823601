"""The record keys that a worker signs with: the one in use, and the one before it for its last words.

In: the key file's Keyring. Out: Signers. Called when a ledger is opened, and each second by its writer, which
hands over when a rotation has put another key into the file. What cannot be used is logged once, and the
worker goes on with the key it has.
"""

from __future__ import annotations

import structlog

from authz.errors import KeyUnusable
from authz.ledger import keys
from authz.ledger.keyring import Keyring
from authz.ledger.signer import Signer

log = structlog.get_logger(__name__)


class RecordKeys:
    """Raises KeyUnusable if the key in use cannot be used when it is made."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring
        self._stamp = ring.stamp()
        self._problem = ""
        self.current = self._signer(ring.seed())
        before = ring.seed_before()
        self._before = self._signer(before) if before else None

    def holder(self, public: bytes) -> Signer | None:
        """Who can sign as `public`, None if this worker has no such key (any more)."""
        return next(
            (signer for signer in (self.current, self._before) if signer and signer.public == public), None
        )

    def _signer(self, seed: bytes) -> Signer:
        listed = self._ring.find(keys.public_key(seed))
        return Signer(seed, listed.certificate if listed else "")

    def lists(self, public: bytes) -> bool:
        """Whether `public` is or was the record key here."""
        return self._ring.find(public) is not None

    def by_kid(self, kid: str) -> bytes | None:
        """The public key with this thumbprint, if it is or was the record key here."""
        return next((key.public for key in self._ring.listed() if key.kid == kid), None)

    def newer(self) -> Signer | None:
        """The key in use, if the files have changed since it was asked last; None otherwise."""
        stamp = self._ring.stamp()
        if stamp == self._stamp:
            return None
        try:
            signer = self._signer(self._ring.seed())
        except KeyUnusable as error:
            if str(error) != self._problem:
                log.error("record_key_unusable", problem=str(error))  # noqa: TRY400 - the text says where
            self._problem = str(error)
            return None
        self._stamp, self._problem, self.current = stamp, "", signer
        return signer
