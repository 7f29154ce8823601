"""How much of each epoch may leave this machine: only what no crash can take back any more.

    newest epoch of a worker     what its checkpoint covers: read back, synced, signed
    an epoch that another one    what the later one says it held when it was opened: recovery synced it and
    continued or gave up         read it from the disk, and the later log is bound to that number

In: the ledgers' directory, the deployment's keys. Out: Extents in order. Called by the record stream and the
exporters on threads of their own. It never looks into entries, but for the first lines of an epoch.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from authz.followers.own_keys import OwnKeys
from authz.followers.places import Place, checkpoint_of, find
from authz.ledger import files, pruned
from authz.ledger.epochs import Opening, read_opening
from authz.ledger.journal import FAILED


class Extent(Struct, frozen=True):
    """The first `size` entries of an epoch may leave. `whole`: there will never be more."""

    directory: Path
    log: str
    size: int
    whole: bool

    @property
    def worker(self) -> str:
        return self.directory.parent.name


class Durable:
    """What may leave, of every worker below `ledgers`. An epoch that is whole is not looked at again."""

    def __init__(self, ledgers: Path, deployment: str, keys: OwnKeys) -> None:
        self._ledgers, self._deployment, self._keys = ledgers, deployment, keys
        self._whole: dict[Path, Extent] = {}

    @property
    def publics(self) -> tuple[bytes, ...]:
        """The log keys of this deployment."""
        return self._keys.publics

    def places(self) -> list[Place]:
        """Raises OSError."""
        return list(find(self._ledgers, self._deployment))

    def extents(self) -> list[Extent]:
        """Workers by name, each one's epochs oldest first. Raises IntegrityViolation for a checkpoint that
        is not one, OSError.
        """
        places = self.places()
        return [self._extent(place, places) for place in places]

    def _extent(self, place: Place, places: list[Place]) -> Extent:
        if place.directory in self._whole:
            return self._whole[place.directory]
        held = _said_later(place, places) if place.final else None
        if held is None:
            found = checkpoint_of(place, self.publics)
            sealed = found[0].size if found else 0
            return Extent(place.directory, place.log, sealed, whole=_given_up(place, places))
        self._whole[place.directory] = Extent(place.directory, place.log, held, whole=True)
        return self._whole[place.directory]


def _later(place: Place, places: list[Place]) -> list[Opening]:
    """What the later epochs of the same worker say at their beginning, oldest first."""
    openings: list[Opening] = []
    for other in places:
        if other.worker == place.worker and other.directory.name > place.directory.name:
            listing = files.segments(other.directory)
            if listing.last >= 0:
                openings.append(read_opening(other.directory, listing))
    return openings


def _said_later(place: Place, places: list[Place]) -> int | None:
    """How many entries a later epoch says that this one held, None if none says so."""
    for opening in _later(place, places):
        if opening.previous_log == place.log:
            return opening.previous_size
        good = dict(opening.lost).get(place.log, {}).get("good_entries")
        if type(good) is int:
            return good
    return None


def _given_up(place: Place, places: list[Place]) -> bool:
    """A later epoch began without a word about this one (a still later one was lost with its disk): it is
    sealed to its end, or to where a sync failed.
    """
    if not place.final or not _later(place, places):
        return False
    return (place.directory / FAILED).exists() or _lines(place.directory) == _sealed(place)


def _sealed(place: Place) -> int:
    note, _ = files.checkpoint(place.directory)
    return int(note.split(b"\n", 2)[1]) if note else 0


def _lines(directory: Path) -> int:
    """How many whole lines the epoch's segments hold."""
    listing = files.segments(directory)
    count = sum(pruned.read(directory, number).entries for number in listing.pruned)
    for file in listing.files:
        with files.open_regular(file) as stream:
            count += sum(line.endswith(b"\n") for line in files.lines(stream))
    return count
