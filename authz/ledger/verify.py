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
from authz.ledger import files, merkle, notes, segment, stored_tiles, vouching
from authz.ledger import sealed as sealed_logs
from authz.ledger.anchors import Given
from authz.ledger.bound import bound
from authz.ledger.certificates import Certified
from authz.ledger.disclosures.vault import Vault
from authz.ledger.epochs import Epochs, Opening, read_opening
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.judging import NONE_GIVEN, Plan, Whole, absent, judge, returned, revoked
from authz.ledger.report import BY_LEVEL, NEVER_CHECKED, NO_ANCHORS, Fault, Report, exposure
from authz.ledger.trust import Trust

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
    wholes = [_together(plan, islice(walks, len(share))) for plan, share in zip(plans, tasks, strict=True)]
    extents = {plan.log: whole.extent for plan, whole in zip(plans, wholes, strict=True)}
    for plan, fault in returned(plans, wholes):
        wholes[plans.index(plan)].fault = fault
    for plan, whole in zip(plans, wholes, strict=True):
        whole.fault = whole.fault or revoked(plan, whole, trust, given)
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
    opening = read_opening(listing.files[0]) if listing.files else Opening(place.path / "entries")
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
    sizes = given.sizes(plan.log) | ({plan.checkpoint.size} if plan.checkpoint else set())
    sizes.update(epochs.cuts(plan.log))
    last = len(plan.listing.files) - 1
    certified = _certified(plan, trust if level == 3 else None)
    roots = b"".join(root.public_bytes(Encoding.PEM) for root in trust.record_roots) if level == 3 else b""
    return [
        segment.Task(
            file,
            number * SEGMENT_ENTRIES,
            number == last and plan.listing.fault is None,
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
        for number, file in enumerate(plan.listing.files)
    ]


def _certified(plan: Plan, trust: Trust | None) -> tuple[Certified, ...]:
    """The keys that this log's segments but the last bring certificates for. A living log only adds to that
    one, and its walk learns what it brings.
    """
    if trust is None or len(plan.listing.files) < 2:
        return ()
    return tuple(vouching.find(plan.listing.files[:-1], trust.record_roots, plan.log))


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


def _together(plan: Plan, walks: Iterable[segment.Walked]) -> Whole:
    """Segments -> log: each must follow the one before. Every walk is taken, since others come after them."""
    whole = Whole(merkle.CompactRange(), {0: merkle.EMPTY_HASH})
    for number, (file, walked) in enumerate(zip(plan.listing.files, walks, strict=True)):
        if whole.fault:
            continue
        if walked.entries and walked.previous not in ("", whole.tip):
            what = "previous_entry_hash: not the hash of what is before this segment"
            whole.fault = Fault(what, str(file), 1, number * SEGMENT_ENTRIES)
        elif walked.entries and whole.closed:
            whole.fault = Fault("an entry after `close`", str(file), 1, number * SEGMENT_ENTRIES)
        else:
            try:
                whole.succession.follow(walked.succession)
            except ValueError as error:
                whole.fault = Fault(str(error), str(file), 1, number * SEGMENT_ENTRIES)
            else:
                _add(whole, walked)
    whole.fault = whole.fault or plan.listing.fault
    whole.odd_tile = whole.odd_tile or stored_tiles.odd_above(plan.place.path, whole.segments)
    return whole


def _add(whole: Whole, walked: segment.Walked) -> None:
    for size, part in walked.at.items():
        tree = whole.tree.copy()
        tree.join(part)
        whole.roots[size] = tree.root()
    whole.tree.join(walked.tree)
    if walked.entries == SEGMENT_ENTRIES:
        whole.segments.append(walked.tree.root())
    whole.tip = walked.tip or whole.tip
    whole.closed = whole.closed or walked.closed
    whole.torn_bytes = walked.torn_bytes
    whole.issuers |= walked.issuers
    whole.gaps = (whole.gaps + walked.gaps)[: segment.MAX_GAPS]
    whole.gap_count += walked.gap_count
    whole.fault = walked.fault
    whole.odd_tile = whole.odd_tile or walked.odd_tile
    whole.disclosed.add(walked.disclosed)
    whole.unfit = whole.unfit or walked.unfit
