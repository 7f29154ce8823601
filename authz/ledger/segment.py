"""Walks one segment from its stored bytes: every hash is computed, none is believed.

In: a Task. Out: what was Walked, up to the first fault. Called by the verifier, possibly in another process,
so both are plain values. A segment knows its first entry's place but not the hash before it: whoever puts the
segments together compares `previous` with the tip of the one before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from authz import canonical
from authz.ledger import certificates, files, form, merkle, runs, stored_tiles
from authz.ledger.attestation import Attestations
from authz.ledger.certificates import Certified
from authz.ledger.disclosures.fit import Fitting
from authz.ledger.disclosures.vault import Vault
from authz.ledger.files import Readable
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.report import Disclosed, Fault, Gap
from authz.ledger.succession import InUse, Succession
from authz.ledger.tiles import HEIGHT, WIDTH

_DELETES: Final = ("seq", "of", "first_segment", "last_segment")
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
    tiles: bool = False  # also whether stored tiles are those of these entries


class Deletion(Struct, frozen=True):
    """A `prune` entry, number `seq`: of log `of` the segments `first` to `last` may be gone."""

    seq: int
    of: str
    first: int
    last: int


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
    odd_tile: Fault | None = None  # the first stored tile that is not of these entries
    deletions: tuple[Deletion, ...] = ()  # that the entries of a control log name
    pruned: bool = False  # only the hashes are left

    @property
    def entries(self) -> int:
        return self.tree.size


def walk(task: Task) -> Walked:
    """Raises OSError if the file cannot be read."""
    with files.open_unbuffered(task.file) as stream:
        return walk_stream(task, stream)


def walk_stream(task: Task, stream: Readable, in_use: InUse | None = None) -> Walked:
    """`walk` over an open file; `in_use` is shown every entry in order, and may raise ValueError for it."""
    walk = _Walk(task, in_use)
    try:
        walk.through(stream)
    except ValueError as error:
        return walk.done(str(error))
    return walk.done("")


class _Walk:
    """The entries taken so far, by their leaf hashes, and what was noted of them."""

    def __init__(self, task: Task, in_use: InUse | None) -> None:
        self._task, self._in_use = task, in_use
        self._leaves: list[bytes] = []
        self._walked = Walked(merkle.CompactRange())
        self._attestations = Attestations(task.record_keys, task.certified) if task.level == 3 else None
        self._roots = certificates.read_roots(task.roots) if task.roots else ()
        self._fitting = _fitting(task)

    def through(self, stream: Readable) -> None:
        """Raises ValueError at the first fault, which is then the line after the good entries."""
        for block in files.blocks(stream):
            if block[-1:] != b"\n":
                self._take_torn(block)
                break
            if not self._take_run(block):
                for line in block[:-1].split(b"\n"):
                    self._take(line)
        if self._fitting:
            self._fitting.end()
            self._walked.disclosed, self._walked.unfit = self._fitting.found, self._fitting.fault
        self._check_length()

    def done(self, fault: str) -> Walked:
        """What was walked, up to the `fault` if there is one."""
        walked, task = self._walked, self._task
        rows = _plant(walked, self._leaves, task)
        if self._leaves:
            walked.tip = self._leaves[-1].hex()
        if fault:
            place = len(self._leaves)
            walked.fault = Fault(fault, str(task.file), place + 1, task.first + place)
        elif task.tiles:
            log = task.file.parent.parent
            walked.odd_tile = stored_tiles.odd(log, 0, task.first, self._leaves) or stored_tiles.odd(
                log, 1, task.first // WIDTH, rows
            )
        return walked

    def _take_run(self, block: bytes) -> bool:
        """Take everyday entries all at once; False, and nothing taken, if they are not surely that."""
        task, walked = self._task, self._walked
        if task.level == 3 or walked.closed:
            return False
        leaves = runs.leaves_of(block)
        if leaves is None or len(leaves) > SEGMENT_ENTRIES - len(self._leaves):
            return False
        if task.level == 2:
            seq = task.first + len(self._leaves)
            entries = runs.read(block, task.log, seq, self._previous, leaves)
            if entries is None:
                return False
            walked.previous = walked.previous or entries[0].previous_entry_hash
            if self._fitting:
                self._fitting.run(entries, seq)
        if self._in_use:
            self._in_use.see_run(block)
        self._leaves += leaves
        return True

    def _take(self, entry: bytes) -> None:
        task, walked = self._task, self._walked
        if len(self._leaves) == SEGMENT_ENTRIES:
            raise ValueError(f"more than {SEGMENT_ENTRIES} entries in a segment")
        seq = task.first + len(self._leaves)
        if task.level > 1:
            if walked.closed:
                raise ValueError("an entry after `close`")
            members = form.read(entry, task.log, seq, self._previous)
            if self._attestations:
                self._attest(self._attestations, entry, members)
            if self._fitting:
                self._fitting.entry(members.get("_sd"), seq)
            _note(members, walked)
        elif len(entry) > form.MAX_ENTRY:
            raise ValueError(f"longer than {form.MAX_ENTRY} bytes")
        if self._in_use:
            self._in_use.see(entry)
        self._leaves.append(merkle.leaf_hash(entry))

    def _attest(self, attestations: Attestations, entry: bytes, members: dict[str, Any]) -> None:
        if self._roots and members["kind"] in ("open", "key"):
            attestations.bring(members, self._roots)
            self._walked.issuers = attestations.issuers
        self._walked.succession.take(attestations.check(entry, members), members)

    @property
    def _previous(self) -> str | None:
        """The hash of the last entry; that before the segment is not known."""
        return self._leaves[-1].hex() if self._leaves else None

    def _take_torn(self, line: bytes) -> None:
        """An incomplete last line is an unfinished write, if nothing can come after it."""
        if len(line) > form.MAX_ENTRY:
            raise ValueError(f"longer than {form.MAX_ENTRY} bytes")
        self._check_length()
        if self._walked.closed:
            raise ValueError("bytes after `close`")
        if _is_entry(line[:-1]):
            raise ValueError("another byte stands where the newline of this entry belongs")
        self._walked.torn_bytes = len(line)

    def _check_length(self) -> None:
        if not self._task.last and len(self._leaves) < SEGMENT_ENTRIES:
            raise ValueError(f"the segment ends here, before its {SEGMENT_ENTRIES} entries; others follow it")


def _plant(walked: Walked, leaves: list[bytes], task: Task) -> list[bytes]:
    """The tree over `leaves`, also as it was at each cut; the roots of its tiles."""
    cuts = sorted(cut - task.first for cut in task.cuts if 0 < cut - task.first <= len(leaves))
    tree, roots, next_cut = walked.tree, [], 0
    for start in range(0, len(leaves), WIDTH):
        tile = leaves[start : start + WIDTH]
        before = tree.copy()
        if len(tile) == WIDTH:
            roots.append(merkle.root(tile))
            tree.push(roots[-1], HEIGHT)
        else:
            tree.extend(tile)
        for cut in cuts[next_cut:]:
            if cut > tree.size:
                break
            before.extend(leaves[before.size : cut])
            walked.at[task.first + cut] = before.copy()
            next_cut += 1
    return roots


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
    elif kind == "prune" and members.get("action") == "delete":
        said = Deletion(*(members[name] for name in _DELETES))
        walked.deletions += (said,)
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


def _is_entry(data: bytes) -> bool:
    try:
        return "attestation_signature" in canonical.parse(data)
    except ValueError:
        return False
