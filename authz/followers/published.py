"""What logs publish, by name: checkpoints, tiles and bundles in the layout of C2SP tlog-tiles.

    <log>/checkpoint    <log>/tile/<L>/<N>[.p/<W>]    <log>/tile/entries/<N>[.p/<W>]

In: a path with one or more logs, Trust, names that anybody chose. Out: bytes. Called by `aegis log serve`, on
threads. A name is looked up and never becomes a part of a path; nothing is given out of a log whose
checkpoint is not signed by its pinned key, nor beyond that, nor what does not lead to its root.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files, sealed, tiles
from authz.ledger.proofs import Proofs
from authz.ledger.report import plain
from authz.ledger.sealed import Sealed
from authz.ledger.trust import Trust

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0  # for logs that began or went away


class NotPublished(Exception):
    """There is nothing of this name, or not yet."""


class Resource(Struct, frozen=True):
    """`fixed`: nothing else will ever have this name. `text`: a signed note, not bytes."""

    body: bytes
    fixed: bool
    text: bool = False


class Published:
    """The logs at or below `path`, those that begin later too."""

    def __init__(self, path: Path, trust: Trust) -> None:
        self._path, self._trust = path, trust
        self._proofs, self._turn = Proofs(), threading.Lock()
        self._logs: dict[str, Sealed] = {}
        self._looked = float("-inf")

    def logs(self) -> list[str]:
        """The names of the logs that can be asked for. Raises OSError."""
        with self._turn:
            self._look()
            return sorted(self._logs)

    def get(self, name: str) -> Resource:
        """Raises NotPublished, IntegrityViolation if what is stored is not what was signed, OSError."""
        origin, resource = _split(name)
        with self._turn:
            found = self._newest(origin)
            if resource == sealed.NAME:
                return Resource(found.note, fixed=False, text=True)
            tile = tiles.parse(resource)
            if tile is None:
                raise NotPublished(name)
            tree = self._proofs.tree(found.directory, found.checkpoint)
            try:
                return Resource(tree.tile(tile), fixed=True)
            except IndexError:
                raise NotPublished(name) from None

    def _newest(self, origin: str) -> Sealed:
        """The log `origin` under the checkpoint that lies there now."""
        if origin not in self._logs:
            self._look()
        if origin not in self._logs:
            raise NotPublished(origin)
        known = self._logs[origin]
        found = sealed.read(known.directory, self._trust, known)
        if found is None or found.log != origin:
            what = f"the checkpoint of {origin} is gone"
            raise IntegrityViolation(what, file=str(known.directory / sealed.NAME))
        self._logs[origin] = found
        return found

    def _look(self) -> None:
        """Find out which logs are there, at most once a second."""
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        known = {found.directory: found for found in self._logs.values()}
        found = [self._sealed(place.path, known.get(place.path)) for place in files.discover(self._path)[0]]
        counts = Counter(each.log for each in found if each)
        for origin in (origin for origin, count in counts.items() if count > 1):
            log.error("log_not_published", what=plain(f"{origin} lies in two directories"))
        self._logs = {each.log: each for each in found if each and counts[each.log] == 1}

    def _sealed(self, directory: Path, known: Sealed | None) -> Sealed | None:
        try:
            return sealed.read(directory, self._trust, known)
        except IntegrityViolation as violation:
            log.error("log_not_published", what=plain(str(violation)))  # noqa: TRY400 - where is in the text
            return None


def _split(name: str) -> tuple[str, str]:
    """The log and the resource in it. Logs have names of three parts."""
    parts = name.split("/", 3)
    return "/".join(parts[:3]), parts[3] if len(parts) == 4 else ""
