"""What anchors have seen of a log beyond what this disk says: then the disk was rolled back, or copied.

    anchor.larger(log, size) -> a checkpoint that our own log key signed -> the checkpoint store knows it

In: anchors, a log and its size here. Out: sizes and roots that were signed, of whose truth nobody needs to be
asked: who makes them up cannot sign. Called when worker or follower starts, and when an anchor contradicts.
From the store it takes the way of every rollback: `gap`, then a new epoch (EVIDENCE section 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

import structlog

from authz.errors import EvidenceUnavailable
from authz.followers.anchors.anchor import Anchor, Contradicted, Refused, Unavailable
from authz.ledger import notes
from authz.ledger.checkpoints import CheckpointStore
from authz.ledger.held import Seal

log = structlog.get_logger(__name__)

MAX_ASKING: Final = 8  # threads


class AtStart:
    """What anchors have seen, for a worker that starts (`ledger.opening.Outside`): each question waits for at
    most `wait_s` seconds.
    """

    def __init__(self, anchors: Sequence[Anchor], wait_s: float) -> None:
        self._anchors, self._wait_s = anchors, wait_s

    def beyond(self, log: str, size: int, publics: Sequence[bytes]) -> list[Seal]:
        return beyond(self._anchors, log, size, publics, self._wait_s)

    def newer(self, prefix: str, after: str, publics: Sequence[bytes]) -> list[str]:
        names: set[str] = set()
        for anchor in self._anchors:
            try:
                names.update(anchor.logs(prefix))
            except (Unavailable, Refused) as error:
                log.warning("anchor_not_asked", anchor=anchor.kind, log=prefix, error=str(error))
        # Anybody who can write there can make a name up: it counts with a checkpoint that we signed.
        return [name for name in sorted(names) if name > after and self.beyond(name, 0, publics)]


def beyond(
    anchors: Sequence[Anchor], name: str, size: int, publics: Sequence[bytes], wait_s: float
) -> list[Seal]:
    """The seals of log `name` beyond `size` that anchors hold, as far as they say so within `wait_s`."""
    pool = ThreadPoolExecutor(min(len(anchors), MAX_ASKING) or 1, thread_name_prefix="anchors")
    try:
        asked = {pool.submit(_ask, anchor, name, size, publics): anchor for anchor in anchors}
        done, late = wait(asked, wait_s)
        for task in late:
            log.warning("anchor_not_asked", anchor=asked[task].kind, log=name, error="no answer in time")
        return [seal for task in done if (seal := task.result())]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def learn(store: CheckpointStore, name: str, seals: Iterable[Seal]) -> None:
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


def _ask(anchor: Anchor, name: str, size: int, publics: Sequence[bytes]) -> Seal | None:
    try:
        note = anchor.larger(name, size)
    except (Unavailable, Refused, Contradicted) as error:
        log.warning("anchor_not_asked", anchor=anchor.kind, log=name, error=str(error))
        return None
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
