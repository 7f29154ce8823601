"""The access log service as Envoy uses it: streams of messages become outcomes in the ledger, each once."""

from __future__ import annotations

import stat
from typing import Any

import grpc
import pytest

from authz.errors import ConfigError
from authz.telemetry.outcomes import OutcomeCounts
from authz.wire import outcomes as wire
from tests.wire.logged import decision_id, entry, message, said
from tests.wire.outcomes import METHOD, Nobody, listening, lost, outcomes
from tests.wire.serving import until
from tests.workers import Worker


def ids(worker: Worker) -> list[str]:
    return [each["decision_id"] for each in outcomes(worker)]


async def test_entries_are_recorded_in_their_order(worker: Worker) -> None:
    async with listening(worker) as served:
        await served.send(message(entry(1), entry(2)), message(entry(3)))
        await served.recorded()
        assert served.counts.lost == dict.fromkeys(served.counts.lost, 0)
    assert ids(worker) == [decision_id(number) for number in (1, 2, 3)]
    assert {each["gateway"] for each in outcomes(worker)} == {"egress-1"}


async def test_a_stream_is_named_by_its_first_message(worker: Worker) -> None:
    """As Envoy does it: later messages come without an identifier."""
    nameless = wire.pb.StreamAccessLogsMessage()
    nameless.http_logs.log_entry.append(entry(2).SerializeToString())
    async with listening(worker) as served:
        await served.send(message(entry(1), node=b""), nameless.SerializeToString())
        await served.recorded()
    assert [each["gateway"] for each in outcomes(worker)] == ["egress", "egress"]


async def test_what_comes_again_is_recorded_once(worker: Worker) -> None:
    async with listening(worker) as served:
        for _ in range(3):  # as after a connection that broke
            await served.send(message(entry(1), entry(2)))
        await served.recorded()
        assert served.counts.duplicates == 4
    assert ids(worker) == [decision_id(1), decision_id(2)]


async def test_a_second_outcome_of_one_decision_is_not_taken_for_the_first(worker: Worker) -> None:
    other = entry(1)
    other.common_properties.duration.FromMicroseconds(1)
    async with listening(worker) as served:
        await served.send(message(entry(1), other, other))
        await served.recorded()
        assert served.counts.duplicates == 1
    assert [each["duration_us"] for each in outcomes(worker)] == [5000, 1]


async def test_the_window_in_which_duplicates_are_known_is_bounded(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "WINDOW", 2)
    async with listening(worker) as served:
        await served.send(message(entry(1), entry(2), entry(3), entry(1), entry(3)))
        await served.recorded()
        assert served.counts.duplicates == 1
    assert ids(worker) == [decision_id(number) for number in (1, 2, 3, 1)]


async def test_what_arrived_before_the_stop_is_recorded(worker: Worker) -> None:
    async with listening(worker) as served:
        await served.send(message(*(entry(number) for number in range(500))))
        assert served.outcomes.queued
    assert len(outcomes(worker)) == 500


async def test_a_stream_that_stays_open_does_not_keep_the_worker_from_stopping(worker: Worker) -> None:
    async with listening(worker) as served:
        call = served.stream()
        await call.write(message(entry(1)))
        await until(lambda: served.outcomes.streams == 1)
    assert await call.code() != grpc.StatusCode.OK
    assert ids(worker) == [decision_id(1)]


async def test_entries_that_are_no_outcomes_are_left_out(worker: Worker) -> None:
    before = entry(1)
    before.common_properties.intermediate_log_entry = True
    tcp = wire.pb.StreamAccessLogsMessage(tcp_logs=b"\x0a\x00").SerializeToString()
    async with listening(worker) as served:
        await served.send(tcp, message(before), message())
        await served.recorded()
    assert outcomes(worker) == []
    assert lost(worker) == {}


async def test_decisions_and_outcomes_meet_in_the_counts(worker: Worker) -> None:
    async with listening(worker) as served:
        log = served.ledger.log
        served.counts._pending[decision_id(1)] = 0.0
        mine = [entry(number, said(number, log=log)) for number in (1, 2)]
        await served.send(message(*mine, entry(3), entry(4, decided=False)))
        await served.recorded()
        arrived = {key: count for key, count in served.counts.arrived.items() if count}
    assert arrived == {("in_time", True): 1, ("late", True): 1, ("elsewhere", True): 1, ("none", True): 1}
    assert served.counts.breaches == 1


# -- where it listens: the same rules as for Check (tests/wire/test_address.py)


async def test_the_socket_is_its_owners_alone(worker: Worker) -> None:
    async with listening(worker):
        path = worker.state / "run/o.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def server(worker: Worker, **sections: Any) -> wire.OutcomeServer:
    settings = worker.settings.model_validate(worker.settings.model_dump() | sections)
    return wire.OutcomeServer(settings, None)  # type: ignore[arg-type]  # it never serves


async def refused(made: wire.OutcomeServer) -> str:
    with pytest.raises(ConfigError) as caught:
        await made.start()
    return str(caught.value)


async def test_a_directory_where_others_could_put_a_socket_of_theirs_is_refused(worker: Worker) -> None:
    run = worker.state / "run"
    run.mkdir()
    run.chmod(0o777)
    why = await refused(server(worker, listen={"outcomes": "unix:run/o.sock"}))
    assert why == f"listen.outcomes: {run} can be written by others: chmod 0700, or another one"


async def test_a_socket_on_which_another_worker_answers_is_left_to_it(worker: Worker) -> None:
    async with listening(worker) as served:
        why = await refused(server(worker, listen={"outcomes": "unix:run/o.sock"}))
        assert why == f"listen.outcomes: {worker.state}/run/o.sock: another worker answers there"
        await served.send(message(entry(1)))


@pytest.mark.parametrize("address", ["127.0.0.1:4317", "0.0.0.0:1"])
def test_tcp_is_for_development_only(worker: Worker, address: str) -> None:
    with pytest.raises(ValueError, match=r"listen\.outcomes on TCP without TLS needs development: true"):
        server(worker, listen={"outcomes": address})


async def test_over_tcp_it_listens_in_development(worker: Worker) -> None:
    sections = {"listen": {"outcomes": "127.0.0.1:0"}, "development": True}
    settings = worker.settings.model_validate(worker.settings.model_dump() | sections)
    async with worker.running() as ledger:
        made = wire.OutcomeServer(settings, wire.Outcomes(settings, ledger, OutcomeCounts(Nobody(), 60)))
        await made.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{made.port}") as channel:
            call = channel.stream_unary(METHOD)()
            await call.write(message(entry(1)))
            await call.done_writing()
            assert await call == b""
        await made.stop()
    assert ids(worker) == [decision_id(1)]


@pytest.mark.parametrize(
    "name", ["authorization", "cookie", "x-api-key", "x-aegis-agent-token", "X-Request-Id", "x-session", ""]
)
def test_a_header_that_may_hold_a_credential_is_no_correlation_header(worker: Worker, name: str) -> None:
    with pytest.raises(ValueError, match=r"credential|lower case"):
        server(worker, outcomes={"correlation_headers": [name]})
