"""The deployment's own keys as its follower needs them: what signs checkpoints, and whom it believes.

In: Keyrings of the log key and of every record key that workers here use. Out: seeds that sign now, public
keys. The sealer calls `refresh` before each round, so that a rotation needs no restart. Only listed keys are
believed: a log does not bring its own, and a revoked one counts as ours too, since to judge what it signed
takes an outside anchor, which is the verifier's work.
"""

from __future__ import annotations

from collections.abc import Sequence

from authz.config import Settings
from authz.ledger.keyring import Keyring


class OwnKeys:
    """`seeds` sign checkpoints, in their order; `publics` are all log keys there ever were. Every method
    raises KeyUnusable, and then nothing has changed.
    """

    def __init__(self, log: Keyring, records: Sequence[Keyring]) -> None:
        self._log, self._records = log, records
        self._stamp: object = None
        self.seeds: tuple[bytes, ...] = ()
        self.publics: tuple[bytes, ...] = ()
        self._believed: frozenset[bytes] = frozenset()
        self.refresh()

    @classmethod
    def of(cls, settings: Settings) -> OwnKeys:
        """Those that the settings name."""
        records = (settings.ledger.record_key, *settings.follower.record_keys)
        return cls(
            Keyring(settings.path(settings.ledger.log_key)),
            [Keyring(settings.path(file)) for file in records],
        )

    def refresh(self) -> None:
        """Read the files again if they have changed."""
        stamp = [ring.stamp() for ring in (self._log, *self._records)]
        if stamp == self._stamp:
            return
        seeds = (self._log.seed(),)
        publics = tuple(key.public for key in self._log.listed())
        believed = frozenset(key.public for ring in self._records for key in ring.listed())
        self.seeds, self.publics, self._believed, self._stamp = seeds, publics, believed, stamp

    def believes(self, public: bytes) -> bool:
        """Whether a worker of this deployment signs, or signed, by this record key."""
        return public in self._believed
