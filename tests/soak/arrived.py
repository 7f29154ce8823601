"""What a receiver has, held against the ledger: all of it, once after deduplication, in order, byte by byte.

In: a worker's ledger and the file in which the receiver keeps a body a line. Out: Arrived. Both are streamed:
after an hour neither fits into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from authz.up import records


@dataclass
class Arrived:
    """`again`: bodies that came once more; `missing`: entries that did not come. Ids are distinct ones."""

    entries: int = 0
    again: int = 0
    missing: int = 0
    decisions: set[str] = field(default_factory=set)
    outcomes: set[str] = field(default_factory=set)  # by the id of their decision
    faults: list[str] = field(default_factory=list)


def compare(ledger: Path, received: Path) -> Arrived:
    """The receiver deduplicates by log and seq; what came first has to be the ledger's next entry.

    What other writers of the deployment sent is passed over.
    """
    found, wanted = Arrived(), _lines(ledger)
    places: dict[str, list[bytes]] = {}  # of each log, a digest of what came first
    with received.open("rb") as stream:
        for line in stream:
            entry = orjson.loads(line)
            if entry["log"].split("/")[-2] != ledger.name:
                continue
            known, digest = places.setdefault(entry["log"], []), hashlib.blake2b(line, digest_size=8).digest()
            if entry["seq"] < len(known):
                found.again += 1
                if known[entry["seq"]] != digest:
                    found.faults.append(f"{entry['log']} {entry['seq']} came again as something else")
            elif line != next(wanted, b""):
                found.faults.append(f"{entry['log']} {entry['seq']} is not the ledger's next entry")
                return found
            else:
                known.append(digest)
                _count(found, entry)
    found.missing = sum(1 for _ in wanted)
    if found.missing:
        found.faults.append(f"{found.missing} entries did not arrive")
    return found


def _lines(ledger: Path) -> Iterator[bytes]:
    """Every entry of a worker, as it is stored, the oldest epoch first."""
    for epoch in records.epochs(ledger):
        for segment in sorted((epoch / "entries").glob("*.jsonl")):
            with segment.open("rb") as stream:
                yield from stream


def _count(found: Arrived, entry: dict[str, object]) -> None:
    found.entries += 1
    identity = str(entry.get("decision_id", ""))
    ids = {"decision": found.decisions, "outcome": found.outcomes}.get(str(entry["kind"]))
    if ids is None or not identity:
        return
    if identity in ids:
        found.faults.append(f"{identity} has two entries of kind {entry['kind']}")
    ids.add(identity)
