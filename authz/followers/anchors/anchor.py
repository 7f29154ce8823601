"""What every anchor is to the runner: somebody outside who is shown a checkpoint and gives something for it.

    put() returns            somebody else holds it, or has signed for it; the Receipt was checked
    raises Unavailable       try again later
    raises Refused           this log is not taken as things are: a person has to do something
    raises Contradicted      they have seen another history of this log, or more of it than is here

Called by the runner, one after another on a thread, and at a start for what they have seen (`larger`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from authz.followers.exporters.destination import Refused, Unavailable
from authz.followers.places import Place
from authz.ledger import notes

__all__ = ["Anchor", "Candidate", "Contradicted", "Receipt", "Refused", "Unavailable"]


class Contradicted(Exception):
    """Whoever is outside has seen something else than this disk holds."""


class Candidate(Struct, frozen=True):
    """A sealed checkpoint: `note` with its signatures verified, as it lies in the epoch's directory."""

    place: Place
    checkpoint: notes.Checkpoint
    note: bytes

    @property
    def log(self) -> str:
        return self.checkpoint.log

    @property
    def size(self) -> int:
        return self.checkpoint.size

    @property
    def began(self) -> float:
        """When the epoch was made (Unix seconds), by its name: `20260101T000000Z-...`."""
        name = self.log.rpartition("/")[2]
        return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


class Receipt(Struct, frozen=True):
    """What came back. `artefact` is kept under the checkpoint's name with `suffix`; b"": there is none.

    `name` is who it was, `where` the thing outside lies ("" if only the artefact proves it), `dated` (Unix
    seconds) what they say, 0 if nothing; `version_id` and `retain_until` are of a locked object.
    """

    name: str
    where: str = ""
    suffix: str = ""
    artefact: bytes = b""
    dated: float = 0.0
    version_id: str = ""
    retain_until: float = 0.0


class Anchor(Protocol):
    """`kind` is the setting's name and a metric's label; `every_s` the time between two of one log."""

    kind: str
    every_s: float

    def put(self, candidate: Candidate) -> Receipt: ...

    def larger(self, log: str, size: int) -> bytes | None:
        """The largest checkpoint of `log` they hold, if it is beyond `size`. It is not judged yet."""
        ...

    def logs(self, prefix: str) -> list[str]:
        """The logs they know whose names begin with `prefix`; empty where they cannot be asked."""
        ...
