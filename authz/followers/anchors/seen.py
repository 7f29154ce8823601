"""What anchors have seen of a log beyond what this disk says: then the disk was rolled back, or copied.

    anchor.larger(log, size) -> a checkpoint that our own log key signed -> the checkpoint store knows it

In: anchors, a log and its size here. Out: sizes and roots that were signed, of whose truth nobody needs to be
asked: who makes them up cannot sign. Called when worker or follower starts, and when an anchor contradicts.
From the store it takes the way of every rollback: `gap`, then a new epoch (EVIDENCE section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

import structlog

from authz.errors import EvidenceUnavailable
from authz.followers.anchors.anchor import Anchor, Contradicted, Refused, Unavailable
from authz.ledger import notes
from authz.ledger.checkpoints import Checkpoints
from authz.ledger.held import Seal

log = structlog.get_logger(__name__)

MAX_ASKING: Final = 8  # threads
MAX_NEWER: Final = 8  # logs that are asked about though they are not here

Answer = TypeVar("Answer")


class AtStart:
    """What anchors have seen, for a worker that starts (`ledger.opening.Outside`): each question waits for at
    most `wait_s` seconds.
    """

    def __init__(self, anchors: Sequence[Anchor], wait_s: float) -> None:
        self._anchors, self._wait_s = anchors, wait_s

    def beyond(self, log: str, size: int, publics: Sequence[bytes]) -> list[Seal]:
        return beyond(self._anchors, log, size, publics, self._wait_s)

    def newer(self, prefix: str, after: str, publics: Sequence[bytes]) -> list[str]:
        found = _ask_all(self._anchors, lambda anchor: anchor.logs(prefix), prefix, self._wait_s)
        names = {name for names in found for name in names if name > after}
        # Anybody who can write there can make a name up: it counts with a checkpoint that we signed.
        return [name for name in sorted(names)[-MAX_NEWER:] if self.beyond(name, 0, publics)]


def beyond(
    anchors: Sequence[Anchor], name: str, size: int, publics: Sequence[bytes], wait_s: float
) -> list[Seal]:
    """The seals of log `name` beyond `size` that anchors hold, as far as they say so within `wait_s`."""
    found = _ask_all(anchors, lambda anchor: _seal(anchor, name, size, publics), name, wait_s)
    return [seal for seal in found if seal]


def learn(store: Checkpoints, name: str, seals: Iterable[Seal]) -> None:
    """Make the store know of `seals`. Raises IntegrityViolation if it knows another root for the same size,
    EvidenceUnavailable.
    """
    for size, root in sorted(seals):
        known = store.latest(name)
        if known is None or size >= known[0]:
            if known is None or size > known[0]:
                log.error("anchor_saw_more", log=name, size=size, here=known[0] if known else 0)
            if not store.advance(name, size, root, expected=known[0] if known else 0):
                raise EvidenceUnavailable(f"{name}: another process seals this log too")


def _ask_all(
    anchors: Sequence[Anchor], question: Callable[[Anchor], Answer], about: str, wait_s: float
) -> list[Answer]:
    """What was answered in time; who did not answer is said."""
    pool = ThreadPoolExecutor(min(len(anchors), MAX_ASKING) or 1, thread_name_prefix="anchors")
    try:
        asked = {pool.submit(question, anchor): anchor for anchor in anchors}
        wait(asked, wait_s)
        return [answer for task, anchor in asked.items() for answer in _answer(task, anchor, about)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(task: Future[Answer], anchor: Anchor, about: str) -> list[Answer]:
    try:
        return [task.result(0)]
    except TimeoutError:
        error = "no answer in time"
    except (Unavailable, Refused, Contradicted) as raised:
        error = str(raised)
    log.warning("anchor_not_asked", anchor=anchor.kind, log=about, error=error)
    return []


def _seal(anchor: Anchor, name: str, size: int, publics: Sequence[bytes]) -> Seal | None:
    note = anchor.larger(name, size)
    if note is None:
        return None
    try:
        checkpoint = notes.parse(note)
    except ValueError:
        checkpoint = None
    if checkpoint is None or checkpoint.log != name or not notes.signed_by(checkpoint, *publics):
        log.warning("anchor_not_believed", anchor=anchor.kind, log=name)
        return None
    return (checkpoint.size, checkpoint.root) if checkpoint.size > size else None
