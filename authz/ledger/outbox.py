"""Events of the deployment on their way into its control log: who has one puts it here and may go on.

    CLI, console, followers --put--> SQLite --oldest first--> the follower's control task --> control log

In: the kind and members of an event. Out: nothing; it is durable, and will be an entry of the control log
exactly once, in the order of `put`. Any process may put; only the control task takes. What has not the form
of its kind (`control.py`) is refused at once, since later nobody is there to be told.

    events(number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, kind TEXT, at TEXT, members BLOB)

A row goes away once its entry is durable. `event_id` and the time go into the entry: by them the control task
knows what it wrote before it was killed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uuid_utils
from msgspec import Struct

from authz import canonical
from authz.errors import EvidenceUnavailable
from authz.ledger import control
from authz.ledger.clock import Stamp

MAX_EVENT: Final = 12_288  # bytes of members: with its place and attestation it fits into an entry
MAX_WAITING: Final = 100_000  # events; more are refused until the follower has written some
BUSY_S: Final = 5.0  # waiting for another process's change
_TABLE: Final = """CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    members BLOB NOT NULL
)"""


class Event(Struct, frozen=True):
    """`at` is when it was put."""

    number: int
    event_id: str
    kind: str
    at: str
    members: dict[str, Any]


class Outbox:
    """Open until `close`; also a context manager. Raises EvidenceUnavailable, with the path, whenever SQLite
    cannot do its work.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path, self._stamp = path, Stamp(clock_ns)
        with self._explained():
            self._database = sqlite3.connect(
                path.absolute(), timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._database.execute("PRAGMA journal_mode = PERSIST")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.execute(_TABLE)
        except EvidenceUnavailable:
            self._database.close()
            raise

    def put(self, kind: str, members: Mapping[str, Any]) -> None:
        """Durable when it returns. Raises ValueError naming the member that is not as `control.FORMS` says,
        EvidenceUnavailable if it cannot be kept: then what it tells of must not be done.
        """
        control.check(kind, members)
        data = canonical.encode(dict(members))
        if len(data) > MAX_EVENT:
            raise ValueError(f"{kind}: {len(data)} bytes of members, over the limit of {MAX_EVENT}")
        row = (str(uuid_utils.uuid7()), kind, self._stamp.now(), data, MAX_WAITING)
        with self._explained():
            kept = self._database.execute(
                "INSERT INTO events (event_id, kind, at, members) SELECT ?, ?, ?, ? "
                "WHERE (SELECT count(*) FROM events) < ?",
                row,
            )
        if not kept.rowcount:
            raise EvidenceUnavailable(f"{self._path}: {MAX_WAITING} events wait for the follower already")

    def waiting(self, most: int) -> list[Event]:
        """The oldest events, in the order in which they were put."""
        with self._explained():
            rows = self._database.execute(
                "SELECT number, event_id, kind, at, members FROM events ORDER BY number LIMIT ?", (most,)
            ).fetchall()
        return [Event(number, id_, kind, at, canonical.parse(data)) for number, id_, kind, at, data in rows]

    def written(self, upto: int) -> None:
        """The events up to number `upto` are durable entries: forget them."""
        with self._explained():
            self._database.execute("DELETE FROM events WHERE number <= ?", (upto,))

    def count(self) -> int:
        """Events that wait."""
        with self._explained():
            return int(self._database.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EvidenceUnavailable(f"outbox {self._path}: {error}") from None
