"""What somebody with all keys takes away, or never reported, is told from what is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.errors import ConfigError
from authz.ledger import merkle, pruned
from authz.ledger.journal import Disk
from tests import ledgers
from tests.deployments import DEPLOYMENT, Deployment, at, decision, minute, outcome
from tests.ledgers import Members

Change = Callable[[list[Members]], list[Members]]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """Two workers, each with a minute of requests."""
    made = Deployment(tmp_path / "ledger")
    for number in (0, 1):
        log = made.name(f"worker-{number}")
        made.worker(log, minute(log, number=1000 * number))
    return made


def without(*kinds: str, of: str = "", between: tuple[float, float] = (0, 10**5)) -> Change:
    """The control log without such entries about `of`, at such times."""

    def taken(entry: Members) -> bool:
        inside = at(between[0]) <= entry["timestamp"] <= at(between[1])
        return entry["kind"] in kinds and of in entry.get("of", "") and inside

    return lambda said: [entry for entry in said if not taken(entry)]


def test_what_was_reported_throughout_and_is_here_is_complete(deployment: Deployment) -> None:
    deployment.control()
    assert deployment.found() == ("complete", "")
    assert deployment.found(10, 50) == ("complete", "")
    said = deployment.judge(10.2, 50.2)
    assert [log.log for log in said.logs] == [deployment.name("worker-0"), deployment.name("worker-1")]
    assert [log.entries for log in said.logs] == [80, 80]
    assert (said.requests.decisions, said.requests.in_time, said.requests.breaches) == (80, 80, 0)


def test_a_log_that_is_taken_away(deployment: Deployment) -> None:
    deployment.control()
    shutil.rmtree(deployment.logs[deployment.name("worker-1")])
    verdict, what = deployment.found(10, 50)
    assert verdict == "missing"
    assert f"{deployment.name('worker-1')}: it is not here, and 120 entries were reported" in what


def test_the_end_of_a_log_that_is_taken_away_and_sealed_anew(deployment: Deployment) -> None:
    deployment.control()
    log = deployment.name("worker-0")
    deployment.worker(log, minute(log)[:60])
    verdict, what = deployment.found(10, 25)
    assert verdict == "missing"
    assert f"{log}: it ends after 60 entries, and 120 were reported" in what


def test_a_record_that_is_taken_out_and_everything_signed_anew(deployment: Deployment) -> None:
    deployment.control()
    log = deployment.name("worker-0")
    said = minute(log)
    del said[41:43]
    deployment.worker(log, said)
    verdict, what = deployment.found(10, 50)
    assert verdict == "invalid"
    assert f"{log}: its first 42 entries are not those that the control log reported" in what


def test_a_log_that_was_opened_and_never_reported(deployment: Deployment) -> None:
    deployment.control(without("log_open", "log_head", "log_close", of="worker-1"))
    verdict, what = deployment.found(10, 50)
    assert verdict == "not_established"
    assert f"{deployment.name('worker-1')}: the control log knows nothing of it" in what


def test_heads_that_are_too_far_apart(deployment: Deployment) -> None:
    deployment.control(without("log_head", of="worker-0", between=(20, 30)))
    verdict, what = deployment.found(0, 55)
    assert verdict == "not_established"
    assert f"{deployment.name('worker-0')}: no head of it for 20.0 s from {at(11)} on" in what
    assert deployment.found(35, 55) == ("complete", "")
    assert deployment.found(0, 10) == ("complete", "")


def test_a_control_log_that_ends_early(deployment: Deployment) -> None:
    deployment.control(lambda said: said[:9])
    verdict, what = deployment.found(10, 50)
    assert verdict == "not_established"
    assert what.count(f"no head of it after {at(31)}") == 2


def test_no_control_log(deployment: Deployment) -> None:
    verdict, what = deployment.found(10, 50)
    assert verdict == "not_established"
    assert f"{DEPLOYMENT}/control/: the deployment's control log is not here" in what
    with pytest.raises(ConfigError, match="say --from and --to"):
        deployment.judge()


def test_a_control_log_that_contradicts_itself(deployment: Deployment) -> None:
    def smaller(said: list[Members]) -> list[Members]:
        (first, *_, last) = (n for n, entry in enumerate(said) if entry["kind"] == "log_head")
        said[last] = said[first] | {"timestamp": said[last]["timestamp"]}
        return said

    deployment.control(smaller)
    verdict, what = deployment.found(10, 50)
    assert verdict == "invalid"
    assert "the control log contradicts itself: log_head of 22 entries after one of" in what


def test_one_bit(deployment: Deployment) -> None:
    deployment.control()
    file = deployment.logs[deployment.name("worker-1")] / "entries/00000000.jsonl"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    verdict, what = deployment.found(10, 50)
    assert verdict == "invalid"
    assert str(file) in what


def gap(second: float, old: str, good: int) -> Members:
    said = {"kind": "gap", "old_log": old, "good_entries": good, "why": "a sync failed"}
    return said | {"timestamp": at(second)}


def test_a_gap_inside_and_one_outside_of_the_interval(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    old, new = deployment.name(), deployment.name(number=2)
    deployment.worker(old, minute(old, 0, 30)[:-1])
    opened, *said = minute(new, 40, 90, number=100)
    for entry in said:
        if entry["kind"] == "outcome":
            entry["decision_seq"] += 1  # the gap comes before
    deployment.worker(new, [opened, gap(40, old, 59), *said])

    def left(said: list[Members]) -> list[Members]:
        last = next(entry for entry in said if entry["timestamp"] == at(31.5))
        last |= {"kind": "log_close", "end": "left"}
        return said

    deployment.control(left)
    verdict, what = deployment.found(5, 60)
    assert verdict == "gap"
    assert f"between {at(29.5)} and {at(40)}: {old} after its first 59 entries" in what
    assert deployment.found(45, 80) == ("complete", "")
    assert deployment.found(5, 25) == ("complete", "")


def test_a_log_that_goes_on_from_one_that_is_not_here(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log, old = deployment.name(number=2), deployment.name(number=1)
    said = minute(log, 10)
    said[0] |= {"previous_log": old, "previous_size": 5, "previous_root": "0" * 64}
    deployment.worker(log, said)
    deployment.control()
    verdict, what = deployment.found(5, 50)
    assert (verdict, f"{old}: it is not here, and {log} goes on from it" in what) == ("missing", True)
    assert deployment.found(15, 50) == ("complete", "")


def test_what_retention_deleted(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    old, new = deployment.name(number=1), deployment.name(number=2)
    directory = deployment.worker(old, minute(old, 0, 30))
    said = minute(new, 40, 90, number=100)
    leaves = [merkle.leaf_hash(entry) for entry in ledgers.read(directory)]
    root = merkle.root(leaves).hex()
    said[0] |= {"previous_log": old, "previous_size": len(leaves), "previous_root": root}
    deployment.worker(new, said)
    deletion = {
        "kind": "prune",
        "action": "delete",
        "class": "1y",
        "of": old,
        "first_segment": 0,
        "last_segment": 0,
        "entries": len(leaves),
        "who": "aegis follow",
        "why": "older than a year",
        "timestamp": at(85),
    }
    deployment.control(lambda said: sorted([*said[:-1], deletion], key=lambda e: e["timestamp"]) + said[-1:])
    pruned.keep(directory, 0, len(leaves), Disk())
    (directory / "entries/00000000.jsonl").unlink()
    verdict, what = deployment.found(10, 60)
    assert verdict == "not_established"
    assert f"{old}: segment 0 was pruned: 60 entries from {at(0)} to {at(32)}" in what
    assert deployment.found(45, 80) == ("complete", "")


def test_a_worker_that_fell_silent(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    deployment.worker(log, minute(log)[:-1])
    other = deployment.name("worker-1")
    deployment.worker(other, minute(other, 0, 120, number=1000))

    def goes_on(said: list[Members]) -> list[Members]:
        last = next(entry for entry in reversed(said) if entry.get("of") == log)
        more = [last | {"timestamp": at(second)} for second in range(65, 130, 10)]
        return sorted([*said[:-1], *more], key=lambda entry: entry["timestamp"]) + said[-1:]

    deployment.control(goes_on)
    verdict, what = deployment.found(10, 110)
    assert (verdict, f"{log}: silent since {at(59.5)}" in what) == ("not_established", True)
    assert deployment.found(10, 50) == ("complete", "")


@pytest.mark.parametrize(
    ("change", "verdict", "what"),
    [
        ({"decision_id": "", "request_id": "r-x"}, "missing", "breach: forwarded, no decision"),
        ({"decision_log": "aegis.test/w/x", "forwarded": False}, "missing", "1 outcomes are of decisions"),
    ],
)
def test_requests_without_a_record(tmp_path: Path, change: Members, verdict: str, what: str) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    said = minute(log)
    said.insert(-1, outcome(999, 59.8, log, 5) | change)
    said[-1]["size"] += 1
    deployment.worker(log, said)
    deployment.control()
    found = deployment.found(10, 59.9)
    assert (found[0], what in found[1]) == (verdict, True), found
    assert deployment.found(10, 50) == ("complete", "")


def test_a_request_that_was_forwarded_though_it_was_denied(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    said = minute(log)
    said[21] |= {"decision": "deny"}
    deployment.worker(log, said)
    deployment.control()
    verdict, what = deployment.found(5, 50)
    assert verdict == "missing"
    assert f"{log}@22: breach: forwarded, though decision" in what


def test_outcomes_that_are_not_recorded_at_all(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    deployment.worker(log, [entry for entry in minute(log) if entry["kind"] != "outcome"])
    deployment.control()
    verdict, what = deployment.found(10, 50)
    assert (verdict, "no outcome is recorded" in what) == ("not_established", True)


def test_outcomes_that_a_worker_lost(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    said = minute(log)
    lost = [{"reason_code": "queue_full", "source": "envoy", "count": 3}]
    said.insert(-1, {"kind": "heartbeat", "size": 1, "outcomes_lost": lost, "timestamp": at(59.8)})
    deployment.worker(log, said)
    deployment.control()
    verdict, what = deployment.found(10, 58)
    assert (verdict, "3 outcomes were lost: queue_full" in what) == ("not_established", True)


def test_an_interval_after_what_is_reported(deployment: Deployment) -> None:
    deployment.control()
    for start, end in ((10, 200), (70, 80)):
        verdict, what = deployment.found(start, end)
        assert verdict == "not_established"
        assert f"{DEPLOYMENT}/control/: it is silent from {at(62)} to {at(end)}" in what


def test_an_interval_that_begins_before_the_control_log(deployment: Deployment) -> None:
    deployment.control(lambda said: [said[0] | {"timestamp": at(41)}, *said[9:]])
    verdict, what = deployment.found(5, 50)
    assert verdict == "not_established"
    assert f"{DEPLOYMENT}/control/: it is silent from {at(5)} to {at(41)}" in what
    assert deployment.found(45, 55) == ("complete", "")


def test_a_control_log_that_pauses(deployment: Deployment) -> None:
    """In the pause another log may have been opened and taken away."""
    deployment.control(without("log_head", between=(20, 30)))
    verdict, what = deployment.found(5, 50)
    assert (verdict, f"it is silent from {at(11)} to {at(31)}" in what) == ("not_established", True)


def test_logs_of_two_deployments_are_judged_one_at_a_time(deployment: Deployment) -> None:
    deployment.control()
    log, directory = f"other.test/worker-0/{ledgers.EPOCH}", deployment.root / "worker-0" / ledgers.EPOCH
    ledgers.store(directory, list(ledgers.chain(iter([{"kind": "open"}]), log)))
    ledgers.seal(directory, log)
    with pytest.raises(ConfigError, match=r"logs of aegis\.test, other\.test: judge one"):
        deployment.judge()


def test_decisions_that_are_too_young(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "ledger")
    log = deployment.name()
    said = minute(log)[:-1]
    deployment.worker(log, [*said, decision(500, 60)])
    deployment.control()
    verdict, what = deployment.found(10, 60.5)
    assert (verdict, "1 decisions are too young" in what) == ("not_established", True)
