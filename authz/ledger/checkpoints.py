"""The largest size and root ever signed for each log: what makes two inconsistent checkpoints impossible.

In: the follower's wish to sign. Out: whether it may. It lies apart from the ledger's directory, so that a
ledger restored from an old copy does not bring its own past with it (EVIDENCE section 3). Any process may
have it open; a change is one atomic compare-and-swap, durable before it is answered. A worker only reads it,
to learn whether its disk was rolled back. Here is what every store promises, and the one that is a table in
an SQLite file; `checkpoint_store.py` opens the one that the settings name.

    checkpoints(log TEXT PRIMARY KEY, size INTEGER, root BLOB)      a row only grows; it never goes away
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from authz.errors import EvidenceUnavailable, IntegrityViolation

BUSY_S: Final = 5.0  # waiting for another process's change
_TABLE: Final = """CREATE TABLE IF NOT EXISTS checkpoints (
    log TEXT PRIMARY KEY NOT NULL,
    size INTEGER NOT NULL CHECK (size > 0),
    root BLOB NOT NULL CHECK (length(root) = 32)
) WITHOUT ROWID"""


class Checkpoints(Protocol):
    """Every method raises EvidenceUnavailable when the store cannot do its work."""

    def advance(self, log: str, size: int, root: bytes, *, expected: int) -> bool:
        """Move `log` from size `expected` (0: never signed) to `size` with `root`; then it may be signed.

        True also if exactly that is stored already. False if another process has moved it meanwhile: look
        again. Raises IntegrityViolation for a root other than the stored one, or a size below it.
        """

    def latest(self, log: str) -> tuple[int, bytes] | None:
        """Size and root last signed for `log`, None if it never was."""

    def logs(self, prefix: str) -> list[str]:
        """The logs whose names start with `prefix`, in the order of their names: a worker's oldest first."""

    def close(self) -> None: ...


def check_growth(log: str, size: int, expected: int) -> None:
    """Raises IntegrityViolation for a size below the one that was signed."""
    if size < expected:
        raise IntegrityViolation(f"{log}: a checkpoint of {size} entries after one of {expected}")


def agree(log: str, size: int, root: bytes, stored: tuple[int, bytes] | None) -> bool:
    """Whether exactly this is stored, if nothing was moved. Raises IntegrityViolation for two roots."""
    if stored and stored[0] == size and stored[1] != root:
        raise IntegrityViolation(f"{log}: two roots for {size} entries; the other one may be signed")
    return stored == (size, root)


class CheckpointStore:
    """Checkpoints in an SQLite file, open until `close`. Raises EvidenceUnavailable, with the path, whenever
    SQLite cannot do its work.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        mode = "rw" if read_only else "rwc"  # `ro` could not roll back what a killed process left half done
        with self._explained():
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._explained():
                # The journal stays, so that a commit is a few syncs and no new name in a directory.
                self._database.execute("PRAGMA journal_mode = PERSIST")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.execute(_TABLE)
                self._database.execute(f"PRAGMA query_only = {int(read_only)}")
        except EvidenceUnavailable:
            self._database.close()
            raise

    def advance(self, log: str, size: int, root: bytes, *, expected: int) -> bool:
        """As `Checkpoints.advance`."""
        check_growth(log, size, expected)
        with self._explained():
            if expected == 0:
                sql = "INSERT INTO checkpoints (size, root, log) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                moved = self._database.execute(sql, (size, root, log))
            else:
                sql = "UPDATE checkpoints SET size = ?, root = ? WHERE log = ? AND size = ? AND size < ?"
                moved = self._database.execute(sql, (size, root, log, expected, size))
        return moved.rowcount == 1 or agree(log, size, root, self.latest(log))

    def latest(self, log: str) -> tuple[int, bytes] | None:
        """Size and root last signed for `log`, None if it never was."""
        with self._explained():
            row = self._database.execute(
                "SELECT size, root FROM checkpoints WHERE log = ?", (log,)
            ).fetchone()
        return (row[0], row[1]) if row else None

    def logs(self, prefix: str) -> list[str]:
        """The logs whose names start with `prefix`, in the order of their names: a worker's oldest first."""
        with self._explained():
            rows = self._database.execute(
                "SELECT log FROM checkpoints WHERE substr(log, 1, length(?1)) = ?1 ORDER BY log", (prefix,)
            )
            return [row[0] for row in rows]

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EvidenceUnavailable(f"checkpoint store {self._path}: {error}") from None
