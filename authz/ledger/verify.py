"""Verifies a ledger from its stored bytes and pinned keys (EVIDENCE section 9).

In: a path (one epoch, or a tree of them), Trust, a level. Out: a Report. Called by `aegis verify`, by tests,
by whoever received a copy. It changes nothing, believes no stored hash, and nothing that is stored makes it
raise: OSError only says that something could not be read.

    level 1   the root over the stored lines is the checkpoint's, and that is signed by the pinned log key
    level 2   also every entry's form, place and chain; what an epoch says of the one it continues
    level 3   also every attestation, by the pinned record key that was in use there

A living log may be verified: entries after its checkpoint are reported as not yet sealed, an incomplete last
line as an unfinished write.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from authz.errors import IntegrityViolation
from authz.ledger import control, files, merkle, notes, pruned, segment, stored_tiles, vouching
from authz.ledger import sealed as sealed_logs
from authz.ledger.anchors import Given
from authz.ledger.bound import bound
from authz.ledger.certificates import Certified
from authz.ledger.disclosures.vault import Vault
from authz.ledger.epochs import Epochs, read_opening
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.judging import NONE_GIVEN, Plan, Whole, absent, judge, returned, revoked, unsaid
from authz.ledger.report import BY_LEVEL, NEVER_CHECKED, NO_ANCHORS, Fault, Report, exposure
from authz.ledger.trust import Trust

MAX_RUN: Final = 1 << 20  # segments that one `prune` entry names: more entries than a log has
PARALLEL_FROM: Final = 16 << 20  # bytes of entries from which on starting processes pays


def verify(
    path: Path,
    trust: Trust,
    level: int = 3,
    *,
    sealed: bool = False,
    processes: int = 1,
    given: Given = NONE_GIVEN,
    vault: Vault | None = None,
    now: float | None = None,
) -> Report:
    """Judge every log at or below `path`, its segments in up to `processes` processes, also against what was
    `given` of others outside; `now` (Unix seconds) is what the exposure counts to. Sealed disclosures are
    opened with the keys in `vault`.

    `sealed` is for a copy at rest: an entry that no checkpoint covers, and a log whose predecessor is not
    here, are faults, since then more may have been there.

    Raises OSError if something cannot be read, or if there is no log at all.
    """
    places, links = files.discover(path)
    if not places:
        raise FileNotFoundError(errno.ENOENT, "no log here: no directory holds `entries`", str(path))
    plans = [_plan(place, trust) for place in places]
    given = bound(given, plans)
    epochs = Epochs([plan.opening for plan in plans] if level > 1 else [])
    tasks = [_tasks(plan, epochs, trust, level, given, vault) for plan in plans]
    walks = _walks([task for share in tasks for task in share], processes)
    wholes = [
        _together(plan, islice(walks, len(share)), _sizes(plan, epochs, given))
        for plan, share in zip(plans, tasks, strict=True)
    ]
    extents = {plan.log: whole.extent for plan, whole in zip(plans, wholes, strict=True)}
    for plan, fault in returned(plans, wholes):
        wholes[plans.index(plan)].fault = fault
    for plan, whole in zip(plans, wholes, strict=True):
        given = given.comparable(plan.log, whole.tree.size, whole.roots)
        whole.fault = whole.fault or revoked(plan, whole, trust, given)
    said = _said(plans, wholes, level)
    for plan, whole in zip(plans, wholes, strict=True):
        whole.fault = whole.fault or unsaid(plan, said, level)
    logs = tuple(
        judge(plan, whole, epochs, extents, level, sealed, given)
        for plan, whole in zip(plans, wholes, strict=True)
    )
    missing, elsewhere = absent(given, plans)
    faults = [log.fault for log in logs if log.fault] + [*given.faults, *missing]
    unchecked = (
        *BY_LEVEL[level],
        *(() if given.anchors or given.faults else (NO_ANCHORS,)),
        *NEVER_CHECKED,
        *given.unused,
        *elsewhere,
        *(f"{name} of the trust file: not used by this version" for name in trust.unused),
        *(f"{link}: a symbolic link, not followed" for link in links),
    )
    window = exposure(logs, time.time() if now is None else now)
    return Report(not faults, level, faults[0] if faults else None, logs, unchecked, window)


# -- before the walk: checkpoint and openings


def _plan(place: files.Place, trust: Trust) -> Plan:
    """Read everything but the entries. The checkpoint first: a living log only grows after it."""
    checkpoint, signers, fault = _read_checkpoint(place.path, trust)
    listing = files.segments(place.path)
    opening = read_opening(place.path, listing)
    return Plan(place, listing, opening, checkpoint, fault, signers)


def _read_checkpoint(
    directory: Path, trust: Trust
) -> tuple[notes.Checkpoint | None, tuple[bytes, ...], Fault | None]:
    """The stored checkpoint once a pinned key's signature under it is verified, and whose those are."""
    try:
        found = sealed_logs.read(directory, trust)
    except IntegrityViolation as violation:
        return None, (), Fault(violation.what, violation.file)
    return (found.checkpoint, found.signers, None) if found else (None, (), None)


# -- the walk


def _tasks(
    plan: Plan, epochs: Epochs, trust: Trust, level: int, given: Given, vault: Vault | None
) -> list[segment.Task]:
    sizes = _sizes(plan, epochs, given)
    certified = _certified(plan, trust if level == 3 else None)
    roots = b"".join(root.public_bytes(Encoding.PEM) for root in trust.record_roots) if level == 3 else b""
    return [
        segment.Task(
            file,
            number * SEGMENT_ENTRIES,
            number == plan.listing.last and plan.listing.fault is None,
            plan.log,
            level,
            trust.record_keys if level == 3 else (),
            certified,
            roots,
            tuple(size for size in sizes if size > number * SEGMENT_ENTRIES),
            disclosures=True,
            tiles=True,
            vault=vault,
        )
        for number, file in zip(plan.listing.numbers, plan.listing.files, strict=True)
    ]


