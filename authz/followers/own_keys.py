"""The deployment's own keys as its follower needs them: what signs checkpoints, and whom it believes.

In: Keyrings of the log key and of every record key that workers here use. Out: seeds that sign now, public
keys. The sealer calls `refresh` before each round, so that a rotation needs no restart. Only listed keys are
believed: a log does not bring its own, and a revoked one counts as ours too, since to judge what it signed
takes an outside anchor, which is the verifier's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from authz.config import Settings
from authz.ledger.clock import Stamp
from authz.ledger.keyring import Keyring


class OwnKeys:
    """`publics` are all log keys there ever were, `records` the files of the record keys."""

    def __init__(
        self, log: Keyring, records: Sequence[Keyring], clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Raises KeyUnusable."""
        self._log, self.records, self._now = log, records, Stamp(clock_ns).now
        self._stamp: object = None
        self._seed = b""
        self._before: bytes | None = None  # the seed that signs beside it until `_overlap_until`
        self._overlap_until = ""
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

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """What signs checkpoints now, in this order: two while one key takes over from another."""
        if self._before and self._now() < self._overlap_until:
            return self._before, self._seed
        return (self._seed,)

    def refresh(self) -> None:
        """Read the files again if they have changed. Raises KeyUnusable, and then nothing else has."""
        stamp = [ring.stamp() for ring in (self._log, *self.records)]
        if stamp == self._stamp:
            return
        seed, before, in_use = self._log.seed(), self._log.seed_before(), self._log.in_use()
        publics = tuple(key.public for key in self._log.listed())
        believed = frozenset(key.public for ring in self.records for key in ring.listed())
        self._seed, self._before, self._overlap_until = seed, before, in_use.overlap_until
        self.publics, self._believed, self._stamp = publics, believed, stamp

    def believes(self, public: bytes) -> bool:
        """Whether a worker of this deployment signs, or signed, by this record key."""
        return public in self._believed
