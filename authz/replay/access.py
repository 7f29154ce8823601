"""Says who reads disclosures, before a byte of them is shown: `access` events of the control log.

In: the outbox, entries whose disclosures were opened, the reason. Out: nothing; durable when it returns, or
ConfigError, and then nothing may be shown. Called by all commands that read disclosures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from authz import who
from authz.errors import ConfigError
from authz.ledger.outbox import Outbox
from authz.replay.recorded import Recorded
from authz.replay.replaying import CHUNK


def say(outbox: Outbox, entry: Mapping[str, Any], names: Sequence[str], why: str) -> None:
    """Of one decision: `names` of its disclosures."""
    _put(outbox, names, why, of=entry["log"], at_seq=entry["seq"], decision_id=entry["decision_id"])


def said(found: Iterable[Recorded], outbox: Outbox, why: str) -> Iterator[Recorded]:
    """The same decisions, once the reading of their disclosures is said: one event for each run of a log."""
    rest = iter(found)
    while chunk := list(islice(rest, CHUNK)):
        runs: dict[str, list[Recorded]] = {}
        for each in chunk:
            if each.names:
                runs.setdefault(each.log, []).append(each)
        for log, opened in runs.items():
            names = sorted({name for each in opened for name in each.names})
            if len(opened) == 1:
                say(outbox, opened[0].members, names, why)
            else:
                _put(outbox, names, why, of=log, at_seq=opened[0].seq, to_seq=opened[-1].seq)
        yield from chunk


def _put(outbox: Outbox, names: Sequence[str], why: str, **where: Any) -> None:
    try:
        outbox.put("access", {"who": who.runs_this(), "why": why, "names": list(names), **where})
    except ValueError as error:
        raise ConfigError(str(error)) from None
