"""Puts recorded decisions to policy again: each to the version that decided, or all of them to a candidate.

In: Recorded, Judges, a candidate or none. Out: one Replayed for each, in order. Called by `aegis replay`,
`aegis verify --level 4`, `aegis policy candidate` and the follower. A decision that cannot be replayed says
why; under the version that decided, one that comes out otherwise is a contradiction, and nothing hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy.facts import WHOLE
from authz.policy.manifest import EntryPoint
from authz.replay import compare, coverage
from authz.replay.compare import Difference, Outcome
from authz.replay.judges import Judged, Judges
from authz.replay.recorded import Recorded, Why
from authz.replay.version import Altered, GivenUp, NotJudged, NotRepeatable, Version

CHUNK: Final = 2000  # decisions put to versions together


class Replayed(Struct, frozen=True):
    """A decision put to version `under`: what that says and what `differs` from the record; or `why` not,
    with a `detail` where there is more to say.
    """

    recorded: Recorded
    under: str = ""
    judged: Judged | None = None
    differs: tuple[Difference, ...] = ()
    why: Why | None = None
    detail: str = ""

    @property
    def before(self) -> Outcome:
        return compare.recorded_outcome(self.recorded.members)

    @property
    def now(self) -> Outcome | None:
        """What would be done; None if it was not replayed."""
        return compare.outcome(self.judged, self.recorded.members) if self.judged else None

    @property
    def turned(self) -> bool:
        """Whether it would be decided otherwise, and not only for another reason."""
        return self.now is not None and self.now.decision != self.before.decision


def replay(found: Iterable[Recorded], judges: Judges, candidate: Version | None = None) -> Iterator[Replayed]:
    """Raises what `found` raises, OSError, and NotJudged only for the candidate."""
    rest = iter(found)
    while chunk := list(islice(rest, CHUNK)):
        yield from _chunk(chunk, judges, candidate)


def _chunk(chunk: list[Recorded], judges: Judges, candidate: Version | None) -> Iterator[Replayed]:
    put = [_put(recorded, judges, candidate) for recorded in chunk]
    waiting: dict[str, list[int]] = {}
    versions: dict[str, Version] = {}
    for place, (version, _) in enumerate(put):
        if version is not None:
            waiting.setdefault(version.label, []).append(place)
            versions[version.label] = version
    done = {place: replayed for place, (_, replayed) in enumerate(put) if replayed is not None}
    for label, places in waiting.items():
        members = [chunk[place] for place in places]
        done |= zip(places, _judged(members, versions[label], judges, candidate), strict=True)
    for place in range(len(chunk)):
        yield done[place]


def _put(
    recorded: Recorded, judges: Judges, candidate: Version | None
) -> tuple[Version | None, Replayed | None]:
    """The version that it is put to, or why it is put to none."""
    if recorded.why is not None:
        return None, Replayed(recorded, why=recorded.why)
    try:
        decided = judges.published(recorded.digest)
    except Altered as error:
        return None, Replayed(recorded, why=Why.VERSION_ALTERED, detail=str(error))
    kept = _kept(recorded, decided, judges)
    asked = candidate or decided
    if kept is None or asked is None:
        return None, Replayed(recorded, why=Why.VERSION_UNKNOWN, detail=_named(recorded))
    read = judges.entry(asked.analysis)
    if read is None:
        raise NotJudged(f"{asked.label}: it has no entry point {judges.entry_point}")
    why = coverage.obstacle(kept, read, recorded.masked)
    return (None, Replayed(recorded, asked.label, why=why)) if why else (asked, None)


def _kept(recorded: Recorded, decided: Version | None, judges: Judges) -> EntryPoint | None:
    """What the facts hold; a policy that is none of our versions was asked everything."""
    if recorded.digest == "none":
        return WHOLE
    return judges.entry(decided.analysis) if decided else None


def _judged(
    members: list[Recorded], version: Version, judges: Judges, candidate: Version | None
) -> list[Replayed]:
    try:
        judged = judges.judge(version, [recorded.question for recorded in members])
    except (NotRepeatable, GivenUp, PolicyRejected) as error:
        if candidate is not None:
            raise
        why = Why.GIVEN_UP if isinstance(error, GivenUp) else Why.NOT_REPEATABLE
        return [Replayed(recorded, version.label, why=why, detail=str(error)) for recorded in members]
    return [
        Replayed(recorded, version.label, each, compare.differences(recorded.members, each))
        for recorded, each in zip(members, judged, strict=True)
    ]


def _named(recorded: Recorded) -> str:
    return f"{recorded.members.get('policy_version')}+{recorded.digest}"
