"""A pruned segment back in its place, if the archive still has exactly what was deleted.

In: an epoch's directory, a segment's number, an archive. Out: its file. Called by `aegis restore`. The bytes
count if they lead to the hashes that stayed, which lead to a signed root; anything else is refused, naming
the first block of 256 entries that is not what it was. Retention plans the segment anew, with its grace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from authz.errors import ConfigError, IntegrityViolation
from authz.followers.durable_files import replace
from authz.followers.retention.archived import Archive
from authz.ledger import files, merkle, pruned
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name

BLOCK: Final = 256


def restore(directory: Path, log: str, number: int, archive: Archive) -> Path:
    """Raises ConfigError if the segment was not pruned, IntegrityViolation for bytes that are not its own,
    EvidenceUnavailable, OSError.
    """
    file = directory / "entries" / segment_name(number * SEGMENT_ENTRIES)
    if number not in files.segments(directory).pruned:
        raise ConfigError(f"{file}: not pruned")
    try:
        marker = pruned.read(directory, number)
        wanted = pruned.tree(directory, number, marker)
    except ValueError as error:
        raise IntegrityViolation(
            str(error), file=str(pruned.marker_file(directory, number)), seq=number * SEGMENT_ENTRIES
        ) from None
    data = archive.get(log, number)
    lines = data.split(b"\n")
    if lines[-1:] != [b""] or len(lines) - 1 != marker.entries:
        raise IntegrityViolation(f"the archive does not hold its {marker.entries} entries", file=str(file))
    found = merkle.CompactRange()
    found.extend([merkle.leaf_hash(line) for line in lines[:-1]])
    if found.root() != wanted.root():
        raise IntegrityViolation("what the archive holds is not what was deleted", file=str(file))
    replace(file, data)
    return file
