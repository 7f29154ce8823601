"""Events of the deployment on their way into its control log: who has one puts it here and may go on.

    CLI, console, followers --put--> SQLite --oldest first--> the follower's control task --> control log

In: the kind and members of an event. Out: nothing; it is durable, and will be an entry of the control log
exactly once, in the order of `put`. Any process may put; only the control task takes. What has not the form
of its kind (`control.py`) is refused at once, since later nobody is there to be told.

    events(number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, kind TEXT, at TEXT, members BLOB)
    once(key TEXT PRIMARY KEY)                what was put under a key, so that it is not put again
    standing(key, value, at)                  how something stands by the event that was put last, and when

An event's row goes away once its entry is durable. `event_id` and the time go into the entry: by them the
control task knows what it wrote before it was killed.
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
_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    members BLOB NOT NULL
)""",
    "CREATE TABLE IF NOT EXISTS once (key TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS standing (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL,
    at TEXT NOT NULL
) WITHOUT ROWID""",
)


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
                # Whoever reads waits for nobody who writes: many may put while the follower takes.
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                for table in _TABLES:
                    self._database.execute(table)
        except EvidenceUnavailable:
            self._database.close()
            raise

    def put(self, kind: str, members: Mapping[str, Any], *, once: str = "") -> None:
        """Durable when it returns. With a key `once`, nothing happens if an event was put under it before.

        Raises ValueError naming the member that is not as `control.FORMS` says, EvidenceUnavailable if it
        cannot be kept: then what it tells of must not be done.
        """
        data = _checked(kind, members)
        with self._explained(), self._changing():
            if not once or self._first(once):
                self._insert(kind, data)

    def put_change(self, kind: str, members: Mapping[str, Any], *, of: str, value: str) -> str:
        """`put`, unless what is called `of` stood at `value` already: whoever sees a change first says it.
        Returns since when it stands so. "" is where everything stands at first, since ever ("").
        """
        data = _checked(kind, members)
        with self._explained(), self._changing():
            known = self._database.execute("SELECT value, at FROM standing WHERE key = ?", (of,)).fetchone()
            before, since = known or ("", "")
            if before == value:
                return str(since)
            at = self._insert(kind, data)
            self._database.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?)", (of, value, at))
        return at

    def _insert(self, kind: str, data: bytes) -> str:
        """One event more, in a transaction; its time."""
        if self.count() >= MAX_WAITING:
            raise EvidenceUnavailable(f"{self._path}: {MAX_WAITING} events wait for the follower already")
        at = self._stamp.now()
        row = (str(uuid_utils.uuid7()), kind, at, data)
        self._database.execute("INSERT INTO events (event_id, kind, at, members) VALUES (?, ?, ?, ?)", row)
        return at

    def _first(self, key: str) -> bool:
        kept = self._database.execute("INSERT INTO once VALUES (?) ON CONFLICT DO NOTHING", (key,))
        return bool(kept.rowcount)

    def waiting(self, most: int) -> list[Event]:
        """The oldest events, in the order in which they were put. What somebody put there with other hands
        raises EvidenceUnavailable naming its number.
        """
        with self._explained():
            rows = self._database.execute(
                "SELECT number, event_id, kind, at, members FROM events ORDER BY number LIMIT ?", (most,)
            ).fetchall()
        return [self._event(*row) for row in rows]

    def _event(self, number: int, event_id: str, kind: str, at: str, data: bytes) -> Event:
        try:
            members = canonical.parse(data)
            control.check_entry(members | {"kind": kind, "event_id": event_id, "event_time": at})
        except (ValueError, TypeError, KeyError) as error:
            raise EvidenceUnavailable(
                f"outbox {self._path}: event {number} can be no entry: {error}"
            ) from None
        return Event(number, event_id, kind, at, members)

    def waits(self, kind: str, members: Mapping[str, Any]) -> bool:
        """Whether such an event is not a durable entry yet."""
        query = "SELECT EXISTS (SELECT 1 FROM events WHERE kind = ? AND members = ?)"
        with self._explained():
            return bool(self._database.execute(query, (kind, canonical.encode(dict(members)))).fetchone()[0])

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
    def _changing(self) -> Iterator[None]:
        """One transaction: all of it, or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EvidenceUnavailable(f"outbox {self._path}: {error}") from None


def _checked(kind: str, members: Mapping[str, Any]) -> bytes:
    """The bytes of members that have the form of their kind. Raises ValueError."""
    control.check(kind, members)
    data = canonical.encode(dict(members))
    if len(data) > MAX_EVENT:
        raise ValueError(f"{kind}: {len(data)} bytes of members, over the limit of {MAX_EVENT}")
    return data
