"""What a log stream that stops or hangs costs: outcomes, counted, and never an answer.

Between the real Envoy and the worker stands a relay that the test stops and pauses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from authz.ledger.outcomes import Joined, join
from authz.up import gateway
from authz.up.deployment import GATEWAY
from authz.up.probe import get
from authz.up.traffic import DECISION_ID, RECORDS
from tests.e2e.relay import Relay
from tests.e2e.stack import Stack, running
from tests.e2e.test_outcomes import outcomes

MOST = 5000  # requests until Envoy's buffers must be full


class Logged:
    """A deployment whose outcomes go through a relay."""

    def __init__(self, stack: Stack, relay: Relay) -> None:
        self.stack, self.relay = stack, relay

    def ask(self, count: int) -> set[str]:
        """So many requests, all allowed and answered; the ids of their decisions."""
        with self.stack.client() as client:
            answers = [client.get(RECORDS) for _ in range(count)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.headers[DECISION_ID] for answer in answers}

    def recorded(self) -> set[str]:
        return {str(each["decision_id"]) for each in outcomes(self.stack) if "decision_id" in each}

    def wait_for(self, ids: set[str]) -> None:
        self.stack.processes.wait("worker", lambda: ids <= self.recorded(), "recording the outcomes", 20)

    def count(self, name: str) -> int:
        """One of Envoy's own counters of its access log service."""
        _, text = get(self.stack.deployment.places.admin_socket, "/stats?filter=grpc_access_log")
        (line,) = [each for each in text.decode().splitlines() if f".{name}:" in each]
        return int(line.split()[1])

    def handed_on(self) -> None:
        """Until Envoy has sent what it logged, as far as it can tell."""
        flushed = "grpc_entries_flushed"
        self.stack.processes.wait(
            "envoy", lambda: self.count(flushed) >= self.count("logs_written"), "sending its log", 10
        )

    def joined(self) -> Joined:
        found = join(self.stack.ledger, 0.0)
        assert (found.breaches, found.repeated, found.duplicates) == (0, 0, 0)
        assert found.lost == {}
        return found


@contextmanager
def logged(directory: Path, buffer_bytes: int = 0) -> Iterator[Logged]:
    """`buffer_bytes`: what Envoy keeps for a worker that does not read; its own megabyte by default."""
    with running(directory, envoy=False, listen={"drain_s": 0.0}) as stack:
        places = stack.deployment.places
        addresses = stack.deployment.addresses(stack.deployment.ports.envoy, upstream=stack.upstream.port)
        with Relay(places.sockets / "relay.sock", places.outcomes_socket) as relay:
            through = gateway.Addresses(**vars(addresses) | {"outcomes": [relay.path]})
            tree = gateway.configure(GATEWAY, through)
            for cluster in tree["static_resources"]["clusters"]:
                if buffer_bytes and cluster["name"] == gateway.OUTCOMES:
                    cluster["per_connection_buffer_limit_bytes"] = buffer_bytes
            stack.deployment.start_envoy(tree)
            yield Logged(stack, relay)
            relay.go_on()
            stack.processes.stop("envoy")


def test_what_ends_while_nobody_listens_is_lost_and_nothing_else_and_envoy_does_not_say_so(
    tmp_path: Path,
) -> None:
    with logged(tmp_path) as log:
        log.wait_for(log.ask(20))
        log.relay.stop()
        lost = log.ask(60)
        log.handed_on()
        log.relay.start()
        log.wait_for(log.ask(20))
        assert log.recorded() & lost == set()
        found = log.joined()
        assert (found.decisions, found.outcomes, found.missing_allowed) == (100, 40, 60)
        assert log.count("logs_dropped") == 0


def test_what_a_worker_that_hangs_for_a_while_is_sent_arrives_late_and_whole(tmp_path: Path) -> None:
    with logged(tmp_path) as log:
        log.wait_for(log.ask(20))
        log.relay.pause()
        waiting = log.ask(200)
        assert not waiting & log.recorded()
        log.relay.go_on()
        log.wait_for(waiting)
        assert log.joined().missing_allowed == 0


def test_what_does_not_fit_envoys_buffer_is_lost_and_envoy_counts_it(tmp_path: Path) -> None:
    with logged(tmp_path, buffer_bytes=16_384) as log:
        log.wait_for(log.ask(20))
        log.relay.pause()
        asked = 0
        while not log.count("logs_dropped") and asked < MOST:
            asked += len(log.ask(100))
        log.relay.go_on()
        log.wait_for(log.ask(20))
        log.handed_on()
        dropped = log.count("logs_dropped")
        assert dropped > 0
        found = log.joined()
        assert found.missing_allowed == dropped
        assert found.outcomes == found.decisions - dropped


def test_a_worker_that_is_killed_and_comes_back_records_no_outcome_twice(tmp_path: Path) -> None:
    with logged(tmp_path) as log:
        before = log.ask(50)
        log.stack.processes.kill("worker")
        log.stack.deployment.start_worker()
        log.stack.processes.wait("worker", lambda: bool(answered(log)), "being asked again", 20)
        log.wait_for(log.ask(20))
        found = log.joined()
        assert found.decisions >= 70
        assert found.missing_allowed <= len(before) + 1
        assert found.elsewhere == 0


def answered(log: Logged) -> bool:
    """Whether Envoy's health check has found the worker again."""
    with log.stack.client() as client:
        return client.get(RECORDS).status_code == 200
