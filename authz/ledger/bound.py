"""What anchored logs say of other logs: who has seen the one has seen the other, and no later.

    control log, anchored      log_head: `of`, `size`, `root` of a worker's log
    any log, anchored          open: previous_log, previous_size, previous_root

In: anchors as they were given, the logs that are here. Out: the same and more. Called by the verifier before
it walks: what a log says counts only if it holds itself, which the walk then finds. It reads the entries of
anchored control logs once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from authz import canonical
from authz.ledger import control, files
from authz.ledger.anchors import Anchor, Given
from authz.ledger.journal import SEGMENT_ENTRIES
from authz.ledger.judging import Plan
from authz.ledger.members import HASH, LOG

# How the canonical form writes it; in a string its quotes would be escaped.
_HEAD: Final = b'"kind":"log_head"'


class _Said(Struct, frozen=True):
    """Entry `seq`, at `where`, says that `log` had this root at this size."""

    seq: int
    log: str
    size: int
    root: bytes
    where: str


def bound(given: Given, plans: Sequence[Plan]) -> Given:
    """`given` with what follows from it for the logs that anchored ones speak of. Raises OSError."""
    anchors = {log: list(found) for log, found in given.anchors.items()}
    for plan in sorted(plans, key=_order, reverse=True):
        if found := anchors.get(plan.log):
            for anchor in _follows(plan, found):
                anchors.setdefault(anchor.log, []).append(anchor)
    return msgspec.structs.replace(given, anchors=anchors)


def _order(plan: Plan) -> tuple[bool, str]:
    """Who speaks of others comes behind them: the control log of workers, a later epoch of earlier ones."""
    return _is_control(plan.log), plan.log


def _follows(plan: Plan, anchors: list[Anchor]) -> Iterator[Anchor]:
    """Of each log that is spoken of, what each who saw this one has seen first."""
    for by in sorted({anchor.by for anchor in anchors}):
        seen = sorted((anchor for anchor in anchors if anchor.by == by), key=lambda anchor: anchor.size)
        latest: dict[str, _Said] = {}
        known: dict[str, int] = {}
        said = _said(plan, seen[-1].size)
        following = next(said, None)
        for anchor in seen:
            while following and following.seq < anchor.size:
                latest[following.log] = following
                following = next(said, None)
            for log, each in latest.items():
                if each.size > known.get(log, 0):
                    known[log] = each.size
                    yield Anchor(log, each.size, each.root, each.where, by, anchor.at, anchor.until)


def _said(plan: Plan, upto: int) -> Iterator[_Said]:
    """In order; only entries below number `upto`."""
    opening = plan.opening
    if opening.previous_log and HASH.fullmatch(opening.previous_root):
        root = bytes.fromhex(opening.previous_root)
        yield _Said(0, opening.previous_log, opening.previous_size, root, f"{opening.file}, line 1")
    if not _is_control(plan.log):
        return
    for segment, file in zip(plan.listing.numbers, plan.listing.files, strict=True):
        seq = segment * SEGMENT_ENTRIES
        with files.open_regular(file) as stream:
            for number, line in enumerate(files.lines(stream), 1):
                if seq >= upto:
                    return
                if _HEAD in line and (said := _head(line, seq, f"{file}, line {number}")):
                    yield said
                seq += 1


def _head(line: bytes, seq: int, where: str) -> _Said | None:
    """None for what is no head: the walk says what is wrong with it."""
    try:
        members: dict[str, Any] = canonical.parse(line.removesuffix(b"\n"))
        said = {name: members[name] for name in ("of", "size", "root")}
        control.check("log_head", said)
    except (ValueError, KeyError):
        return None
    return _Said(seq, said["of"], said["size"], bytes.fromhex(said["root"]), where)


def _is_control(log: str) -> bool:
    return LOG.fullmatch(log) is not None and log.split("/")[1] == control.WORKER
