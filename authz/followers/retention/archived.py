"""What retention asks of an archive, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from msgspec import Struct


class Archived(Struct, frozen=True):
    """Where a segment is, and the SHA-256 (hex) of its bytes."""

    place: str
    sha256: str


class Archive(Protocol):
    """Raises EvidenceUnavailable, naming the object, whenever it cannot do its work."""

    def put(self, log: str, number: int, file: Path) -> Archived:
        """Have the bytes of segment `number` there, and know that they are."""

    def get(self, log: str, number: int) -> bytes: ...
