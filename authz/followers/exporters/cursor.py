"""Where an exporter has got to in each log, on disk: moved only after the destination has everything before.

    <state>/export/<exporter>/<worker>/<epoch>.json
    {"hash":"<hex>","log":"<log>","offset":123,"size":7}        one canonical line (reading.Position)

In: an exporter's directory. Out: Positions. Called by the runner, and by `aegis export status`. A cursor is
replaced as a whole and synced before it counts. One that is missing means the beginning (everything is sent
again); one that is damaged, of another log or ahead of the ledger is an error: it must never skip an entry.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from authz import canonical
from authz.errors import CursorUnusable
from authz.followers import reading
from authz.followers.durable import Extent
from authz.followers.durable_files import make_directories, replace
from authz.followers.reading import Position

MAX_CURSOR: Final = 4096  # bytes
HOW_TO_GO_ON: Final = "take the file away to send this log again from its beginning"
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Cursors:
    """The cursors of one exporter below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, extent: Extent) -> Position:
        """Where to go on in this epoch. Raises CursorUnusable naming the file, OSError."""
        file = self._file(extent)
        try:
            with file.open("rb") as stream:
                stored = stream.read(MAX_CURSOR)
        except FileNotFoundError:
            return Position()
        try:
            position = _parse(stored, extent.log)
        except ValueError as error:
            raise CursorUnusable(f"{file}: {error}; {HOW_TO_GO_ON}") from None
        if position.size > extent.size:
            ahead = f"{position.size} entries were exported, and the ledger has {extent.size} to export"
            raise CursorUnusable(f"{file}: ahead of the ledger: {ahead}; {HOW_TO_GO_ON}")
        try:
            reading.check(extent.directory, extent.log, position, str(file))
        except CursorUnusable as error:
            raise CursorUnusable(f"{error}; {HOW_TO_GO_ON}") from None
        return position

    def store(self, extent: Extent, position: Position) -> None:
        """Durable when this returns. Raises OSError."""
        file = self._file(extent)
        make_directories(file.parent)
        data = canonical.encode(
            {"hash": position.hash, "log": extent.log, "offset": position.offset, "size": position.size}
        )
        replace(file, data + b"\n")

    def _file(self, extent: Extent) -> Path:
        return self.directory / extent.worker / f"{extent.directory.name}.json"


def _parse(stored: bytes, log: str) -> Position:
    """Raises ValueError unless `stored` is a whole cursor in `log`."""
    members = canonical.parse(stored.removesuffix(b"\n"))
    if members.keys() != {"hash", "log", "offset", "size"} or not stored.endswith(b"\n"):
        raise ValueError("not a cursor")
    size, offset, found = members["size"], members["offset"], members["hash"]
    if type(size) is not int or type(offset) is not int or min(size, offset) < 0:
        raise ValueError("not a cursor: size or offset")
    if type(found) is not str or not _HASH.fullmatch(found):
        raise ValueError("not a cursor: hash")
    if members["log"] != log:
        raise ValueError(f"it is of another log, not of {log}")
    return Position(size, found, offset)
