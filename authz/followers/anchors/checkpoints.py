"""Every log's newest checkpoint, as it lies sealed on disk, for all anchors.

In: the ledgers' directory, the keys that sign. Out: Candidates whose signatures were checked. Called on the
threads of several anchors: a file that has not changed is not read again.
"""

from __future__ import annotations

from pathlib import Path

from authz.followers.anchors.anchor import Candidate
from authz.followers.own_keys import OwnKeys
from authz.followers.places import Place, checkpoint_of, find
from authz.ledger import control

Version = tuple[int, int, int]


class Checkpoints:
    """Those of the deployment's logs below `ledgers`."""

    def __init__(self, ledgers: Path, deployment: str, keys: OwnKeys) -> None:
        self._ledgers, self._deployment, self._keys = ledgers, deployment, keys
        self._known: dict[Path, tuple[Version, Candidate]] = {}

    def places(self) -> list[Place]:
        """Raises OSError."""
        return list(find(self._ledgers, self._deployment))

    def sealed(self, of: str = "all") -> list[Candidate]:
        """Of all logs, or of the control log's epochs. Raises IntegrityViolation for what is no checkpoint of
        its log, OSError.
        """
        places = [place for place in self.places() if of == "all" or place.worker == control.WORKER]
        return [candidate for place in places if (candidate := self._newest(place))]

    def _newest(self, place: Place) -> Candidate | None:
        try:
            found = (place.directory / "checkpoint").lstat()
        except FileNotFoundError:
            return None
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._known.get(place.directory)
        if known and known[0] == version:
            return known[1]
        checkpoint = checkpoint_of(place, self._keys.publics)
        if checkpoint is None:
            return None
        candidate = Candidate(place, *checkpoint)
        self._known[place.directory] = (version, candidate)
        return candidate
