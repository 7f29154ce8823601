"""Judges one log after its walk: whether what lies in its directory, what it says of other logs and what
others outside have seen of it belong together.

In: a Plan (what was read before), a Whole (what the walk found), the other logs. Out: a LogReport with the
first fault. Called by the verifier; it reads names of files and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from authz.ledger import files, merkle, notes, revocation, succession
from authz.ledger.anchors import Given
from authz.ledger.epochs import Epochs, Extent, Opening
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.report import Disclosed, Fault, Gap, LogReport
from authz.ledger.segment import Deletion
from authz.ledger.succession import Succession
from authz.ledger.trust import Trust

NONE_GIVEN: Final = Given()


class Plan(Struct, frozen=True):
    """One log before its entries are walked: what its other files say."""

    place: files.Place
    listing: files.Listing
    opening: Opening
    checkpoint: notes.Checkpoint | None
    checkpoint_fault: Fault | None
    signers: tuple[bytes, ...] = ()  # of the checkpoint, among the pinned keys

    @property
    def log(self) -> str:
        """The name every entry must carry; "" if neither checkpoint nor first entry gives one."""
        return self.checkpoint.log if self.checkpoint else self.opening.log


class Whole(Struct):
    """A log's segments put together, up to the first fault. `roots` are 32 bytes by size."""

    tree: merkle.CompactRange
    roots: dict[int, bytes]
    tip: str = merkle.EMPTY_HASH_HEX
    closed: bool = False
    torn_bytes: int = 0
    gaps: tuple[Gap, ...] = ()
    gap_count: int = 0
    succession: Succession = field(default_factory=Succession)
    issuers: dict[str, str] = {}
    fault: Fault | None = None
    disclosed: Disclosed = field(default_factory=Disclosed)
    unfit: Fault | None = None
    odd_tile: Fault | None = None
    segments: list[bytes] = []  # the roots of full ones
    deletions: tuple[Deletion, ...] = ()
    pruned: int = 0  # entries of which only hashes are left
    resumed: bool = False  # what comes next comes after pruned entries

    @property
    def extent(self) -> Extent:
        return Extent(self.tree.size, self.torn_bytes, self.roots, self.fault is None)


def returned(plans: list[Plan], wholes: list[Whole]) -> Iterator[tuple[Plan, Fault]]:
    """The logs in which a record key attests again after another one took over from it in the same worker's
    logs, unless they have a fault already.
    """
    workers: dict[str, list[tuple[Plan, Whole]]] = {}
    for plan, whole in zip(plans, wholes, strict=True):
        workers.setdefault(plan.log.rpartition("/")[0], []).append((plan, whole))
    for logs in workers.values():
        logs.sort(key=lambda log: log[0].log)
        found = succession.returned((plan.log, whole.succession) for plan, whole in logs)
        if found:
            log, seq, what = found
            plan, whole = next(each for each in logs if each[0].log == log)
            if whole.fault is None:
                yield plan, _at(plan, seq, what)


def revoked(plan: Plan, whole: Whole, trust: Trust, given: Given) -> Fault | None:
    """Where a revoked key vouches for what no anchor dates before its revocation."""
    found = revocation.attested(trust, given, plan.log, whole.succession, whole.issuers, whole.tree.size)
    if found:
        return _at(plan, *found)
    if plan.checkpoint:
        what = revocation.signed(trust, given, plan.log, plan.checkpoint.size, plan.signers)
        return Fault(what, str(plan.place.path / "checkpoint")) if what else None
    return None


def _at(plan: Plan, seq: int, what: str) -> Fault:
    """A fault at entry `seq`."""
    place = seq % SEGMENT_ENTRIES
    return Fault(what, str(plan.place.path / "entries" / segment_name(seq)), place + 1, seq)


def judge(
    plan: Plan,
    whole: Whole,
    epochs: Epochs,
    extents: dict[str, Extent],
    level: int,
    sealed: bool,
    given: Given,
) -> LogReport:
    fault = (
        whole.fault
        or plan.checkpoint_fault
        or _against_checkpoint(plan, whole, level)
        or _against_anchors(plan, whole, given)
        or _against_directory(plan)
        or _torn(plan, whole, epochs)
        or whole.unfit
        or whole.odd_tile
    )
    unchecked = _unchecked(plan)
    if level > 1:
        claim, unable = epochs.claim(plan.opening, extents)
        fault = fault or epochs.twin(plan.opening) or claim
        unchecked += [unable] if unable else []
        if sealed and unable:
            fault = fault or Fault(unable, str(plan.place.path))
    if sealed:
        fault = fault or _uncovered(plan, whole)
    return LogReport(
        log=plan.log,
        directory=str(plan.place.path),
        entries=whole.tree.size,
        sealed=plan.checkpoint.size if plan.checkpoint else 0,
        root=whole.tree.root().hex(),
        closed=whole.closed,
        torn_bytes=whole.torn_bytes,
        gaps=whole.gaps,
        gap_count=whole.gap_count,
        fault=fault,
        not_checked=tuple(unchecked),
        anchors=given.newest(plan.log),
        disclosed=whole.disclosed,
        pruned=whole.pruned,
    )


