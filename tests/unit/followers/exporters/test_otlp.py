"""OTLP logs to a real receiver: the cursor moves after an acknowledgement, whatever the receiver does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz import canonical
from authz.config_exporters import OtlpExport
from authz.errors import ConfigError
from authz.followers.exporters.otlp import Otlp
from tests import ledgers
from tests.collector import (
    Collector,
    abort,
    collecting,
    hangs,
    lost_answer,
    once,
    records_of,
    refuses,
    rejects,
)
from tests.exporting import Runs, directory, everything, exporting
from tests.wire.serving import until
from tests.workers import Worker, decision

Code = grpc.StatusCode


@pytest.fixture
async def filled(worker: Worker) -> Worker:
    """Twelve sealed entries: `open`, ten decisions, `close`."""
    async with worker.running() as ledger:
        for number in range(10):
            await ledger.append("decision", decision(number))
    worker.seal()
    return worker


def otlp(worker: Worker, **settings: Any) -> Otlp:
    how = {"endpoint": f"unix:{worker.state / 'otlp.sock'}", "timeout_s": 5.0} | settings
    return Otlp(OtlpExport(**how), "aegis.test", worker.state)


@asynccontextmanager
async def both(worker: Worker, collector: Collector, **settings: Any) -> AsyncIterator[Runs]:
    async with (
        collecting(worker.state / "otlp.sock", collector),
        exporting(worker, otlp(worker, **settings)) as runs,
    ):
        yield runs


def dead(worker: Worker) -> list[dict[str, Any]]:
    file = directory(worker, "otlp") / "dead_letters.jsonl"
    return [canonical.parse(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def is_number(number: int) -> Any:
    return lambda body: canonical.parse(body.encode())["seq"] == number


async def test_every_entry_arrives_in_order_as_its_own_bytes(filled: Worker) -> None:
    collector = Collector()
    async with both(filled, collector) as runs:
        await runs.caught_up()
        await until(lambda: runs.gauge("lag_entries") == 0)
        assert runs.gauge("delivered_total") == 12
    assert [body.encode() for body in collector.received] == ledgers.read(filled.epochs[0])


async def test_a_record_is_found_by_what_people_search_for(filled: Worker) -> None:
    collector = Collector()
    async with both(filled, collector) as runs:
        await runs.caught_up()
    record = records_of(collector.requests[0])[1]
    entry = ledgers.members(filled.epochs[0])[1]
    attributes = {item.key: item.value for item in record.attributes}
    assert attributes["aegis.decision_id"].string_value == entry["decision_id"]
    assert attributes["aegis.seq"].int_value == 1
    assert attributes["aegis.entry_hash"].string_value == ledgers.leaf(filled.epochs[0], 1)
    assert (record.event_name, record.severity_text) == ("aegis.decision", "INFO")
    assert record.trace_id.hex() == entry["trace_id"]
    assert f"{record.time_unix_nano // 1000 % 1_000_000:06}Z" == entry["timestamp"][-7:]
    resource = {
        item.key: item.value.string_value
        for item in collector.requests[0].resource_logs[0].resource.attributes
    }
    assert resource["service.instance.id"] == "worker-0"


@pytest.mark.parametrize(
    "failure",
    [
        abort(Code.UNAVAILABLE, "restarting"),
        abort(Code.RESOURCE_EXHAUSTED, "too many requests"),
        abort(Code.RESOURCE_EXHAUSTED, "too many requests", retry_after_s=0.03),
        abort(Code.UNAUTHENTICATED, "who are you"),
        abort(Code.PERMISSION_DENIED, "not you"),
        abort(Code.UNIMPLEMENTED, "no logs here"),
        abort(Code.INTERNAL, "oops"),
    ],
)
async def test_a_receiver_that_cannot_take_it_now_is_asked_again_and_nothing_is_lost(
    filled: Worker, failure: Any
) -> None:
    collector = Collector()
    collector.script = [failure] * 3
    async with both(filled, collector) as runs:
        await runs.caught_up()
        assert runs.gauge("failures_total") == 3
    assert once(collector.received) == everything(filled)
    assert len(collector.received) == 12
    assert dead(filled) == []


async def test_what_was_kept_and_not_acknowledged_comes_again(filled: Worker) -> None:
    collector = Collector()
    collector.script = [lost_answer(collector)]
    async with both(filled, collector) as runs:
        await runs.caught_up()
    assert len(collector.received) == 24
    assert once(collector.received) == everything(filled)


async def test_a_receiver_that_hangs_is_given_up_after_the_timeout(filled: Worker) -> None:
    collector, ever = Collector(), asyncio.Event()
    collector.script = [hangs(ever)]
    async with both(filled, collector, timeout_s=0.2) as runs:
        await runs.caught_up()
        assert runs.gauge("failures_total") == 1
    ever.set()
    assert once(collector.received) == everything(filled)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Code.INVALID_ARGUMENT, "a record is not well formed"),
        (Code.RESOURCE_EXHAUSTED, "Received message larger than max (5000000 vs. 4194304)"),
    ],
)
async def test_only_the_record_that_is_refused_becomes_a_dead_letter(
    filled: Worker, code: grpc.StatusCode, text: str
) -> None:
    collector = Collector()
    collector.always = refuses(is_number(7), code, text)
    async with both(filled, collector) as runs:
        await runs.caught_up()
        assert runs.gauge("dead_letters_total") == 1
    (letter,) = dead(filled)
    assert (letter["seq"], letter["reason"]) == (7, f"{code.name}: {text}")
    assert canonical.encode(letter["entry"]) == ledgers.read(filled.epochs[0])[7]
    assert once(collector.received) == [place for place in everything(filled) if place[1] != 7]


async def test_of_a_partial_success_the_rejected_ones_become_dead_letters(filled: Worker) -> None:
    collector = Collector()
    collector.always = rejects(lambda body: is_number(3)(body) or is_number(4)(body), collector)
    async with both(filled, collector) as runs:
        await runs.caught_up()
    assert [(letter["seq"], letter["reason"]) for letter in dead(filled)] == [
        (3, "1 of 1 rejected: not these"),
        (4, "1 of 1 rejected: not these"),
    ]
    assert sorted(once(collector.received)) == [
        place for place in everything(filled) if place[1] not in (3, 4)
    ]


async def test_an_outage_under_load_is_caught_up_completely(worker: Worker) -> None:
    collector = Collector()
    async with both(worker, collector, batch=16) as runs:
        async with worker.running() as ledger:
            for number in range(300):
                if number == 100:
                    collector.always = abort(Code.UNAVAILABLE, "down")
                await ledger.append("decision", decision(number))
                if number % 50 == 0:
                    worker.seal()
            await until(lambda: runs.gauge("failures_total") >= 3)
            assert runs.gauge("lag_entries") > 100
            collector.always = None
        worker.seal()
        await runs.caught_up()
    assert once(collector.received) == everything(worker)


async def test_what_a_header_says_is_sent_and_never_repeated(filled: Worker) -> None:
    headers = filled.state / "headers"
    headers.write_text("authorization: Bearer s3cret\n")
    headers.chmod(0o600)
    collector = Collector()
    collector.script = [abort(Code.UNAUTHENTICATED, "not with Bearer s3cret")]
    async with both(filled, collector, headers=headers) as runs:
        await until(lambda: runs.exporter.fault or runs.gauge("failures_total"))
        assert "s3cret" not in runs.exporter.fault
        await runs.caught_up()
    assert ("authorization", "Bearer s3cret") in collector.metadata[0]


@pytest.mark.parametrize("text", ["nonsense", "Name: value", "a: b\n" * 33, "token-bin: x"])
async def test_a_header_file_that_is_none_is_named_by_line(worker: Worker, text: str) -> None:
    file = worker.state / "headers"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=rf"{file}:\d+: not `name: value`"):
        otlp(worker, headers=file)


async def test_a_header_file_that_others_may_read_is_refused(worker: Worker) -> None:
    file = worker.state / "headers"
    file.write_text("authorization: Bearer s3cret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        otlp(worker, headers=file)


async def test_a_certificate_that_is_missing_is_named(worker: Worker) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        otlp(worker, ca=Path("missing.pem"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "collector.example:4317"},
        {"endpoint": "http://127.0.0.1:4317"},
        {"endpoint": "127.0.0.1:99999"},
        {"endpoint": "127.0.0.1:4317", "key": "key.pem"},
        {"endpoint": "127.0.0.1:4317", "key": "key.pem", "certificate": "cert.pem"},
    ],
)
def test_records_never_travel_in_the_open(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ca|certificate|HOST:PORT"):
        OtlpExport(**wrong)
