"""What a worker finds on disk when it starts, and what follows from it (EVIDENCE sections 1 and 4).

    nothing there                                  new epoch
    last entry is `close`                          new epoch that names the old log
    killed on this boot, directory where it was    same epoch, an incomplete last line cut, `recovery`
    anything else                                  new epoch with `gap`: old log, last good entry, why

Recovery is the verifier's chain check run on the last segment. It never changes a complete line. Damage below
the last checkpoint raises IntegrityViolation until an operator has said so (`--accept-damage`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import merkle, notes
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

FAILED: Final = "failed"


class Epoch(Struct, frozen=True):
    """Where the writer goes on. `first` are the entries it appends before anything else."""

    directory: Path
    log: str
    seq: int
    previous: str  # hash of entry seq - 1
    first: list[tuple[str, dict[str, Any]]]


class Tail(Struct):
    """The end of a log as it is on disk: `size` good entries, then `fault` if there is one."""

    size: int = 0
    previous: str = merkle.EMPTY_HASH_HEX
    kind: str = ""
    opened: dict[str, Any] = {}
    fault: str = ""
    good_bytes: int = 0
    torn: bytes = b""
    file: str = ""


def read_tail(directory: Path, log: str) -> Tail:
    """Walk the last segment of an epoch: canonical form, log, seq and chain of every entry."""
    segments = sorted((directory / "entries").glob("*.jsonl"))
    tail = Tail()
    if not segments:
        return tail
    tail.opened = _opening(segments[0])
    number = len(segments) - 1
    tail.file = segments[-1].name
    if [path.name for path in segments] != [segment_name(i * SEGMENT_ENTRIES) for i in range(len(segments))]:
        tail.fault = "a segment is missing"
        return tail
    tail.size = number * SEGMENT_ENTRIES
    if number:
        tail.previous = merkle.leaf_hash(_last_line(segments[-2])).hex()
    with segments[-1].open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                tail.torn = line
                return tail
            fault = _take(tail, line[:-1], log)
            if fault:
                tail.fault = fault
                return tail
            tail.good_bytes += len(line)
    return tail


def _take(tail: Tail, entry: bytes, log: str) -> str:
    """Check the next entry and count it as good; what is wrong with it otherwise."""
    try:
        members = canonical.parse(entry)
    except ValueError as error:
        return f"entry {tail.size} is not canonical: {error}"
    if members.get("log") != log or members.get("seq") != tail.size:
        return f"entry {tail.size} says it is another's"
    if members.get("previous_entry_hash") != tail.previous:
        return f"entry {tail.size} breaks the chain"
    tail.previous = merkle.leaf_hash(entry).hex()
    tail.kind = str(members.get("kind"))
    tail.size += 1
    return ""


def _opening(segment: Path) -> dict[str, Any]:
    with segment.open("rb") as lines:
        try:
            return canonical.parse(lines.readline().removesuffix(b"\n"))
        except ValueError:
            return {}


def _last_line(segment: Path) -> bytes:
    last = b""
    with segment.open("rb") as lines:
        for last in lines:  # noqa: B007 - the last one is wanted
            pass
    return last.removesuffix(b"\n")


class Recovery:
    """Decides how one worker's ledger goes on. Hold the lock of `root` while using it.

    `known_size(log)` is what the checkpoint store last signed for a log (0: never); `known_logs()` are the
    origins it knows of this worker, oldest first.
    """

    def __init__(
        self,
        root: Path,
        origin: str,
        *,
        new_epoch: Callable[[], str],
        boot_id: str,
        directory_id: Callable[[Path], str],
        known_size: Callable[[str], int],
        known_logs: Callable[[], list[str]],
        opening: Callable[[str], dict[str, Any]],
        accept_damage: bool = False,
    ) -> None:
        self._root, self._origin = root, origin
        self._new_epoch, self._boot_id, self._directory_id = new_epoch, boot_id, directory_id
        self._known_size, self._known_logs = known_size, known_logs
        self._opening, self._accept = opening, accept_damage

    def epoch(self) -> Epoch:
        """The epoch to write to. Raises IntegrityViolation for damage below a checkpoint."""
        epochs = sorted(path.name for path in self._root.iterdir() if (path / "entries").is_dir())
        lost = [log for log in self._known_logs() if log.rpartition("/")[2] not in epochs]
        if not epochs or (lost and lost[-1].rpartition("/")[2] > epochs[-1]):
            gap = [_gap(lost[-1], Tail(), "this disk does not hold the log", "")] if lost else []
            return self._begin(None, gap)
        name = epochs[-1]
        directory, log = self._root / name, f"{self._origin}/{name}"
        tail = read_tail(directory, log)
        why = self._obstacle(directory, log, tail)
        if why:
            return self._begin((log, directory, tail), [_gap(log, tail, why, self._boot_id)])
        if tail.size == 0:  # killed before its first entry: nothing was ever said in this epoch's name
            shutil.rmtree(directory)
            return self.epoch()
        if tail.kind == "close":
            return self._begin((log, directory, tail), [])
        return self._go_on(directory, log, tail)

    def _obstacle(self, directory: Path, log: str, tail: Tail) -> str:
        """Why this epoch may not be continued or followed as if whole; "" if it may."""
        sealed = max(self._known_size(log), _checkpoint_size(directory))
        if tail.fault and tail.size < sealed and not self._accept:
            raise IntegrityViolation(
                f"{tail.fault}; a checkpoint covers {sealed} entries. Keep this directory, and start with "
                "--accept-damage to go on in a new epoch",
                file=str(directory / "entries" / tail.file),
                line=tail.size % SEGMENT_ENTRIES + 1,
                seq=tail.size,
            )
        if tail.fault:
            return f"damage: {tail.fault}"
        if tail.size < sealed:
            return f"rolled back: {sealed} entries were sealed, the disk holds {tail.size}"
        if tail.kind == "close" or tail.size == 0:
            return ""
        if (directory / FAILED).exists():
            return "a sync failed"
        if tail.opened.get("directory_id") != self._directory_id(directory):
            return "the directory was copied or restored"
        if tail.opened.get("boot_id") != self._boot_id:
            return "the machine stopped without closing the log"
        return ""

    def _go_on(self, directory: Path, log: str, tail: Tail) -> Epoch:
        members: dict[str, Any] = {"size": tail.size}
        if tail.torn:
            members["cut_bytes"] = len(tail.torn)
            members["cut_file"] = _cut(directory / "entries" / tail.file, tail)
        return Epoch(directory, log, tail.size, tail.previous, [("recovery", members)])

    def _begin(self, old: tuple[str, Path, Tail] | None, then: list[tuple[str, dict[str, Any]]]) -> Epoch:
        name = self._new_epoch()
        directory, log = self._root / name, f"{self._origin}/{name}"
        (directory / "entries").mkdir(parents=True, mode=0o750)
        sync_directory(self._root)
        sync_directory(directory)
        members = self._opening(log) | {
            "boot_id": self._boot_id,
            "directory_id": self._directory_id(directory),
        }
        if old is not None:
            members["previous_log"] = old[0]
            members["previous_size"] = old[2].size
            members["previous_root"] = _root_of(old[1], old[2].size)
        return Epoch(directory, log, 0, merkle.EMPTY_HASH_HEX, [("open", members), *then])


def _gap(log: str, tail: Tail, why: str, boot_id: str) -> tuple[str, dict[str, Any]]:
    members: dict[str, Any] = {"old_log": log, "good_entries": tail.size, "why": why[:512]}
    if tail.size:
        members["last_good_hash"] = tail.previous
    if tail.torn:
        members["torn_bytes"] = len(tail.torn)
    return "gap", members


def _cut(segment: Path, tail: Tail) -> str:
    """Move the incomplete last line to a file beside its segment; that file's name."""
    name = f"{segment.stem}.torn-{tail.size}"
    beside = segment.with_name(name)
    with beside.open("wb") as file:
        file.write(tail.torn)
        file.flush()
        os.fsync(file.fileno())
    with segment.open("r+b") as file:
        file.truncate(tail.good_bytes)
        os.fsync(file.fileno())
    sync_directory(segment.parent)
    return name


def _checkpoint_size(directory: Path) -> int:
    """Size in the newest checkpoint beside the log; 0 without one. Read leniently: the verifier judges it."""
    try:
        return notes.parse((directory / "checkpoint").read_bytes()).size
    except (FileNotFoundError, ValueError):
        return 0


def _root_of(directory: Path, size: int) -> str:
    """Lowercase hex of the RFC 6962 root over the first `size` entries on disk."""
    tree = merkle.CompactRange()
    for segment in sorted((directory / "entries").glob("*.jsonl")):
        with segment.open("rb") as lines:
            for line in lines:
                if tree.size == size:
                    break
                tree.append(merkle.leaf_hash(line.removesuffix(b"\n")))
    return tree.root().hex()


def mark_failed(directory: Path, why: str) -> None:
    """Leave word that a sync failed here: this epoch must not be continued. Best effort; recovery on another
    boot finds a gap anyway.
    """
    try:
        (directory / FAILED).write_text(f"{why}\n")
        sync_directory(directory)
    except OSError:
        return


def sync_directory(path: Path) -> None:
    """fsync of a directory: names in it are durable afterwards."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
