"""A deployment's logs for judgements of completeness: workers with requests, and the control log about them.

deployment = Deployment(tmp_path)
log = deployment.name("worker-0")
deployment.worker(log, minute(log))                 a minute of decisions and outcomes, closed
deployment.control()                                what a follower would have reported of it
assert deployment.judge().verdict == "complete"

Times are seconds after midnight, 1 January 2026. Everything is signed with the keys of `ledgers`: what an
insider does to it, who has them, too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from authz import canonical
from authz.ledger import keys, merkle
from authz.ledger.completeness.interval import Bounds, Interval
from authz.ledger.completeness.judge import judge
from authz.ledger.completeness.report import Completeness
from authz.ledger.trust import Trust
from tests import ledgers
from tests.ledgers import Members

DEPLOYMENT = "aegis.test"
TRUST = Trust(
    {f"{DEPLOYMENT}/": (keys.public_key(ledgers.LOG_SEED),)}, (keys.public_key(ledgers.RECORD_SEED),)
)
BOUNDS = Bounds(heads_s=12, silence_s=12, after_s=5)
HEADS_S = 10


def at(second: float) -> str:
    minutes, rest = divmod(second, 60)
    return f"2026-01-01T{int(minutes) // 60:02}:{int(minutes) % 60:02}:{rest:09.6f}Z"


def epoch(number: int) -> str:
    return f"2026010{number}T000000Z-{number:016x}"


def decision(number: int, second: float, **members: Any) -> Members:
    return ledgers.decision(number) | {"timestamp": at(second), "request_id": f"r-{number}"} | members


def outcome(number: int, second: float, log: str, seq: int, **members: Any) -> Members:
    return {
        "kind": "outcome",
        "timestamp": at(second),
        "decision_id": ledgers.decision(number)["decision_id"],
        "decision_log": log,
        "decision_seq": seq,
        "request_id": f"r-{number}",
        "endpoint": "https://api.example/v1",
        "forwarded": True,
        "started": at(second),
        "duration_us": 5,
    } | members


def minute(log: str, first: int = 0, last: int = 60, *, number: int = 0) -> list[Members]:
    """An `open`, each second a decision and its outcome, a `close`; `number` is the first decision's."""
    said: list[Members] = [{"kind": "open", "timestamp": at(first)}]
    for second in range(first + 1, last):
        number += 1
        said.append(decision(number, second))
        said.append(outcome(number, second + 0.5, log, len(said) - 1))
    return [*said, {"kind": "close", "size": len(said), "timestamp": at(last)}]


class Deployment:
    """`logs` are the workers' epochs, by name."""

    def __init__(self, root: Path) -> None:
        self.root, self.logs = root, dict[str, Path]()

    def name(self, worker: str = "worker-0", number: int = 1) -> str:
        return f"{DEPLOYMENT}/{worker}/{epoch(number)}"

    def worker(self, log: str, said: Iterable[Members]) -> Path:
        """A log of these entries, sealed."""
        self.logs[log] = self._write(log, said)
        return self.logs[log]

    def control(self, change: Callable[[list[Members]], list[Members]] = lambda said: said) -> Path:
        """What a follower would have said of the workers' logs as they are now, after somebody's `change`."""
        said = sorted((entry for log in self.logs for entry in self._reports(log)), key=_time)
        first, last = said[0]["timestamp"], said[-1]["timestamp"]
        said = [{"kind": "open", "timestamp": first}, *said]
        return self._write(
            f"{DEPLOYMENT}/control/{epoch(1)}",
            change([*said, {"kind": "close", "size": len(said), "timestamp": last}]),
        )

    def judge(self, start: float | None = None, end: float | None = None) -> Completeness:
        interval = Interval(at(start), at(end)) if start is not None and end is not None else None
        return judge(self.root, TRUST, interval, BOUNDS)

    def found(self, start: float | None = None, end: float | None = None) -> tuple[str, str]:
        """The verdict, and all that was found in one text."""
        said = self.judge(start, end)
        return said.verdict, "\n".join(f"{each.verdict} {each.log}: {each.what}" for each in said.findings)

    def _write(self, log: str, said: Iterable[Members]) -> Path:
        directory = self.root.joinpath(*log.split("/")[1:])
        signed = [entry | {"signer_id": log.rpartition("/")[0]} for entry in said]
        ledgers.store(directory, list(ledgers.chain(iter(signed), log)))
        ledgers.seal(directory, log)
        return directory

    def _reports(self, log: str) -> Iterator[Members]:
        entries = ledgers.read(self.logs[log])
        times = [canonical.parse(entry)["timestamp"] for entry in entries]
        leaves = [merkle.leaf_hash(entry) for entry in entries]
        closed = canonical.parse(entries[-1])["kind"] == "close"

        def point(moment: str) -> Members:
            size = bisect_right(times, moment)
            return {
                "of": log,
                "size": size,
                "root": merkle.root(leaves[:size]).hex(),
                "timestamp": moment,
            }

        first, last = (_seconds(times[place]) for place in (0, -1))
        yield point(at(first + 1)) | {"kind": "log_open", "opened": times[0]}
        second = first + HEADS_S + 1
        while second < last + 2:
            yield point(at(second)) | {"kind": "log_head"}
            second += HEADS_S
        if closed:
            yield point(at(last + 2)) | {"kind": "log_close", "end": "closed"}
        else:
            yield point(at(last + 2)) | {"kind": "log_head"}


def _time(entry: Members) -> str:
    return str(entry["timestamp"])


def _seconds(timestamp: str) -> float:
    hours, minutes, seconds = timestamp[11:-1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
