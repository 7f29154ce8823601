"""`aegis up`: start everything, play the sample traffic, prove the ledger, then serve until Ctrl-C.

In: options. Out: an exit status: 0 when everything was as expected, 1 when something was not. Whatever was
started is ended on every way out.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from authz.up import mcp_traffic, proof, records, show
from authz.up.deployment import Deployment
from authz.up.issuer import LIFE_S, SampleIssuer
from authz.up.mcp_server import McpUpstream
from authz.up.places import Ports, occupied
from authz.up.processes import Processes, StartFailed
from authz.up.traffic import TOKEN, Agents, Outcome, sample, with_engine_again, without_engine
from authz.up.upstream import Upstream

# What policy was asked is kept, so that decisions can be replayed; of payloads what the policy lets be kept.
KEEPING: Final = {"disclosures": {"facts": True, "snapshots": True}}
ANSWERS: Final = {
    False: "answers Envoy's Check, writes the records",
    True: "decides and answers Envoy's Check, writes the records",
}
_LOOK_EVERY_S: Final = 0.5
_SEALED_WITHIN_S: Final = 15.0


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    state: Path
    policy: Path
    ports: Ports
    once: bool
    engine: str = "opa"


def run(options: Options) -> int:
    """The whole story. Raises AegisError for whatever cannot be started."""
    console = show.console()
    with _orderly_end(), occupied(options.state) as places:
        options.ports.check()
        with (
            Upstream(options.ports.upstream),
            McpUpstream() as mcp,
            Processes(places.logs) as processes,
        ):
            overrides = KEEPING | {"policy": {"engine": options.engine}}
            deployment = Deployment(places, options.ports, processes, overrides, mcp.port)
            issuer = _start(deployment, options.policy, console)
            good = _play(deployment, issuer, mcp, console)
            good = _prove(deployment, console) and good
            if not good:
                console.print("[bold red]Something was not as expected: see above.[/]")
            if not options.once:
                _serve(deployment, issuer, options.policy, console)
    return 0 if good else 1


def _start(deployment: Deployment, policy: Path, console: Console) -> SampleIssuer:
    issuer, published = deployment.prepare(policy)
    console.print(show.policy(published, policy, deployment))
    steps = {
        "follower": (deployment.start_follower, "seals the ledger, serves the policy on loopback"),
        "opa": (deployment.start_opa, "decides; reached over a private Unix socket"),
        "worker": (deployment.start_worker, ANSWERS[deployment.embedded]),
        "envoy": (deployment.start_envoy, f"egress gateway on {deployment.proxy}"),
    }
    if deployment.embedded:
        del steps["opa"]
    for name, (start, what) in steps.items():
        started = time.monotonic()
        start()
        took = time.monotonic() - started
        console.print(f"{name:9} {what} ({took:.1f} s)")
    return issuer


def _play(deployment: Deployment, issuer: SampleIssuer, mcp: McpUpstream, console: Console) -> bool:
    """All of the sample traffic, OPA's absence included; whether every outcome was the expected one."""
    agents = Agents(deployment.proxy, deployment.settings.ledger_directory)
    try:
        outcomes: list[Outcome] = agents.play(sample(issuer))
        outcomes += mcp_traffic.play(deployment, issuer, mcp)
        if not deployment.embedded:  # without an OPA none can be away
            outcomes += _without_opa(deployment, agents, issuer)
    finally:
        agents.close()
    console.print()
    console.print(show.table(outcomes))
    faults = show.faults(outcomes)
    if faults:
        console.print(f"[bold red]{faults}[/]")
    return not faults


def _without_opa(deployment: Deployment, agents: Agents, issuer: SampleIssuer) -> list[Outcome]:
    agents.play(without_engine(issuer)[:1])  # fresh in the cache
    deployment.processes.stop("opa")
    outcomes = agents.play(without_engine(issuer))
    deployment.start_opa()
    return [*outcomes, *agents.play(with_engine_again(issuer))]


def _prove(deployment: Deployment, console: Console) -> bool:
    """Verify the ledger, then a copy with one flipped bit; whether only the first holds."""
    worker = deployment.settings.ledger_directory
    epoch = records.epochs(worker)[-1]
    deployment.processes.wait(
        "follower", lambda: proof.sealed(epoch), "a checkpoint over all records", _SEALED_WITHIN_S
    )
    whole = proof.verify(worker.parent, deployment.trust, deployment.config)
    holds = whole.status == 0
    console.print(
        f"\nThe ledger {'[green]verifies[/]' if holds else '[bold red]does NOT verify[/]'} on level "
        f"{proof.LEVEL} (tree, checkpoint, chain, every signature, every decision made again):"
    )
    console.print(show.verified(whole) if holds else show.fault(whole))
    victim = next(entry for entry in records.entries(epoch) if entry["kind"] == "decision")
    flipped = proof.verify_with_flipped_bit(epoch, victim["decision_id"], deployment.trust)
    caught = flipped.status == 1
    console.print(
        f"\nA copy with one bit of entry {victim['seq']} flipped "
        f"{'[green]does not verify[/]' if caught else '[bold red]VERIFIES[/]'}:\n  {show.fault(flipped)}\n"
    )
    return holds and caught


def _serve(deployment: Deployment, issuer: SampleIssuer, policy: Path, console: Console) -> None:
    """Until Ctrl-C or SIGTERM. Raises StartFailed when one of the processes ends by itself."""
    header = deployment.places.run / "clinical-agent.header"
    console.print(show.processes(deployment.processes))
    console.print(show.how_to_go_on(deployment, header, policy))
    renew_at = 0.0
    try:
        while True:
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + LIFE_S / 2
                _write_private(header, f"{TOKEN}: {issuer.token('clinical-agent')}\n")
            if ended := deployment.processes.ended():
                raise StartFailed(ended)
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        console.print("\nstopping")
    finally:
        header.unlink(missing_ok=True)


def _write_private(file: Path, text: str) -> None:
    beside = file.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    beside.replace(file)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM unwinds (KeyboardInterrupt); later ones cannot disturb the unwinding."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def first(number: int, frame: Any) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, first) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