def _certified(plan: Plan, trust: Trust | None) -> tuple[Certified, ...]:
    """The keys that this log's segments but the last bring certificates for. A living log only adds to that
    one, and its walk learns what it brings.
    """
    parts = plan.listing.parts(plan.place.path)
    if trust is None or len(parts) < 2:
        return ()
    return tuple(vouching.find(parts[:-1], trust.record_roots, plan.log))


def _sizes(plan: Plan, epochs: Epochs, given: Given) -> set[int]:
    """At which the roots of a log are wanted."""
    sizes = given.sizes(plan.log) | ({plan.checkpoint.size} if plan.checkpoint else set())
    return sizes | set(epochs.cuts(plan.log))


def _walks(tasks: list[segment.Task], processes: int) -> Iterator[segment.Walked]:
    """The walks of `tasks` in their order; in other processes when there is enough to do."""
    if processes < 2 or len(tasks) < 2 or sum(task.file.stat().st_size for task in tasks) < PARALLEL_FROM:
        yield from map(segment.walk, tasks)
        return
    try:
        with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=get_context("spawn")) as pool:
            yield from pool.map(segment.walk, tasks)
    except BrokenProcessPool:
        raise ChildProcessError(errno.ECHILD, "a verifying process ended early") from None


def _together(plan: Plan, walks: Iterable[segment.Walked], sizes: set[int]) -> Whole:
    """Segments -> log: each must follow the one before. Every walk is taken, since others come after them."""
    whole = Whole(merkle.CompactRange(), {0: merkle.EMPTY_HASH})
    walked = dict(zip(plan.listing.numbers, walks, strict=True))
    for number in sorted({*walked, *plan.listing.pruned}):
        if whole.fault:
            break
        found = walked.get(number) or _left(plan, number, sizes)
        file = plan.place.path / "entries" / segment_name(number * SEGMENT_ENTRIES)
        what = _not_next(whole, found)
        if what:
            whole.fault = Fault(what, str(file), 1, number * SEGMENT_ENTRIES)
        else:
            _add(whole, found)
    whole.fault = whole.fault or plan.listing.fault
    whole.odd_tile = whole.odd_tile or stored_tiles.odd_above(plan.place.path, whole.segments)
    return whole


def _not_next(whole: Whole, found: segment.Walked) -> str:
    """Why a segment cannot follow what is `whole` so far; "" if it can."""
    if found.entries and whole.tip and found.previous not in ("", whole.tip):
        return "previous_entry_hash: not the hash of what is before this segment"
    if found.entries and whole.closed:
        return "an entry after `close`"
    try:
        (whole.succession.resume if whole.resumed else whole.succession.follow)(found.succession)
    except ValueError as error:
        return str(error)
    return ""


def _left(plan: Plan, number: int, sizes: set[int]) -> segment.Walked:
    """What is left of a pruned segment, as if it had been walked."""
    log, first = plan.place.path, number * SEGMENT_ENTRIES
    try:
        tree = pruned.tree(log, number, pruned.read(log, number))
    except ValueError as error:
        fault = Fault(str(error), str(pruned.marker_file(log, number)), seq=first)
        return segment.Walked(merkle.CompactRange(), fault=fault)
    at = {first + tree.size: tree.copy()} if first + tree.size in sizes else {}
    return segment.Walked(tree, at=at, pruned=True)


def _said(plans: list[Plan], wholes: list[Whole], level: int) -> set[tuple[str, int]]:
    """The logs and segments that were pruned, as the entries of their deployment's control log say that
    somebody vouches for: the record key at level 3, or the log key by the checkpoint over them.
    """
    said: set[tuple[str, int]] = set()
    for plan, whole in zip(plans, wholes, strict=True):
        deployment, _, rest = plan.log.partition("/")
        if whole.fault or plan.checkpoint_fault or not rest.startswith(f"{control.WORKER}/"):
            continue
        seal = plan.checkpoint
        covered = seal.size if seal and whole.roots.get(seal.size) == seal.root else 0
        for each in whole.deletions:
            if each.of.startswith(f"{deployment}/") and (level == 3 or each.seq < covered):
                last = min(each.last, each.first + MAX_RUN)
                said.update((each.of, number) for number in range(each.first, last + 1))
    return said


def _add(whole: Whole, walked: segment.Walked) -> None:
    for size, part in walked.at.items():
        tree = whole.tree.copy()
        tree.join(part)
        whole.roots[size] = tree.root()
    whole.tree.join(walked.tree)
    if walked.entries == SEGMENT_ENTRIES:
        whole.segments.append(walked.tree.root())
    whole.tip = "" if walked.pruned else walked.tip or whole.tip
    whole.resumed = walked.pruned
    whole.pruned += walked.entries if walked.pruned else 0
    whole.deletions += walked.deletions
    whole.closed = whole.closed or walked.closed
    whole.torn_bytes = walked.torn_bytes
    whole.issuers |= walked.issuers
    whole.gaps = (whole.gaps + walked.gaps)[: segment.MAX_GAPS]
    whole.gap_count += walked.gap_count
    whole.fault = walked.fault
    whole.odd_tile = whole.odd_tile or walked.odd_tile
    whole.disclosed.add(walked.disclosed)
    whole.unfit = whole.unfit or walked.unfit
