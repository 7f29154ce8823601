"""Every store of what was ever signed, as the settings name it: a file, PostgreSQL, S3; all of them real.

def test(place: Place) -> None:                    once for each (fixture in conftest.py)
    store = place.open()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from authz.config import Settings
from authz.ledger.checkpoint_store import open_store
from authz.ledger.checkpoints import Checkpoints
from tests.postgresql import Postgresql
from tests.s3 import S3Server

KINDS: Final = ("sqlite", "postgresql", "s3")
BUCKET: Final = "checkpoints-of-ours"


class Place:
    """`told` is the section `follower` of the settings; `name` is in every error."""

    def __init__(
        self,
        kind: str,
        state: Path,
        told: dict[str, Any],
        name: str,
        server: Postgresql | S3Server | None = None,
    ) -> None:
        self.kind, self.told, self.name, self._state = kind, told, name, state
        self._server = server

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which need not stop a server."""
        return self.__dict__ | {"_server": None}

    def open(self, *, read_only: bool = False) -> Checkpoints | None:
        settings = Settings.model_validate({"state": self._state, "follower": self.told})
        return open_store(settings, read_only=read_only)

    def told_absolutely(self) -> dict[str, Any]:
        """`told` for a state directory that is elsewhere."""
        return {"checkpoint_store": f"{self._state}/checkpoints.sqlite"} | self.told

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody reaches it meanwhile."""
        if self._server:
            self._server.stop()
            try:
                yield
            finally:
                self._server.start()
            return
        file = self._state / "checkpoints.sqlite"
        beside = file.rename(file.with_suffix(".away"))
        file.mkdir()
        try:
            yield
        finally:
            file.rmdir()
            beside.rename(file)

    @contextmanager
    def opened(self) -> Iterator[Checkpoints]:
        store = self.open()
        assert store is not None
        with closing(store):
            yield store


def sqlite_place(state: Path) -> Place:
    return Place("sqlite", state, {}, f"{state}/checkpoints.sqlite")


def postgresql_place(state: Path, server: Postgresql, database: str) -> Place:
    told = {"checkpoint_store": server.url(database)}
    return Place("postgresql", state, told, f"local/{database}", server)


def s3_place(state: Path, server: S3Server, prefix: str) -> Place:
    access = server.settings(BUCKET).model_dump(include={"endpoint", "credentials", "timeout_s"})
    url = f"s3://{BUCKET}/{prefix}"
    return Place("s3", state, {"checkpoint_store": url, "checkpoint_s3": access}, url, server)
