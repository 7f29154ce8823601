"""What a worker finds on disk when it starts, and what follows from it (EVIDENCE sections 1 and 4).

    nothing there                                  new epoch
    last entry is `close`                          new epoch that names the old log
    killed on this boot, directory where it was    same epoch, an incomplete last line cut, `recovery`
    anything else                                  new epoch with `gap`: old log, its good entries, why

Called by `opening.open_ledger` while it holds the worker's lock. It never changes a complete line, nor
anything in an epoch that it does not go on with. Damage below a checkpoint raises IntegrityViolation until an
operator has said so (`--accept-damage`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import held, keys, merkle
from authz.ledger.clock import is_epoch_name
from authz.ledger.held import Held, Seal
from authz.ledger.journal import FAILED, Disk
from authz.ledger.unread import KeyOf, Unread

MAX_WHY: Final = 512  # characters
DAMAGED: Final = (
    "damaged"  # a file in an epoch's directory: it has to be read whole before it is gone on with
)

Entry = tuple[str, dict[str, Any]]
"""Kind and members of an entry to be written."""


class Epoch(Struct, frozen=True):
    """Where the writer goes on. `first` are the entries it appends before anything else, by the record key
    `public`.
    """

    directory: Path
    log: str
    seq: int
    previous: str  # hash of entry seq - 1
    first: list[Entry]
    public: bytes


class Facts(Struct, frozen=True):
    """What recovery has to know of the world: each is asked for one directory or log.

    `seals(log, directory)` are the sizes and roots ever signed; `known_logs()` the logs of this worker that
    were, oldest first; `opening(log)` the members of an `open` entry that this worker writes now, by the
    record key `public`; `lists(public)` whether a worker here ever signed by that one, `holds(public)`
    whether this one still can; `log_vkeys(log)` the vkeys of every key that signs its checkpoints or did;
    `new_epoch(after)` a name that sorts after `after`. With `key_of`, what tiles under a checkpoint stand for
    is not read.
    """

    boot_id: str
    directory_id: Callable[[Path], str]
    seals: Callable[[str, Path], Iterable[Seal]]
    known_logs: Callable[[], list[str]]
    opening: Callable[[str], dict[str, Any]]
    public: bytes
    lists: Callable[[bytes], bool]
    holds: Callable[[bytes], bool]
    log_vkeys: Callable[[str], Iterable[str]]
    new_epoch: Callable[[str], str]
    key_of: KeyOf | None = None


class Recovery:
    """Decides how one worker's ledger goes on: epochs below `root`, logs called `<origin>/<epoch>`."""

    def __init__(
        self, root: Path, origin: str, facts: Facts, disk: Disk, *, accept_damage: bool = False
    ) -> None:
        self._root, self._origin, self._facts, self._disk = root, origin, facts, disk
        self._accept = accept_damage
        self._looked_at: list[Held] = []
        self._hold = cache(self._read)

    def epoch(self) -> Epoch:
        """The epoch to write to. Raises IntegrityViolation for damage below a checkpoint, OSError."""
        names = sorted(path.name for path in self._root.iterdir() if is_epoch(path))
        while names and self._never_began(names[-1]):
            self._discard(self._root / names.pop())
        if names and not self._lost(names, ""):
            found = self._hold(names[-1])
            if not found.closed and not self._obstacle(found):
                return self._go_on(found, self._gaps(names[:-1], names[-1]) if found.size == 1 else [])
        return self._begin(names)

    # -- what is there

    def _log(self, name: str) -> str:
        return f"{self._origin}/{name}"

    @property
    def unread(self) -> list[Unread]:
        """What still has to be read of the epochs that were looked at."""
        return [found.unread for found in self._looked_at if found.unread]

    def _read(self, name: str) -> Held:
        directory, log = self._root / name, self._log(name)
        whole = self._accept or os.path.lexists(directory / DAMAGED)
        found = held.read(
            directory, log, self._facts.seals(log, directory), None if whole else self._facts.key_of
        )
        self._looked_at.append(found)
        return found

    def _lost(self, names: list[str], heir: str) -> str:
        """The newest log that was ever signed for this worker, if it is not on this disk although it is newer
        than `names`, and older than `heir` unless that is ""; otherwise "".
        """
        lost = [
            log
            for log in self._facts.known_logs()
            if (not names or log > self._log(names[-1])) and (not heir or log < self._log(heir))
        ]
        return lost[-1] if lost else ""

    def _never_began(self, name: str) -> bool:
        """Whether a worker was killed before the first entry was whole: nothing was said in this name."""
        directory = self._root / name
        if any(path.name != "entries" for path in directory.iterdir()):
            return False
        files = list((directory / "entries").iterdir()) if (directory / "entries").is_dir() else []
        if [path.name for path in files] not in ([], ["00000000.jsonl"]):
            return False
        found = self._hold(name)
        return not (found.size or found.fault or found.sealed)

    def _discard(self, directory: Path) -> None:
        entries = directory / "entries"
        for path in (entries / "00000000.jsonl", entries, directory):
            if path.exists():
                self._disk.remove(path)
        self._disk.sync_directory(self._root)

    def _obstacle(self, found: Held) -> str:
        """Why this epoch may not be continued, or followed as if whole; "" if it may."""
        if found.fault:
            self._stop_below_seal(found)
            return f"damage: {found.fault.what}"
        if found.size < found.sealed:
            return f"rolled back: {found.sealed} entries were sealed, the disk holds {found.size}"
        if found.size == 0:
            return "no entry is there"
        if (found.directory / FAILED).exists():
            return "a sync failed"
        if not self._facts.lists(found.in_use.public):
            return f"its record key, {keys.thumbprint(found.in_use.public)}, is none of this deployment's"
        if found.closed:
            return ""
        opened = found.opened
        if opened.get("directory_id") != self._facts.directory_id(found.directory):
            return "the directory was copied or restored"
        if opened.get("boot_id") != self._facts.boot_id:
            return "the machine stopped without closing the log"
        if not self._facts.holds(found.in_use.public):
            return f"the record key in use, {keys.thumbprint(found.in_use.public)}, is not here any more"
        if opened.get("log_vkey") not in list(self._facts.log_vkeys(found.log)):
            return "the log key was changed without a rotation"
        return ""

    def _stop_below_seal(self, found: Held) -> None:
        fault = found.fault
        if fault is None or self._accept or not (found.size < found.sealed or found.contradicts):
            return
        raise IntegrityViolation(
            f"{fault.what}; a checkpoint covers {found.sealed} entries. Keep this directory as it is, and "
            "start with --accept-damage to go on in a new epoch",
            file=fault.file,
            line=fault.line,
            seq=fault.seq,
        )

    # -- what follows

    def _gaps(self, names: list[str], heir: str = "") -> list[Entry]:
        """What has to be said, in `heir` or a new epoch, of the newest of `names` if it did not end as it
        should; also of the one before, if the newest was stopped before it could say so.
        """
        if lost := self._lost(names, heir):
            return [_gap(Held(self._root, lost), "this disk does not hold the log")]
        if not names:
            return []
        found = self._hold(names[-1])
        why = self._obstacle(found) or ("" if found.closed else "the log was not closed")
        gaps = [_gap(found, why)] if why else []
        return gaps + self._gaps(names[:-1], names[-1]) if found.size == 1 else gaps

    def _go_on(self, found: Held, gaps: list[Entry]) -> Epoch:
        members: dict[str, Any] = {"size": found.size}
        entries = found.directory / "entries"
        if found.torn_bytes and found.last_file:
            self._cut(found.last_file, found)
            members["cut_bytes"] = found.torn_bytes
        self._disk.sync_directory(entries)
        if os.path.lexists(found.directory / DAMAGED):  # it was read whole, and is whole again
            self._disk.remove(found.directory / DAMAGED)
        if cut := sorted(path.name for path in entries.glob(f"*.torn-{found.size}-*")):
            members["cut_file"] = cut[-1]  # also if the one that cut it was killed before it could say so
        return Epoch(
            found.directory,
            found.log,
            found.size,
            found.tip,
            [*gaps, ("recovery", members)],
            found.in_use.public,
        )

    def _begin(self, names: list[str]) -> Epoch:
        gaps = self._gaps(names)
        known = self._facts.known_logs()[-1:]
        newest = max([*names, *(log.rpartition("/")[2] for log in known)], default="")
        name = self._facts.new_epoch(newest)
        directory, log = self._root / name, self._log(name)
        for path in (directory, directory / "entries"):
            self._disk.make_directory(path)
            self._disk.sync_directory(path.parent)
        members = self._facts.opening(log) | {
            "boot_id": self._facts.boot_id,
            "directory_id": self._facts.directory_id(directory),
        }
        if names and not self._lost(names, ""):
            old = self._hold(names[-1])
            members |= {
                "previous_log": old.log,
                "previous_size": old.size,
                "previous_root": old.root.hex(),
            }
        return Epoch(directory, log, 0, merkle.EMPTY_HASH_HEX, [("open", members), *gaps], self._facts.public)

    def _cut(self, segment: Path, found: Held) -> None:
        """Move the incomplete last line to a file beside its segment."""
        good = segment.stat().st_size - found.torn_bytes
        with segment.open("rb") as file:
            file.seek(good)
            torn = file.read(found.torn_bytes)
        write_new(_unused(segment, found.size), torn, self._disk)
        fd = self._disk.open(segment, new=False)
        try:
            self._disk.truncate(fd, good)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)


