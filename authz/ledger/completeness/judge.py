"""Judges whether no record of an interval is missing, over all logs of one deployment (EVIDENCE section 6).

    verify every log -> what the control log reported -> walk each log that has to do with the interval ->
    every log opened is here, reported throughout, and what was reported; nothing owned up to as lost;
    requests and their outcomes agree

In: a path with the deployment's logs, Trust, an interval. Out: a Completeness. Called by `aegis complete`. It
asks nobody and changes nothing. Times are those of the entries: who wrote them had the machine's clock.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final

from authz.errors import ConfigError
from authz.ledger import control, verify
from authz.ledger.completeness.heads import Reported, micros, read, stamp
from authz.ledger.completeness.interval import ALL, SECOND, Bounds, Interval, all_of
from authz.ledger.completeness.report import (
    MAX_FINDINGS,
    Completeness,
    Covered,
    Finding,
    Verdict,
    weightiest,
)
from authz.ledger.completeness.walk import Walk, Walking, apart_s
from authz.ledger.outcomes import Joined, Joining
from authz.ledger.report import Report
from authz.ledger.trust import Trust

NOT_CHECKED: Final = (
    "whether a clock was right: anchors date what was there, entries say when it was written",
    "Envoy's own log: outcomes are what its access log service sent",
)


def judge(
    path: Path,
    trust: Trust,
    interval: Interval | None = None,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    *,
    level: int = 3,
    processes: int = 1,
) -> Completeness:
    """Without an interval, of all that the control log reports. Raises ConfigError for logs of several
    deployments or of none, OSError.
    """
    report = verify.verify(path, trust, level, processes=processes)
    deployment = _deployment(report, path)
    return _Judgement(deployment, report, interval, bounds).result()


def _deployment(report: Report, path: Path) -> str:
    found = sorted({log.log.split("/")[0] for log in report.logs if log.log})
    if len(found) != 1:
        what = f"logs of {', '.join(found)}: judge one deployment at a time" if found else "no log has a name"
        raise ConfigError(f"{path}: {what}")
    return found[0]


class _Judgement:
    """The steps of `judge`, in the order of its methods."""

    def __init__(
        self,
        deployment: str,
        report: Report,
        interval: Interval | None,
        bounds: Bounds,
    ) -> None:
        self._origin = f"{deployment}/{control.WORKER}/"
        self._logs = {log.log: log for log in report.logs if log.log}
        self._report, self._bounds = report, bounds
        self._findings: list[Finding] = []
        controls = [log for name, log in self._logs.items() if name.startswith(self._origin)]
        if not controls:
            self._find("not_established", self._origin, "the deployment's control log is not here")
        start, end = interval.micros if interval else ALL
        good = [Path(log.directory) for log in controls if not log.fault]
        self._reported = read(good, start, end)
        self._interval = interval or all_of(self._reported)

    def result(self) -> Completeness:
        self._faults()
        walks, requests = self._walk()
        covered = [self._log(each, walks) for each in walks.values() if not self._is_control(each.log)]
        self._silence([each for each in walks.values() if self._is_control(each.log) and each.first])
        self._absent()
        self._gaps(walks)
        self._continued(walks)
        self._requests(requests)
        return Completeness(
            weightiest(self._findings),
            self._interval.start,
            self._interval.end,
            tuple(self._findings[:MAX_FINDINGS]),
            len(self._findings),
            tuple(each for each in covered if each),
            requests,
            (*NOT_CHECKED, *self._report.not_checked),
        )

    def _find(self, verdict: Verdict, log: str, what: str) -> None:
        self._findings.append(Finding(verdict, log, what))

    def _is_control(self, log: str) -> bool:
        return log.startswith(self._origin)

    def _concerns(self, log: str) -> bool:
        """Whether a log may have to do with the interval, by what was reported of it."""
        reported = self._reported.get(log)
        if reported is None:
            return True
        start, end = self._interval.micros
        return reported.opened <= end and (reported.closed < 0 or reported.closed >= start)

    # -- what is wrong with what is here

    def _faults(self) -> None:
        for log in self._report.logs:
            if log.fault and (self._is_control(log.log) or self._concerns(log.log)):
                self._find("invalid", log.log, str(log.fault))

    # -- each log that has to do with the interval

    def _walk(self) -> tuple[dict[str, Walk], Joined]:
        """Every log that may have to do with the interval and has no fault; and its requests, joined."""
        walks: dict[str, Walk] = {}
        interval = (self._interval.start, self._interval.end)
        with closing(sqlite3.connect("")) as store:
            joining = Joining(store, self._bounds.after_s, interval, frozenset(self._logs))
            for log in self._logs.values():
                if log.fault or not self._concerns(log.log):
                    continue
                reported = self._reported.get(log.log, Reported(log.log))
                takes = None if self._is_control(log.log) else joining
                walking = Walking(log.log, reported.heads(), interval, takes, self._bounds.silence_s)
                walks[log.log] = walking.walk(Path(log.directory))
            return walks, joining.result()

    def _log(self, each: Walk, walks: dict[str, Walk]) -> Covered | None:
        """Judge one worker's log; None if it has nothing to do with the interval after all."""
        reported = self._reported.get(each.log)
        self._pruned(each, reported)
        if not each.last:
            return None
        followed = any(other.previous == each.log for other in walks.values())
        living = not (each.closed or followed or (reported and reported.end))
        if each.first > self._interval.end or (not living and each.last < self._interval.start):
            return None
        if reported is None:
            self._find("not_established", each.log, "the control log knows nothing of it")
            reported = Reported(each.log)
        else:
            self._agrees(each, reported)
        longest = self._reports(each, reported, living=living)
        silent = micros(self._interval.end) - micros(each.last)
        if living and silent > self._bounds.silence_s * SECOND:
            what = f"silent since {each.last}: neither closed nor followed by another"
            self._find("not_established", each.log, what)
        return Covered(
            each.log,
            each.first,
            "" if living else each.last,
            each.inside,
            len(reported.times),
            longest / SECOND,
            each.refusals,
            each.unsynchronized,
            each.heartbeats,
        )

    def _pruned(self, each: Walk, reported: Reported | None) -> None:
        """What retention deleted is no fault, and nobody can say any more whether it was complete."""
        closed = stamp(reported.closed) if reported and reported.closed >= 0 else ""
        for gone in each.pruned:
            until = gone.until or closed
            if gone.since <= self._interval.end and (not until or until >= self._interval.start):
                time = f"from {gone.since} to {until or 'an unknown time'}"
                what = f"segment {gone.number} was pruned: {gone.entries:,} entries {time}"
                self._find("not_established", each.log, what)

    def _agrees(self, each: Walk, reported: Reported) -> None:
        """Whether what is here is what was reported."""
        if reported.contradiction:
            self._find("invalid", each.log, f"the control log contradicts itself: {reported.contradiction}")
        if each.contradiction >= 0:
            what = f"its first {each.contradiction} entries are not those that the control log reported"
            self._find("invalid", each.log, what)
        if reported.size > each.size:
            what = f"it ends after {each.size} entries, and {reported.size} were reported"
            self._find("missing", each.log, what)

    def _reports(self, each: Walk, reported: Reported, *, living: bool) -> int:
        """The longest time between reports of a log, in the part of the interval in which it was there."""
        start, end = self._interval.micros
        begin = max(start, micros(each.first))
        until = end if living else min(end, micros(each.last))
        before = max((at for at in reported.times if at <= begin), default=begin)
        longest = 0
        for at in (at for at in reported.times if at > before):
            if before >= until:
                break
            longest = max(longest, at - before)
            if at - before > self._bounds.heads_s * SECOND:
                what = f"no head of it for {(at - before) / SECOND:.1f} s from {stamp(before)} on"
                self._find("not_established", each.log, what)
            before = at
        if before < until:
            self._find("not_established", each.log, f"no head of it after {stamp(before)}")
        return max(longest, until - before)

    # -- what is not here

    def _silence(self, controls: list[Walk]) -> None:
        """While the control log says nothing, nobody knows which logs there are."""
        start, end = self._interval.start, self._interval.end
        controls = sorted(controls, key=lambda each: each.first)
        pauses = [pause for each in controls for pause in each.pauses]
        for old, new in pairwise(controls):
            pauses.append((old.last, new.first))
        if controls:
            pauses += [(start, controls[0].first), (controls[-1].last, end)]
        for since, until in pauses:
            if since < until and since <= end and until >= start:
                allowed = 0.0 if until == end else self._bounds.silence_s
                if apart_s(since, until) > allowed:
                    what = f"it is silent from {since} to {until}: other logs may have been opened"
                    self._find("not_established", self._origin, what)

    def _absent(self) -> None:
        for log, reported in self._reported.items():
            if log not in self._logs and self._concerns(log):
                self._find("missing", log, f"it is not here, and {reported.size} entries were reported")

    def _gaps(self, walks: dict[str, Walk]) -> None:
        """A gap lies between the last good entry of the old log and the entry that owns up to it."""
        for each in walks.values():
            for lost in each.gaps:
                old = walks.get(lost.old_log)
                since = old.last if old else ""
                if since <= self._interval.end and lost.at >= self._interval.start:
                    what = f"{lost.old_log} after its first {lost.good} entries: {lost.why}"
                    self._find("gap", each.log, f"between {since or 'an unknown time'} and {lost.at}: {what}")

    def _continued(self, walks: dict[str, Walk]) -> None:
        """A log that goes on from another which is not here, nor reported as closed before the interval."""
        for each in walks.values():
            old = each.previous
            if not old or old in self._logs or each.first <= self._interval.start:
                continue
            reported = self._reported.get(old)
            if reported is None:
                self._find("missing", old, f"it is not here, and {each.log} goes on from it")

    # -- requests

    def _requests(self, found: Joined) -> None:
        for example in found.breach_examples:
            self._find("missing", f"{example.log}@{example.seq}", f"breach: {example.what}")
        if found.breaches > len(found.breach_examples):
            self._find("missing", "", f"{found.breaches} requests were forwarded without a recorded allow")
        if found.elsewhere:
            self._find(
                "missing", "", f"{found.elsewhere} outcomes are of decisions in logs that are not here"
            )
        if found.decisions and not found.outcomes:
            what = "no outcome is recorded: whether Envoy forwarded anything else is not known"
            self._find("not_established", "", what)
        for reason, count in sorted(found.lost.items()):
            self._find("not_established", "", f"{count} outcomes were lost: {reason}")
        if found.pending:
            what = f"{found.pending} decisions are too young: their outcome may still come"
            self._find("not_established", "", what)
