"""Policy versions that judge, each in an OPA of its own for as long as this is open, and what they said.

    with Judges(bundles, "aegis/decision") as judges:
        judges.judge(version, questions)            one Judged for each

In: versions, questions. Out: verdicts, as a worker reads them. Called by `replaying.py`. Facts are what a
worker's cache goes by, too: a question that came before is not asked again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from authz.errors import Denied
from authz.policy.compat.result import read_result
from authz.policy.manifest import Analysis, EntryPoint
from authz.policy.verdict import read_verdict
from authz.replay import version as versions
from authz.replay.isolated import Answered, Isolated, Limits
from authz.replay.version import Version
from authz.values import MISSING, Reason, Verdict

MAX_OPEN: Final = 3  # OPAs at once
MAX_KEPT: Final = 50_000  # verdicts


class Judged(Struct, frozen=True):
    """A verdict, or the denial that a worker records where there is none."""

    verdict: Verdict | None = None
    fault: Denied | None = None


class Judges:
    """`bundles`: where published versions are. `compat`: results are read as with `policy.compat`. A context
    manager.
    """

    def __init__(
        self,
        bundles: Path,
        entry_point: str,
        *,
        compat: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.entry_point = entry_point
        self._bundles, self._limits, self._compat = bundles, limits, compat
        self._read = partial(read_result, rule=entry_point) if compat else read_verdict
        self._published: dict[str, Version | None] = {}
        self._open: OrderedDict[str, Isolated] = OrderedDict()
        self._said: dict[tuple[str, bytes], Judged] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].__exit__()

    def published(self, digest: str) -> Version | None:
        """The version with this content digest, None where there is none. Raises Altered, OSError."""
        if digest not in self._published:
            self._published[digest] = versions.find(self._bundles, digest)
        return self._published[digest]

    def look_again(self) -> None:
        """What was not published may be now."""
        self._published = {digest: found for digest, found in self._published.items() if found}

    def entry(self, analysis: Analysis) -> EntryPoint | None:
        """What a version reads at the entry point, None where it has none of that name."""
        return analysis.entry_points.get(self.entry_point)

    def judge(self, version: Version, questions: Sequence[bytes]) -> list[Judged]:
        """Raises NotJudged, OSError."""
        keys = [(version.label, hashlib.sha256(question).digest()) for question in questions]
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._said}
        found = {key: self._said[key] for key in keys if key not in new}
        if new:
            answers = self._isolated(version).ask(list(new.values()))
            found |= {key: self._judged(answer) for key, answer in zip(new, answers, strict=True)}
            if len(self._said) + len(new) > MAX_KEPT:
                self._said.clear()
            self._said.update((key, found[key]) for key in new)
        return [found[key] for key in keys]

    def open(self, version: Version) -> None:
        """Start its OPA now. Raises NotJudged, OSError."""
        self._isolated(version)

    def _judged(self, answer: Answered) -> Judged:
        if answer.fault is not None:
            return Judged(fault=answer.fault)
        if answer.result is MISSING:
            return Judged(fault=Denied(Reason.POLICY_ERROR, "the entry point is undefined for this input"))
        try:
            return Judged(self._read(answer.result))
        except Denied as denied:
            return Judged(fault=denied)

    def _isolated(self, version: Version) -> Isolated:
        found = self._open.pop(version.label, None)
        if found is None:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].__exit__()
            found = Isolated(
                version, self.entry_point, limits=self._limits, strict=not self._compat
            ).__enter__()
        self._open[version.label] = found
        return found
