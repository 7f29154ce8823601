"""Walks one segment from its stored bytes: every hash is computed, none is believed.

In: a Task. Out: what was Walked, up to the first fault. Called by the verifier, possibly in another process,
so both are plain values. A segment knows its first entry's place but not the hash before it: whoever puts the
segments together compares `previous` with the tip of the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import Struct, field

from authz import canonical
from authz.ledger import certificates, files, form, merkle
from authz.ledger.attestation import Attestations
from authz.ledger.certificates import Certified
from authz.ledger.disclosures.fit import Fitting
from authz.ledger.disclosures.vault import Vault
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import Disclosed, Fault, Gap
from authz.ledger.succession import Succession

MAX_GAPS: Final = 100  # named in a report; the rest is counted


class Task(Struct, frozen=True):
    """One segment of `log`, its first entry being number `first`; `last` ones may be short or torn.

    `cuts` are sizes of the log at which the tree is wanted. Level 1 hashes lines, 2 reads them as entries,
    3 also verifies attestations by `record_keys`, by those that earlier segments brought and that are
    `certified`, and by those for which it brings a certificate by one of `roots` (PEM).
    """

    file: Path
    first: int
    last: bool
    log: str
    level: int
    record_keys: tuple[bytes, ...] = ()
    certified: tuple[Certified, ...] = ()
    roots: bytes = b""
    cuts: tuple[int, ...] = ()
    disclosures: bool = False  # from level 2 on, also whether those beside it fit
    vault: Vault | None = None  # with it, sealed ones are opened


class Walked(Struct):
    """What a segment holds: `entries` good ones from `previous` to `tip` (hex hashes), and their `tree`;
    `issuers` by the kid of each key that counts by its certificate.
    """

    tree: merkle.CompactRange
    previous: str = ""
    tip: str = ""
    closed: bool = False
    torn_bytes: int = 0
    gaps: tuple[Gap, ...] = ()
    gap_count: int = 0
    succession: Succession = field(default_factory=Succession)
    issuers: dict[str, str] = {}
    at: dict[int, merkle.CompactRange] = {}
    fault: Fault | None = None
    disclosed: Disclosed = field(default_factory=Disclosed)
    unfit: Fault | None = None  # the first of the disclosures

    @property
    def entries(self) -> int:
        return self.tree.size


def walk(task: Task) -> Walked:
    """Raises OSError if the file cannot be read."""
    with files.open_regular(task.file) as stream:
        return walk_stream(task, stream)


def walk_stream(task: Task, stream: BinaryIO, see: Callable[[bytes], None] | None = None) -> Walked:
    """`walk` over an open file; `see` is shown every entry in order, and may raise ValueError for it."""
    walked = Walked(merkle.CompactRange())
    try:
        _walk(task, stream, walked, see)
    except ValueError as error:
        seq = task.first + walked.entries
        walked.fault = Fault(str(error), str(task.file), walked.entries + 1, seq)
    return walked


def _walk(task: Task, stream: BinaryIO, walked: Walked, see: Callable[[bytes], None] | None) -> None:
    """Raises ValueError at the first fault, which is then the line after the good entries."""
    attestations = Attestations(task.record_keys, task.certified) if task.level == 3 else None
    roots = certificates.read_roots(task.roots) if task.roots else ()
    fitting = _fitting(task)
    tree, cuts = walked.tree, {cut - task.first for cut in task.cuts}
    previous: str | None = None
    for line in files.lines(stream):
        if line[-1:] != b"\n":
            _take_torn(task, line, walked)
            return
        if tree.size == SEGMENT_ENTRIES:
            raise ValueError(f"more than {SEGMENT_ENTRIES} entries in a segment")
        entry = line[:-1]
        if task.level > 1:
            if walked.closed:
                raise ValueError("an entry after `close`")
            members = form.read(entry, task.log, task.first + tree.size, previous)
            if attestations:
                if roots and members["kind"] in ("open", "key"):
                    attestations.bring(members, roots)
                    walked.issuers = attestations.issuers
                walked.succession.take(attestations.check(entry, members), members)
            if fitting:
                fitting.entry(members, task.first + tree.size)
            _note(members, walked)
        elif len(entry) > form.MAX_ENTRY:
            raise ValueError(f"longer than {form.MAX_ENTRY} bytes")
        if see:
            see(entry)
        leaf = hashlib.sha256(b"\x00" + entry)
        tree.append(leaf.digest())
        previous = walked.tip = leaf.hexdigest()
        if tree.size in cuts:
            walked.at[task.first + tree.size] = tree.copy()
    if fitting:
        fitting.end()
        walked.disclosed, walked.unfit = fitting.found, fitting.fault
    _check_length(task, walked)


def _fitting(task: Task) -> Fitting | None:
    if not task.disclosures or task.level == 1:
        return None
    epoch = task.file.parent.parent
    return Fitting(epoch, task.log, task.first // SEGMENT_ENTRIES, task.vault)


def _note(members: dict[str, Any], walked: Walked) -> None:
    """Keep what the report or the next segment needs of an entry whose form is right."""
    if not walked.previous:
        walked.previous = members["previous_entry_hash"]
    kind = members["kind"]
    if kind == "close":
        walked.closed = True
    elif kind == "gap":
        walked.gap_count += 1
        if walked.gap_count <= MAX_GAPS:
            walked.gaps += (gap(members),)


def gap(members: dict[str, Any]) -> Gap:
    """A `gap` entry's members as far as they are what they should be."""
    old_log, good, why = (members.get(name) for name in ("old_log", "good_entries", "why"))
    return Gap(
        members["seq"],
        old_log if isinstance(old_log, str) else "",
        good if type(good) is int else 0,
        why if isinstance(why, str) else "",
    )


def _take_torn(task: Task, line: bytes, walked: Walked) -> None:
    """An incomplete last line is an unfinished write, if nothing can come after it."""
    if len(line) > form.MAX_ENTRY:
        raise ValueError(f"longer than {form.MAX_ENTRY} bytes")
    _check_length(task, walked)
    if walked.closed:
        raise ValueError("bytes after `close`")
    if _is_entry(line[:-1]):
        raise ValueError("another byte stands where the newline of this entry belongs")
    walked.torn_bytes = len(line)


def _is_entry(data: bytes) -> bool:
    try:
        return "attestation_signature" in canonical.parse(data)
    except ValueError:
        return False


def _check_length(task: Task, walked: Walked) -> None:
    if not task.last and walked.entries < SEGMENT_ENTRIES:
        raise ValueError(f"the segment ends here, before its {SEGMENT_ENTRIES} entries; others follow it")
