"""Checkpoints in a plain directory elsewhere: on another machine's disk, or one that others collect.

    <path>/<log>/<20-digit size>       the note, created once and never written again

In: Candidates. Out: Receipts, once file and names are durable. A file that is there with another root is a
contradiction; whoever controls this directory can remove files, so it dates nothing by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from authz.followers.anchors.anchor import Candidate, Contradicted, Receipt, Unavailable
from authz.followers.durable_files import create, make_directories
from authz.ledger import members, notes
from authz.ledger.notes import MAX_NOTE

DIGITS: Final = 20


def file_name(size: int) -> str:
    """What a checkpoint of `size` entries is called: names sort as sizes do."""
    return f"{size:0{DIGITS}}"


class DirectoryAnchor:
    """`path` has to be there: it may be a volume that is not mounted."""

    kind = "directory"

    def __init__(self, path: Path, every_s: float) -> None:
        self._path, self.every_s = path, every_s

    def put(self, candidate: Candidate) -> Receipt:
        directory = self._path / candidate.log
        file = directory / file_name(candidate.size)
        try:
            if not self._path.is_dir():
                raise Unavailable(f"{self._path}: no such directory")
            make_directories(directory)
            if not create(file, candidate.note):
                compare(_read(file), candidate, str(file))
        except OSError as error:
            raise Unavailable(f"{error.filename or file}: {error.strerror}") from None
        return Receipt(str(self._path), where=str(file))

    def larger(self, log: str, size: int) -> bytes | None:
        try:
            names = os.listdir(self._path / log)
            beyond = [name for name in names if name.isdecimal() and len(name) == DIGITS]
            newest = max(beyond, default="")
            return _read(self._path / log / newest) if newest > file_name(size) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{error.filename or self._path}: {error.strerror}") from None

    def logs(self, prefix: str) -> list[str]:
        parent, _, _ = prefix.rpartition("/")
        try:
            found = [f"{parent}/{name}" for name in os.listdir(self._path / parent)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unavailable(f"{error.filename or self._path}: {error.strerror}") from None
        return sorted(log for log in found if log.startswith(prefix) and members.LOG.fullmatch(log))


def compare(stored: bytes, candidate: Candidate, where: str) -> None:
    """Raises Contradicted unless `stored`, found under the candidate's own name, is about the same tree."""
    try:
        found = notes.parse(stored)
    except ValueError:
        raise Contradicted(f"{where}: something else than a checkpoint lies there") from None
    checkpoint = candidate.checkpoint
    if (found.log, found.size, found.root) != (checkpoint.log, checkpoint.size, checkpoint.root):
        raise Contradicted(f"{where}: another checkpoint lies there, for {found.size} entries of {found.log}")


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_NOTE + 1)
