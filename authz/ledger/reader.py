"""Finds entries where they lie, for people and followers. It reads; whether it is true says the verifier.

In: a path with one or more logs. Out: Found entries with their place. Called by `aegis show`. An incomplete
last line is not an entry yet. Raises IntegrityViolation for a line that cannot be one, OSError for a file
that cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from authz import canonical
from authz.errors import IntegrityViolation
from authz.ledger import files, form, merkle, pruned
from authz.ledger.journal import SEGMENT_ENTRIES


class Found(Struct, frozen=True):
    """The stored bytes of entry `seq` (by its place) and where they are; `line` is 1-based."""

    entry: bytes
    file: Path
    line: int
    seq: int

    @property
    def entry_hash(self) -> str:
        """Lowercase hex of the RFC 6962 leaf hash, computed."""
        return merkle.leaf_hash(self.entry).hex()

    def members(self) -> dict[str, Any]:
        """Raises IntegrityViolation for bytes that are not an entry in canonical form."""
        try:
            return canonical.parse(self.entry)
        except ValueError as error:
            raise IntegrityViolation(str(error), file=str(self.file), line=self.line, seq=self.seq) from None


def entries(log: Path, first: int = 0) -> Iterator[Found]:
    """The entries of the log in directory `log` in order, from number `first` on, but for pruned ones."""
    listing = files.segments(log)
    for number, file in zip(listing.numbers, listing.files, strict=True):
        if (number + 1) * SEGMENT_ENTRIES > first:
            yield from of_segment(file, number * SEGMENT_ENTRIES, first)
    if fault := listing.fault:
        raise IntegrityViolation(fault.what, file=fault.file, seq=fault.seq)


def of_segment(file: Path, start: int, first: int = 0) -> Iterator[Found]:
    """The entries of one segment, whose first one is number `start`, from number `first` on."""
    with files.open_regular(file) as stream:
        for place, line in enumerate(files.lines(stream)):
            seq = start + place
            if len(line) > form.MAX_ENTRY and line[form.MAX_ENTRY :] != b"\n":
                what = f"longer than {form.MAX_ENTRY} bytes"
                raise IntegrityViolation(what, file=str(file), line=place + 1, seq=seq)
            if seq >= first and line[-1:] == b"\n":
                yield Found(line[:-1], file, place + 1, seq)


def by_decision(path: Path, decision_id: str) -> Found | None:
    """The `decision` entry with this id in any log at or below `path`; the newest logs are searched first.

    A log that has a fault or cannot be read is raised only if the entry is in no other.
    """
    member = b'"decision_id":' + canonical.encode(decision_id)
    places, _ = files.discover(path)
    unwell: IntegrityViolation | OSError | None = None
    for place in sorted(places, key=lambda place: place.path.name, reverse=True):
        try:
            for found in entries(place.path):
                if member in found.entry and _decides(found.members(), decision_id):
                    return found
        except (IntegrityViolation, OSError) as error:
            unwell = unwell or error
    if unwell:
        raise unwell
    return None


def _decides(members: dict[str, Any], decision_id: str) -> bool:
    return members.get("decision_id") == decision_id and members.get("kind") == "decision"


def by_seq(path: Path, seq: int, log: str = "") -> list[Found]:
    """Entry `seq` of every log at or below `path` whose name is `log` or ends with `/log`.

    A log that has a fault or cannot be read is raised unless the one that `log` means has the entry.
    """
    found: list[Found] = []
    unwell: IntegrityViolation | OSError | None = None
    for place in files.discover(path)[0]:
        try:
            entry = next(entries(place.path, seq), None)
            if entry is None or entry.seq != seq:  # not there, or pruned
                continue
            if f"/{entry.members().get('log')}".endswith(f"/{log}" if log else ""):
                found.append(entry)
        except (IntegrityViolation, OSError) as error:
            unwell = unwell or error
    if unwell and not (log and found):
        raise unwell
    return found


def first_entry(directory: Path) -> dict[str, Any]:
    """Members of the epoch's first entry, also of a pruned one; {} if it is not there or no entry."""
    listing = files.segments(directory)
    if listing.first is None:
        lines = pruned.opening(directory)
        return _members(lines[0]) if lines else {}
    with files.open_regular(listing.first) as stream:
        return _members(stream.readline(files.MAX_LINE).removesuffix(b"\n"))


def last_entry(directory: Path) -> dict[str, Any]:
    """Members of the epoch's last whole line; {} if it is not there, no entry or pruned."""
    listing = files.segments(directory)
    if listing.fault or not listing.files or listing.last != listing.numbers[-1]:
        return {}
    with files.open_regular(listing.files[-1]) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 2 * (form.MAX_ENTRY + 1)))
        lines = stream.read().split(b"\n")
    return _members(lines[-2]) if len(lines) > 1 else {}


def _members(line: bytes) -> dict[str, Any]:
    try:
        return canonical.parse(line)
    except ValueError:
        return {}
