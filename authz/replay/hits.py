"""How many recorded decisions a policy could have answered from its cache, and which fact costs most of them.

In: Recorded decisions in the order of their logs, what a policy reads, and what the facts of each version
that decided hold. Out: Hits. Called by `aegis policy facts`. Questions are made of the recorded facts as a
worker would make them, and go through its cache at the times of the record: one cache for each log, since
each worker has its own.

What was not kept of a payload is counted by the record's `params_hash`, all of it as one fact: a policy that
reads a single argument has fewer questions than that. What is masked counts as equal: there it has more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson
from msgspec import Struct

from authz.controls.facts import PAYLOAD
from authz.policy.cache import NO_SCOPE, VerdictCache
from authz.policy.document import FIELDS
from authz.policy.facts import HEADERS, VOLATILE_HEADERS, WHOLE, is_volatile, outermost
from authz.policy.manifest import EntryPoint, Path
from authz.replay import coverage
from authz.replay.judges import Judges
from authz.replay.recorded import Recorded, Why
from authz.replay.version import Altered
from authz.values import Decision, Verdict

PARAMETERS: Final = "parameters"  # stands for the parts of a payload that were not kept
_KEPT: Final = Verdict(Decision.ALLOW, "kept")
Held = Callable[[Recorded], EntryPoint | None]


class Split(Struct, frozen=True):
    """A fact, how many values it had, and what would be left of keys and come in hits without it."""

    path: Path | str
    values: int
    keys_without: int
    hits_without: int


class Hits(Struct, frozen=True):
    """Of `decisions`, `counted` have facts that say what this policy would have been asked; `unknown`: why
    others do not. `hits`: of a cache of `ttl_s` seconds. `recorded`: what the records say of the cache.
    """

    decisions: int
    counted: int
    unknown: dict[Why, int]
    by_parameters: int  # of `counted`, whose payload is known by its hash
    keys: int
    hits: int
    ttl_s: float
    recorded: dict[str, int]
    splits: tuple[Split, ...]


class _Asked(Struct, frozen=True):
    """One question: where and when (seconds), the values of its facts in order, and which of these keep its
    verdict from being kept.
    """

    log: str
    at: float
    values: tuple[bytes, ...]
    volatile: tuple[int, ...]


class Counting:
    """Of one policy. `held`: what the facts of a decision hold, None where the version is not known; `ttl_s`
    and `size` are those of the cache.
    """

    def __init__(
        self, entry: EntryPoint, held: Held, *, deterministic: bool, ttl_s: float, size: int
    ) -> None:
        self._entry, self._held, self._deterministic = entry, held, deterministic
        self._ttl_s, self._size = ttl_s, size
        self._paths = _fields(outermost(entry.facts if entry.prune else ((),)))
        self._volatile = tuple(place for place, path in enumerate(self._paths) if is_volatile(path))
        self._asked: list[_Asked] = []
        self._shared: dict[bytes, bytes] = {}
        self._unknown: Counter[Why] = Counter()
        self._recorded: Counter[str] = Counter()
        self._by_parameters = 0

    def add(self, recorded: Recorded) -> None:
        """Decisions of one log come in its order."""
        self._recorded[str(recorded.members.get("cache", "none"))] += 1
        why = self._obstacle(recorded)
        if why is not None:
            self._unknown[why] += 1
            return
        document = orjson.loads(recorded.question)
        hidden = coverage.missed(self._entry, recorded.masked)
        stands_in = any(part in PAYLOAD for part in hidden)
        self._by_parameters += stands_in
        values: list[Any] = [_value(document, path) for path in self._paths]
        values.append(recorded.members.get("params_hash") if stands_in else None)
        said = (orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in values)
        shared = tuple(self._shared.setdefault(text, text) for text in said)
        at = datetime.fromisoformat(str(recorded.members["timestamp"])).timestamp()
        self._asked.append(_Asked(recorded.log, at, shared, self._volatile + self._headers(values)))

    def _obstacle(self, recorded: Recorded) -> Why | None:
        if recorded.why is not None:
            return recorded.why
        held = self._held(recorded)
        return Why.VERSION_UNKNOWN if held is None else coverage.obstacle(held, self._entry, ())

    def _headers(self, values: list[Any]) -> tuple[int, ...]:
        """The place of all headers, if one of them is volatile."""
        place = self._paths.index(HEADERS) if HEADERS in self._paths else -1
        names = values[place][0] if place >= 0 and len(values[place]) == 1 else {}
        volatile = isinstance(names, dict) and not VOLATILE_HEADERS.isdisjoint(names)
        return (place,) if volatile else ()

    def result(self, most: int = 8) -> Hits:
        """With the facts without which there were fewer keys: the `most` that cost most of them."""
        names: list[Path | str] = [*self._paths, PARAMETERS]
        keys = {asked.values for asked in self._asked}
        costs = sorted(
            (len({_without(key, place) for key in keys}), place, len({key[place] for key in keys}))
            for place in range(len(names))
        )
        splits = (
            Split(names[place], values, left, self._hits(place))
            for left, place, values in costs
            if left < len(keys)
        )
        return Hits(
            decisions=len(self._asked) + self._unknown.total(),
            counted=len(self._asked),
            unknown=dict(self._unknown),
            by_parameters=self._by_parameters,
            keys=len(keys),
            hits=self._hits(None),
            ttl_s=self._ttl_s,
            recorded=dict(self._recorded),
            splits=tuple(islice(splits, most)),
        )

    def _hits(self, left_out: int | None) -> int:
        """Of a cache of each log, by the times of the record, without one of the facts."""
        if not self._deterministic:
            return 0
        caches: dict[str, VerdictCache] = {}
        for asked in self._asked:
            if any(place != left_out for place in asked.volatile):
                continue
            if asked.log not in caches:
                caches[asked.log] = VerdictCache(self._size, self._ttl_s)
            cache = caches[asked.log]
            values = asked.values if left_out is None else _without(asked.values, left_out)
            question = b",".join(values)
            if cache.get(NO_SCOPE, question, asked.at) is None:
                cache.put(NO_SCOPE, question, _KEPT, asked.at)
        return sum(cache.hits for cache in caches.values())


def held_by(judges: Judges) -> Held:
    """What the facts of a decision hold, by the published version that it names."""

    def held(recorded: Recorded) -> EntryPoint | None:
        if recorded.digest == "none":
            return WHOLE
        try:
            decided = judges.published(recorded.digest)
        except Altered:
            return None
        return judges.entry(decided.analysis) if decided else None

    return held


def _fields(paths: Iterable[Path]) -> list[Path]:
    """A path that takes in several fields as these, so that each is counted by itself."""
    found: list[Path] = []
    for path in paths:
        below = [field for field in FIELDS if len(field) > len(path) and field[: len(path)] == path]
        found += below or [path]
    return found


def _without(values: tuple[bytes, ...], place: int) -> tuple[bytes, ...]:
    return values[:place] + values[place + 1 :]


def _value(document: Any, path: Path) -> list[Any]:
    """`[value]` of a fact; `[steps, what stands there]` where something stands in its way or nothing is."""
    value = document
    for steps, name in enumerate(path):
        if not isinstance(value, dict):
            return [steps, value]
        if name not in value:
            return [steps, None]
        value = value[name]
    return [value]
