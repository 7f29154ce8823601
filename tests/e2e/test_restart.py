"""Two workers behind one Envoy: each may be restarted under load, and nobody notices."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from pathlib import Path

import yaml

from authz.ledger import trust
from authz.up import gateway, proof, records
from authz.up.deployment import GATEWAY, program
from authz.up.places import LOOPBACK, Ports
from authz.up.probe import answers, get
from authz.up.traffic import RECORDS
from tests.e2e.stack import Stack, running

RESTARTS = 4


def second_worker(stack: Stack, directory: Path) -> tuple[Path, Path]:
    """Settings and Check socket of a second worker in the same state directory: a log of its own."""
    tree = yaml.safe_load(stack.deployment.config.read_text())
    socket = stack.deployment.places.sockets / "check-1.sock"
    tree["worker"] = "worker-1"
    tree["listen"] = {"check": f"unix:{socket}", "metrics": f"{LOOPBACK}:{Ports.free().metrics}"}
    config = directory / "worker-1.yaml"
    config.write_text(yaml.safe_dump(tree))
    return config, socket


def trust_both(stack: Stack) -> None:
    """The verifier pins a log key for each worker; here both have the same."""
    pinned = trust.load(stack.deployment.trust)
    first = stack.deployment.settings.origins[0]
    second = {first.replace("worker-0", "worker-1"): pinned.log_keys[first]}
    stack.deployment.trust.write_bytes(trust.export(pinned.log_keys | second, pinned.record_keys))


def start(stack: Stack, name: str, config: Path) -> None:
    metrics = yaml.safe_load(config.read_text())["listen"]["metrics"]
    stack.processes.start(name, str(program("aegis")), "serve", "--config", str(config))
    stack.processes.wait(name, lambda: answers(metrics, "/readyz"), "being ready")


def test_workers_restart_under_load_without_a_failed_request(tmp_path: Path) -> None:
    with running(tmp_path, envoy=False) as stack:
        config, socket = second_worker(stack, tmp_path)
        trust_both(stack)
        start(stack, "worker-1", config)
        addresses = stack.deployment.addresses(stack.deployment.ports.envoy, upstream=stack.upstream.port)
        sockets = [stack.deployment.places.check_socket, socket]
        tree = gateway.configure(GATEWAY, gateway.Addresses(**vars(addresses) | {"check": sockets}))
        stack.deployment.start_envoy(tree)
        statuses: Counter[int] = Counter()
        stop = threading.Event()

        def ask() -> None:
            with stack.client() as client:
                while not stop.is_set():
                    statuses[client.get(RECORDS).status_code] += 1

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        try:
            configs = {"worker": stack.deployment.config, "worker-1": config}
            for number in range(RESTARTS):
                name = ("worker", "worker-1")[number % 2]
                assert stack.processes.stop(name) == 0
                start(stack, name, configs[name])
                _both_asked_again(stack)
        finally:
            stop.set()
            for thread in asking:
                thread.join()
        assert set(statuses) == {200}, statuses
        other = stack.ledger.with_name("worker-1")
        assert len(records.epochs(stack.ledger)) == len(records.epochs(other)) == 1 + RESTARTS // 2
        stack.deployment.processes.wait(
            "follower", lambda: proof.sealed(records.epochs(other)[-1]), "sealing the second log"
        )


def _both_asked_again(stack: Stack) -> None:
    """Until Envoy's health checks have found both workers: only then may the other one go."""

    def healthy() -> bool:
        _, text = get(stack.deployment.places.admin_socket, "/clusters")
        flags = [
            line
            for line in text.decode().splitlines()
            if line.startswith("aegis::") and "health_flags" in line
        ]
        return len(flags) == 2 and all(line.endswith("::healthy") for line in flags)

    stack.processes.wait("envoy", healthy, "finding both workers healthy")


def test_a_worker_that_is_told_to_stop_says_so_before_it_does(tmp_path: Path) -> None:
    """NOT_SERVING, and still answering, for longer than Envoy's health check interval."""
    with running(tmp_path) as stack, stack.client() as client:
        stack.processes.signal("worker", signal.SIGTERM)
        stack.processes.wait("worker", lambda: not stack.deployment.worker_ready(), "being unready")
        assert stack.processes.status("worker") is None
        stack.processes.wait(
            "envoy", lambda: client.get(RECORDS).status_code == 503, "asking no worker that is stopping"
        )
        stack.processes.stop("worker")
        stack.deployment.start_worker()
