"""Whether any record contradicts the version that it names, from the ledger's files and OPA's own word.

In: records, and when OPA says that it activated each version. Out: counts, and every contradiction. Version
`v<n>` puts its number into each record twice: into the reason code by its Rego, into the rule by its data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

LATEST_S = 1.0  # after OPA's activation no answer of an older version may come


class Activation(Struct, frozen=True):
    """Of version `v<number>`, at `at` (seconds since the epoch, by OPA's clock)."""

    number: int
    at: float


class Judgement(Struct):
    """`latest_s`: how long after the next version's activation an older one still answered, at most, from
    OPA or (`latest_hit_s`) from the cache.
    """

    records: int = 0
    by_cache: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)  # by reason code
    mixed: int = 0
    late: int = 0
    versions: set[int] = set()
    latest_s: float = 0.0
    latest_hit_s: float = 0.0
    faults: list[str] = []


def judge(records: Iterable[Mapping[str, Any]], activations: Sequence[Activation]) -> Judgement:
    """`activations` in their order, with ascending numbers."""
    found = Judgement()
    times = [each.at for each in activations]
    for record in records:
        found.records += 1
        found.by_cache[record["cache"]] += 1
        said = (record["decision"], record["policy_version"], record["reason_code"], record["rule"])
        number = int(said[1].removeprefix("v")) if said[1].startswith("v") else -1
        if said != ("allow", f"v{number}", f"from_v{number}", f"rule_v{number}"):
            found.faults.append(f"{record['decision_id']}: {said}")
            if said[0] == "allow":
                found.mixed += 1
            else:
                found.denied[said[2]] += 1
            continue
        found.versions.add(number)
        at = datetime.fromisoformat(record["timestamp"]).timestamp()
        over = [each for each in activations[: bisect_right(times, at)] if each.number > number]
        if over:
            _late(found, record, at - over[0].at)
    return found


def _late(found: Judgement, record: Mapping[str, Any], late_s: float) -> None:
    if record["cache"] == "hit":
        found.latest_hit_s = max(found.latest_hit_s, late_s)
    else:
        found.latest_s = max(found.latest_s, late_s)
    if late_s > LATEST_S:
        found.late += 1
        found.faults.append(
            f"{record['decision_id']}: {record['policy_version']} ({record['cache']}) {late_s:.3f} s late"
        )
