"""When something behind the gateway fails, nothing is allowed."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from authz.up.probe import get
from authz.up.traffic import DECISION_ID, RECORDS
from tests.e2e.stack import Stack, running


def patient(number: int) -> str:
    return RECORDS.replace("17", str(number))


def test_a_worker_that_is_down_means_denial_and_its_return_means_service(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        assert client.get(RECORDS).status_code == 200
        stack.processes.kill("worker")
        before = len(stack.upstream.seen)
        statuses = {client.get(patient(number)).status_code for number in range(20)}
        assert statuses <= {403, 503}
        assert len(stack.upstream.seen) == before
        stack.deployment.start_worker()
        stack.processes.wait("envoy", lambda: client.get(RECORDS).status_code == 200, "serving again")


def test_a_worker_that_hangs_means_denial(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        stack.processes.signal("worker", signal.SIGSTOP)
        answer = client.get(RECORDS)
        assert answer.status_code == 503
        assert DECISION_ID not in answer.headers
        stack.processes.signal("worker", signal.SIGCONT)
        stack.processes.wait("envoy", lambda: client.get(RECORDS).status_code == 200, "serving again")


def test_an_engine_that_hangs_is_a_recorded_denial_and_what_is_cached_still_serves(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        assert client.get(RECORDS).status_code == 200
        stack.processes.signal("opa", signal.SIGSTOP)
        denied, cached = client.get(patient(18)), client.get(RECORDS)
        stack.processes.signal("opa", signal.SIGCONT)
        assert (denied.status_code, reason(stack, denied)) == (503, "engine_timeout")
        assert (cached.status_code, stack.record(cached)["cache"]) == (200, "hit")
        stack.processes.wait("opa", lambda: client.get(patient(18)).status_code == 200, "answering again")


def test_an_engine_that_is_gone_is_a_recorded_denial(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        stack.processes.kill("opa")
        denied = client.get(patient(18))
        assert (denied.status_code, reason(stack, denied)) == (503, "engine_unavailable")
        stack.deployment.start_opa()
        stack.processes.wait("opa", lambda: client.get(patient(18)).status_code == 200, "answering again")


def test_an_engine_that_stays_away_is_denied_and_recorded_for_as_long_as_it_does(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        assert client.get(RECORDS).status_code == 200
        stack.processes.kill("opa")
        stack.processes.wait(
            "worker", lambda: not stack.deployment.worker_ready(), "calling itself not ready"
        )
        before = health_checks(stack)
        stack.processes.wait("envoy", lambda: health_checks(stack) >= before + 3, "asking for its health")
        denied, cached = client.get(patient(18)), client.get(RECORDS)
        assert (denied.status_code, reason(stack, denied)) == (503, "engine_unavailable")
        assert (cached.status_code, stack.record(cached)["cache"]) == (200, "hit")


def test_a_follower_that_is_gone_stops_no_request(tmp_path: Path) -> None:
    with running(tmp_path) as stack, stack.client() as client:
        stack.processes.kill("follower")
        assert {client.get(patient(number)).status_code for number in range(5)} == {200}
        stack.deployment.start_follower()


def health_checks(stack: Stack) -> int:
    """How often Envoy has asked the worker for its health."""
    _, text = get(stack.deployment.places.admin_socket, "/stats?filter=cluster.aegis.health_check.attempt")
    return int(text.split(b": ")[1])


def reason(stack: Stack, answer: httpx.Response) -> str:
    return str(stack.record(answer).get("reason_code"))