def _end(plan: Plan, whole: Whole, what: str) -> Fault:
    """A fault at the place where the next entry would be."""
    last = plan.listing.last
    file = plan.place.path / "entries" / (segment_name(last * SEGMENT_ENTRIES) if last >= 0 else "")
    line = whole.tree.size - SEGMENT_ENTRIES * max(0, last) + 1
    return Fault(what, str(file), line, whole.tree.size)


def _against_checkpoint(plan: Plan, whole: Whole, level: int) -> Fault | None:
    checkpoint, file = plan.checkpoint, str(plan.place.path / "checkpoint")
    if checkpoint is None:
        if level < 3 and whole.tree.size:
            return Fault(f"missing: at level {level} nothing else is signed", file)
        return None
    if checkpoint.size > whole.tree.size:
        return _end(plan, whole, f"the log ends here, but its checkpoint covers {checkpoint.size} entries")
    if whole.roots.get(checkpoint.size) != checkpoint.root:
        return Fault(f"its root is not that of the first {checkpoint.size} entries on disk", file)
    if plan.opening.log not in ("", checkpoint.log):
        return Fault("it is of another log than the entries", file)
    return None


def unsaid(plan: Plan, said: set[tuple[str, int]], level: int) -> Fault | None:
    """The first segment that is pruned though no `prune` entry, in a control log that verifies, says so."""
    for number in plan.listing.pruned if level > 1 else ():
        if (plan.log, number) not in said:
            file = plan.place.path / "entries" / segment_name(number * SEGMENT_ENTRIES)
            what = "missing, and no `prune` entry of a control log that is here and verifies says so"
            return Fault(what, str(file), seq=number * SEGMENT_ENTRIES)
    return None


def _against_anchors(plan: Plan, whole: Whole, given: Given) -> Fault | None:
    anchor = given.contradicting(plan.log, whole.tree.size, whole.roots)
    if anchor is None:
        return None
    if anchor.size > whole.tree.size:
        seen = f"{anchor.size} entries were anchored outside: {anchor.file}"
        return _end(plan, whole, f"rolled back: the log ends here, but {seen}")
    return Fault(f"its root is not that of the first {anchor.size} entries on disk", anchor.file)


def absent(given: Given, plans: list[Plan]) -> tuple[list[Fault], list[str]]:
    """Anchored logs that are not here: faults where others of the same worker are, since a tree has all."""
    here = {plan.log for plan in plans}
    workers = {plan.log.rpartition("/")[0]: plan for plan in plans if plan.place.below}
    faults, elsewhere = [], []
    for log in sorted(given.anchors.keys() - here):
        plan = workers.get(log.rpartition("/")[0])
        if plan is None:
            elsewhere.append(f"anchors of {log}: it is not here")
        else:
            what = f"missing: {max(given.sizes(log))} entries of {log} were anchored outside"
            faults.append(Fault(what, str(plan.place.path.parent)))
    return faults, elsewhere


def _uncovered(plan: Plan, whole: Whole) -> Fault | None:
    covered = plan.checkpoint.size if plan.checkpoint else 0
    if covered >= whole.tree.size:
        return None
    return Fault(f"from seq {covered} on no checkpoint covers what is here", str(plan.place.path), 0, covered)


def _against_directory(plan: Plan) -> Fault | None:
    """In a tree, `<worker>/<epoch>` are the last parts of the log's name. A single log may lie anywhere."""
    names = plan.place.below[-2:]
    if not plan.log or not names or tuple(plan.log.split("/")[-len(names) :]) == names:
        return None
    return Fault(f"the directory is not where {plan.log} belongs", str(plan.place.path))


def _torn(plan: Plan, whole: Whole, epochs: Epochs) -> Fault | None:
    why = epochs.torn(plan.log, whole.extent)
    return _end(plan, whole, why) if why else None


def _unchecked(plan: Plan) -> list[str]:
    """What lies in the log's directory and is not looked at."""
    found = [f"entries/{name}" for name in plan.listing.others]
    found += [f"{name}: no part of this log" for name in files.strangers(plan.place.path)]
    if (plan.place.path / "tile").exists():
        found.append("tile/: what is no tile of these entries")
    if plan.checkpoint and len(plan.checkpoint.signatures) > 1:
        found.append(f"{len(plan.checkpoint.signatures) - 1} more signatures under the checkpoint")
    return found
