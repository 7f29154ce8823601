"""Which policy version is meant to be in force, by the deployment's own word: control log and outbox.

In: the root of the control logs, the outbox, a revision, the time. Out: a Standing. Asked by a worker, in a
thread, when OPA shows another version than before: who took the bundle server's port can offer OPA whatever
was ever signed, but cannot write here. Of what is said, newest first, the first of these decides:

    an activation of the revision itself                             it stands
    an activation of another one, that failed                        the one before counts
    an activation of another one, less than `within_s` seconds ago   not there yet: the one before counts
    an activation of another one                                     it does not stand
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.config import Settings
from authz.errors import EvidenceUnavailable, IntegrityViolation
from authz.ledger import control
from authz.ledger.outbox import MAX_WAITING, Outbox
from authz.ledger.recent import Watch

_KIND: Final = b'"kind":"policy"'  # entries are canonical: it is written in no other way


class Standing(Struct, frozen=True):
    """`refusal`: why the version may not decide, "" if it may. `settled`: time changes nothing of it."""

    refusal: str
    settled: bool = True


def standings(settings: Settings) -> Callable[[str], Standing] | None:
    """How a revision stands now, for a worker whose settings want to know."""
    within_s = settings.policy.named_s
    if not within_s:
        return None
    root = settings.ledger_directory.with_name(control.WORKER)
    return lambda revision: standing(root, settings.outbox, revision, within_s, datetime.now(UTC))


def standing(root: Path, outbox: Path, revision: str, within_s: float, now: datetime) -> Standing:
    """Of the version `revision`; what cannot be read is a refusal."""
    failed: set[str] = set()
    settled = True
    try:
        for said in _events(root, outbox):
            other = f"{said['policy_version']}+{said['policy_digest']}"
            if said["action"] == "fail":
                failed.add(other)
            if said["action"] not in ("activate", "rollback"):
                continue
            if other == revision:
                return Standing("", settled)
            if other in failed:
                continue
            if datetime.fromisoformat(said["event_time"]) < now - timedelta(seconds=within_s):
                return Standing(f"{other.partition('+')[0]} was activated at {said['event_time']}", settled)
            settled = False
    except (EvidenceUnavailable, IntegrityViolation, OSError) as error:
        return Standing(f"the control log cannot be read: {error}", settled=False)
    except (KeyError, ValueError, TypeError):
        return Standing("the control log has an entry that is none", settled=False)
    return Standing("the control log has no activation of it", settled)


def _events(root: Path, outbox: Path) -> Iterator[dict[str, Any]]:
    """About policy, the newest first: what waits, then what is written."""
    with Outbox(outbox) as waits:
        waiting = [
            event.members | {"event_time": event.at}
            for event in waits.waiting(MAX_WAITING)
            if event.kind == "policy"
        ]
    written = chain.from_iterable(Watch(root).back()) if root.is_dir() else iter(())
    yield from reversed(waiting)
    yield from (canonical.parse(line) for line in written if _KIND in line)
