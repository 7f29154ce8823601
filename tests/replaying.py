"""Decisions that a real worker made with a real OPA and kept the facts of, for whatever replays them.

async with recording(tmp_path) as worker:
    await worker.ask("agent-1", "/v1")           a decision, with its record and its facts
Replays(tmp_path).run("replay", ...)             the command, told of that state by a file
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from authz.cli.main import app
from authz.config_file import load
from authz.ledger.outbox import Outbox
from tests.worker import CheckWorker, message, serving

# Reads the agent, the path and, of a body, its members; keeps payloads of what is allowed under /keep.
RULES = """
default decision := {"decision": "deny", "reason_code": "not_permitted", "rule": "default"}

decision := {
    "decision": "allow",
    "reason_code": "permitted",
    "rule": "reading",
    "evidence": [concat("/", ["paths", input.parsed_path[0]])],
    "obligations": {"capture": "hash"},
} if {
    input.parsed_path[0] == "read"
    not input.action.arguments.all
}

decision := {
    "decision": "allow",
    "reason_code": "permitted",
    "rule": "keeping",
    "obligations": {"capture": "redacted"},
} if {
    input.parsed_path[0] == "keep"
    input.action.arguments.count < 10
}
"""


class Asking:
    """A worker, and what was asked of it."""

    def __init__(self, worker: CheckWorker) -> None:
        self.worker = worker

    async def ask(
        self, agent: str, path: str, body: dict[str, Any] | None = None, **http: Any
    ) -> dict[str, Any]:
        """The record of one decision."""
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"content-type": "application/json", "content-length": str(len(data))} if data else {}
        asked = message(
            token=self.worker.token(sub=agent),
            path=path,
            method="POST" if data else "GET",
            headers=headers,
            body=data,
            **http,
        )
        return (await self.worker.recorded(asked))[1]


@asynccontextmanager
async def recording(
    directory: Path, rego: str = RULES, *, facts: bool = True, **sections: Any
) -> AsyncIterator[Asking]:
    """Ends with its ledger verified."""
    told = {
        "disclosures": {"facts": facts, "snapshots": facts},
        "ledger": {"reply_after": "synced"},  # a busy disk would put `late_sync` entries between
        "follower": {"bundle_directory": str(directory / "bundles")},
    } | sections
    (directory / "aegis.yaml").write_text(yaml.safe_dump({"state": str(directory / "var")} | told))
    async with serving(directory, rego, **told) as worker:
        yield Asking(worker)


def run(directory: Path, *arguments: str) -> Any:
    """The command with the settings of `recording`."""
    return CliRunner().invoke(app, [*arguments, "--config", str(directory / "aegis.yaml")])


def accesses(directory: Path) -> list[dict[str, Any]]:
    """The `access` events that wait for the control log."""
    with Outbox(load(directory / "aegis.yaml").outbox) as outbox:
        return [event.members for event in outbox.waiting(1000) if event.kind == "access"]
