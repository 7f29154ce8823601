"""What a candidate would have decided otherwise, counted: by rule, by agent, by destination.

In: Replayed, one after the other. Out: Changes, for people, programs and metrics. Called by `aegis policy
candidate` and the follower. It holds no facts: names, counts, and ids of a few decisions as examples.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from msgspec import Struct, field

from authz.replay.compare import Outcome
from authz.replay.replaying import Replayed

EXAMPLES: Final = 3  # decision ids of each group
MAX_GROUPS: Final = 1000  # of each kind; what comes after them is counted together
OTHERS: Final = "(others)"


class Group(Struct):
    """Decisions of one name that would turn the same way; `examples` are ids of them."""

    name: str
    before: str
    now: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Changes(Struct):
    """`turned` would be decided otherwise; `reasoned` would be decided the same way by another rule, for
    another reason or with other obligations; `left_out` cannot be replayed, by why.
    """

    decisions: int = 0
    same: int = 0
    turned: int = 0
    reasoned: int = 0
    faults: int = 0  # the candidate has no usable answer, and so denies
    left_out: Counter[str] = field(default_factory=Counter)
    first: str = ""  # time of the first decision that counts, and of the last
    last: str = ""
    rules: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    agents: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    destinations: dict[tuple[str, str, str], Group] = field(default_factory=dict)

    @property
    def replayed(self) -> int:
        return self.same + self.turned + self.reasoned

    def add(self, replayed: Replayed) -> None:
        members, now = replayed.recorded.members, replayed.now
        at = str(members.get("timestamp", ""))
        self.first, self.last = min(self.first or at, at), max(self.last, at)
        self.decisions += 1
        self.faults += replayed.judged is not None and replayed.judged.fault is not None
        if now is None:
            self.left_out[str(replayed.why)] += 1
        elif not replayed.differs:
            self.same += 1
        elif not replayed.turned:
            self.reasoned += 1
        else:
            self.turned += 1
            self._group(replayed.before, now, members, replayed.recorded.decision_id)

    def _group(self, before: Outcome, now: Outcome, members: dict[str, Any], decision_id: str) -> None:
        names = (
            (self.rules, f"{before.rule} -> {now.rule}"),
            (self.agents, str(members.get("agent_id"))),
            (self.destinations, destination(str(members.get("endpoint")))),
        )
        for groups, name in names:
            key = (name, before.decision, now.decision)
            if key not in groups and len(groups) >= MAX_GROUPS:
                key = (OTHERS, before.decision, now.decision)
            group = groups.setdefault(key, Group(*key))
            group.count += 1
            if len(group.examples) < EXAMPLES:
                group.examples.append(decision_id)

    def as_object(self) -> dict[str, Any]:
        """For programs; the largest groups first."""
        return {
            "decisions": self.decisions,
            "replayed": self.replayed,
            "same": self.same,
            "turned": self.turned,
            "same_decision_other_reason": self.reasoned,
            "without_answer": self.faults,
            "not_replayable": dict(self.left_out.most_common()),
            "from": self.first,
            "to": self.last,
            "by_rule": _listed(self.rules),
            "by_agent": _listed(self.agents),
            "by_destination": _listed(self.destinations),
        }


def largest(groups: dict[tuple[str, str, str], Group]) -> list[Group]:
    return sorted(groups.values(), key=lambda group: (-group.count, group.name, group.before, group.now))


def destination(endpoint: str) -> str:
    """Scheme, host and port of a record's `endpoint`."""
    scheme, mark, rest = endpoint.partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}"


def _listed(groups: dict[tuple[str, str, str], Group]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "before": each.before,
            "now": each.now,
            "count": each.count,
            "examples": each.examples,
        }
        for each in largest(groups)
    ]
