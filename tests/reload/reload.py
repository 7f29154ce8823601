"""Activates one policy version after another under load, and judges every record that came of it.

    python -m tests.reload.reload --activations 300 --rate 1000            at the worker's gRPC
    python -m tests.reload.reload --activations 60 --rate 200 --envoy      through Envoy

Out: one JSON object, exit status 0 if nothing is wrong. Worker, follower, OPA and Envoy are real processes;
the ledger is verified from disk at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from authz.followers.releases import Releases
from authz.policy.engine import BUNDLES, STATUS
from authz.up import records
from authz.up.deployment import ROOT
from authz.up.probe import get
from authz.up.traffic import TOKEN
from tests.e2e.stack import Stack, running
from tests.policy.crafted import crafted
from tests.reload.judge import Activation, judge
from tests.reload.load import HOST

FIRST = "v0"
# The reason is in the code, the rule's name in the data: a mixture of versions would show. Neighbours read
# different facts: a question that was asked of the other one would be undefined, and denied.
RULE = """package aegis

decision := {{"decision": "allow", "reason_code": "from_v{number}", "rule": data.release.name}} if {{
	input.parsed_path[0] == "patients"
	{reads}
}}
"""
READS = (
    (f'input.destination.host == "{HOST}"', ["destination", "host"]),
    ('input.action.method == "GET"', ["action", "method"]),
)
WITHIN_S = 20.0
LOOK_EVERY_S = 0.01


def files(number: int) -> dict[str, str]:
    """The source of version `v<number>`."""
    reads, _ = READS[number % 2]
    return {
        "aegis/policy.rego": RULE.format(number=number, reads=reads),
        "release/data.json": json.dumps({"name": f"rule_v{number}"}),
    }


def facts(number: int) -> list[list[str]]:
    """What `files(number)` reads."""
    return [["parsed_path"], READS[number % 2][1]]


def run(state: Path, activations: int, rate: float, every_s: float, *, envoy: bool = False) -> dict[str, Any]:
    """The figures; `faults` lists what is wrong. One activation about every `every_s` seconds."""
    policy = state / "first"
    for name, text in files(0).items():
        (policy / name).parent.mkdir(parents=True)
        (policy / name).write_text(text)
    with running(state / "var", policy=policy, envoy=envoy) as stack:
        for number in range(1, activations + 1):
            crafted(
                stack.deployment.settings.state,
                f"v{number}",
                files(number),
                key=stack.deployment.settings.state / "keys/policy.pem",
                facts=facts(number),
            )
        with _loaded(stack, rate, activations * every_s + WITHIN_S, envoy) as ended:
            seen = [_activate(stack, number, every_s) for number in range(1, activations + 1)]
            answers = ended()
        named = (entry for epoch in records.epochs(stack.ledger) for entry in records.entries(epoch))
        found = judge(
            (entry | _first(entry) for entry in named if entry["kind"] == "decision"),
            [each for each in seen if each],
        )
    faults = [*found.faults, *_unanswered(answers, found.records)]
    return {
        "activations": activations,
        "taken_up": sum(1 for each in seen if each),
        "versions_that_decided": len(found.versions),
        "rate": rate,
        "via": "envoy" if envoy else "grpc",
        "load": answers,
        "records": found.records,
        "cache": dict(sorted(found.by_cache.items())),
        "denied": dict(sorted(found.denied.items())),
        "mixed": found.mixed,
        "late": found.late,
        "older_version_after_activation_ms": {
            "asked": round(found.latest_s * 1000, 1),
            "cached": round(found.latest_hit_s * 1000, 1),
        },
        "ledger_verified": True,  # `running` verifies it, or raises
        "faults": faults[:20],
    }


def _first(entry: dict[str, Any]) -> dict[str, str]:
    """What `aegis up` calls its first version, in our numbers."""
    return {"policy_version": FIRST} if entry["policy_version"] == "v1.3.2" else {}


def _activate(stack: Stack, number: int, every_s: float) -> Activation | None:
    """Make it the one that is served, wait until OPA has it, and for the rest of `every_s`. When OPA says
    that it was; None if it was not within WITHIN_S.
    """
    began = time.monotonic()
    settings = stack.deployment.settings
    Releases(stack.deployment.versions, settings.outbox, "reload").activate(f"v{number}")
    socket = stack.deployment.places.opa_socket
    while not _revision(socket).startswith(f"v{number}+"):
        if time.monotonic() > began + WITHIN_S:
            return None
        time.sleep(LOOK_EVERY_S)
    (bundle,) = orjson.loads(get(socket, STATUS)[1])["result"]["bundles"].values()
    at = datetime.fromisoformat(bundle["last_successful_activation"]).timestamp()
    time.sleep(max(0.0, began + every_s - time.monotonic()))
    return Activation(number, at)


def _revision(socket: Path) -> str:
    (bundle,) = orjson.loads(get(socket, BUNDLES)[1])["result"].values()
    return str(bundle["manifest"]["revision"])


@contextmanager
def _loaded(stack: Stack, rate: float, seconds: float, envoy: bool) -> Iterator[Callable[[], dict[str, Any]]]:
    """A load in a process of its own; call what it gives to end it, for its counts."""
    token = stack.issuer.token("clinical-agent")
    command = [sys.executable, "-m", "tests.reload.load"]
    command += [str(stack.deployment.places.check_socket), token, "--rate", str(rate)]
    if envoy:
        command = [sys.executable, str(ROOT / "benchmarks/load.py"), "--rate", str(rate)]
        command += ["--port", str(stack.deployment.ports.envoy), "--seconds", str(seconds)]
        command += ["--authority", HOST, "--path", "/patients/{n}", "--header", f"{TOKEN}: {token}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as load:

        def ended() -> dict[str, Any]:
            if not envoy:
                load.send_signal(signal.SIGTERM)
            said, _ = load.communicate(timeout=seconds + 60)
            counts: dict[str, Any] = json.loads(said)
            return counts

        try:
            stack.processes.wait("worker", lambda: _decided(stack), "deciding", WITHIN_S)
            yield ended
        finally:
            load.kill()


def _decided(stack: Stack) -> bool:
    return bool(records.epochs(stack.ledger)) and any(
        entry["kind"] == "decision" for entry in records.entries(records.epochs(stack.ledger)[-1])
    )


def _unanswered(answers: dict[str, Any], recorded: int) -> Iterator[str]:
    """Requests that were not allowed, or left no record."""
    allowed = answers.get("answers", {}).get("allow", 0) + answers.get("statuses", {}).get("200", 0)
    asked = answers.get("sent", answers.get("requests", 0))
    if allowed != asked or not asked:
        yield f"of {asked} requests {allowed} were allowed: {answers}"
    if recorded != asked:
        yield f"{asked} requests, {recorded} records"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--activations", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between two activations")
    parser.add_argument("--envoy", action="store_true", help="through Envoy, each request a new one")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aegis-reload-") as scratch:
        figures = run(Path(scratch), options.activations, options.rate, options.every, envoy=options.envoy)
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if figures["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