def is_epoch(path: Path) -> bool:
    """Whether an epoch lies there, by its name."""
    return is_epoch_name(path.name) and path.is_dir() and not path.is_symlink()


def _gap(found: Held, why: str) -> Entry:
    members: dict[str, Any] = {"old_log": found.log, "good_entries": found.size, "why": why[:MAX_WHY]}
    if found.size:
        members["last_good_hash"] = found.tip
    if found.torn_bytes:
        members["torn_bytes"] = found.torn_bytes
    if found.sealed:
        members["sealed_entries"] = found.sealed
    return "gap", members


def _unused(segment: Path, seq: int) -> Path:
    """A name beside `segment` for what was cut before entry `seq`; it may have been cut there before."""
    number = 0
    while os.path.lexists(path := segment.with_name(f"{segment.stem}.torn-{seq}-{number}")):
        number += 1
    return path


def mark_failed(directory: Path, why: str, disk: Disk) -> None:
    """Leave word that a sync failed here: this epoch must not be continued. Raises OSError."""
    _leave_word(directory / FAILED, why, disk)


def mark_damaged(directory: Path, why: str, disk: Disk) -> None:
    """Leave word that entries here are not those that were signed: the next start reads all of them, and
    stops. Raises OSError.
    """
    _leave_word(directory / DAMAGED, why, disk)


def _leave_word(file: Path, why: str, disk: Disk) -> None:
    """The first word stays."""
    with suppress(FileExistsError):
        write_new(file, f"{why}\n".encode(), disk)


def write_new(path: Path, data: bytes, disk: Disk) -> None:
    """A file that is durable, with its name, when this returns."""
    fd = disk.open(path, new=True)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[disk.write(fd, rest) :]
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.sync_directory(path.parent)
