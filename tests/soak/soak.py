"""A long mixed load through Envoy while OPA, worker, follower and collector are killed at random; then quiet.

    python -m tests.soak.soak --minutes 60 [--seed 7] [--state DIRECTORY] [--out FILE.json]

For the first half somebody is killed with SIGKILL every few seconds and started again, the collector (a real
OTLP receiver) sometimes between what it has kept and what it acknowledges. The second half is left alone, so
that memory can be compared. At the end every answer that named a record must have it with the same verdict,
every entry must be in the collector once after deduplication and in order, outcomes may be missing only where
the worker was away, and the ledger must verify on every level. Prints figures; exit status 1 when one of that
is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz.up import records
from authz.up.deployment import program
from authz.up.mcp_server import McpUpstream
from authz.up.probe import get
from tests.e2e.stack import Stack, running
from tests.soak.judge import judge
from tests.soak.load import AGENTS, Seen, plain_agent, sdk_agent

KILL_EVERY_S = (5.0, 20.0)
DOWN_S = 2.0  # most until it is started again
LOOK_EVERY_S = 15.0
CAUGHT_UP_S = 300.0  # in which everything must have left after the load
VICTIMS = ("opa", "follower", "worker", "collector")
SOCKET = "otlp.sock"


class Soak:
    """One deployment with its collector. `hands` starts and kills: its thread outlives what it starts, since
    a process ends with the thread that it was started by.
    """

    def __init__(self, stack: Stack, hands: ThreadPoolExecutor, seconds: float, seed: int) -> None:
        self.stack, self._hands, self._seconds = stack, hands, seconds
        self._moments = random.Random(seed)
        self.seen = Seen()
        self.received = stack.deployment.settings.state / "received.jsonl"
        self._start = {
            "opa": stack.deployment.start_opa,
            "follower": stack.deployment.start_follower,
            "worker": stack.deployment.start_worker,
            "collector": self.start_collector,
        }

    def start_collector(self) -> None:
        target = self.stack.deployment.settings.state / SOCKET
        command = [sys.executable, "-m", "tests.collector", str(target), str(self.received)]
        self.stack.processes.start("collector", *command)
        self.stack.processes.wait("collector", lambda: _listens(target), "listening")

    async def play(self) -> None:
        """The load: half of it with kills, half of it without."""
        begun, seen = time.monotonic(), self.seen
        ends = begun + self._seconds
        agents = [asyncio.create_task(plain_agent(self.stack, seen, n, ends)) for n in range(AGENTS)]
        agents.append(asyncio.create_task(sdk_agent(self.stack, seen, ends)))
        while time.monotonic() < begun + self._seconds / 2:
            await asyncio.sleep(self._moments.uniform(*KILL_EVERY_S))
            await asyncio.get_running_loop().run_in_executor(self._hands, self._strike)
        seen.quiet_since = datetime.now(UTC)
        while time.monotonic() < ends:
            self._look()
            await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, ends - time.monotonic())))
        await asyncio.gather(*agents)

    def _strike(self) -> None:
        """Kill one of them, and start it again after a while."""
        victim = self._moments.choice(VICTIMS)
        if victim == "collector" and self._moments.random() < 0.5:
            self._strike_unacknowledged()
        killed = datetime.now(UTC)
        self.stack.processes.kill(victim)
        time.sleep(self._moments.uniform(0.0, DOWN_S))
        started = time.monotonic()
        self._start[victim]()
        self.seen.kills[victim] += 1
        self.seen.restarts_s.setdefault(victim, []).append(time.monotonic() - started)
        if victim == "worker":
            self.seen.away.append((killed, datetime.now(UTC)))

    def _strike_unacknowledged(self) -> None:
        """Let the collector die between having kept a batch and saying so, if one comes within 10 s."""
        die = Path(f"{self.received}.die")
        die.touch()
        end = time.monotonic() + 10
        while self.stack.processes.status("collector") is None and time.monotonic() < end:
            time.sleep(0.02)
        die.unlink(missing_ok=True)

    def _look(self) -> None:
        pid = self.stack.processes.pid
        self.seen.memory.append({name: _resident_mb(pid(name)) for name in (*VICTIMS, "envoy")})

    def settle(self) -> None:
        """Let everything arrive: Envoy's log at the worker, the worker's records at the collector."""
        processes = self.stack.processes
        processes.wait("envoy", self._handed_on, "sending its log", 30)
        processes.stop("envoy")
        processes.stop("worker")
        entries = sum(1 for epoch in records.epochs(self.stack.ledger) for _ in records.entries(epoch))
        processes.wait("follower", lambda: self._exported() == entries, "exporting everything", CAUGHT_UP_S)

    def _handed_on(self) -> bool:
        """Whether Envoy has sent what it logged, as far as it can tell."""
        _, text = get(self.stack.deployment.places.admin_socket, "/stats?filter=grpc_access_log")
        counts = dict(line.rsplit(": ", 1) for line in text.decode().splitlines())
        sent, logged = (
            sum(int(value) for name, value in counts.items() if name.endswith(wanted))
            for wanted in (".grpc_entries_flushed", ".logs_written")
        )
        return sent >= logged

    def _exported(self) -> int:
        """The worker's entries behind the collector's cursors, as `aegis export status` has it. None may be
        refused.
        """
        command = [str(program("aegis")), "export", "status", "-c", str(self.stack.deployment.config)]
        done = subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=60)
        (otlp,) = [each for each in json.loads(done.stdout) if each["exporter"] == "otlp"]
        return int(otlp["workers"][self.stack.ledger.name]["exported"])


def _listens(target: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(target))
        return True
    return False


def _resident_mb(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6, 1)


@contextmanager
def soaking(state: Path, seconds: float, seed: int) -> Iterator[Soak]:
    """A running deployment with collector and MCP server; its ledger is verified at the end."""
    exporters = {"otlp": {"endpoint": f"unix:{SOCKET}"}}
    with (
        ThreadPoolExecutor(1) as hands,
        McpUpstream() as server,
        running(state, mcp=server.port, exporters=exporters) as stack,
    ):
        soak = Soak(stack, hands, seconds, seed)
        soak.start_collector()
        yield soak


def run(state: Path, seconds: float, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Figures, and what is wrong."""
    with soaking(state, seconds, seed) as soak:
        asyncio.run(soak.play())
        soak.settle()
        return judge(soak.stack, soak.seen, soak.received)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aegis-soak-") as scratch:
        yield Path(scratch)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--state", type=Path, help="where everything stays (by default it is removed)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with contextlib.nullcontext(options.state) if options.state else _scratch() as state:
        figures, faults = run(state, options.minutes * 60, options.seed)
    figures = {"minutes": options.minutes, "verified": True} | figures
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
