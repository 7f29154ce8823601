"""`make bench-replay`: recorded decisions put to policy again, on this machine.

    python benchmarks/replay.py [--decisions 100000] [--state DIRECTORY] [--out NAME.json]

A real writer keeps that many decisions of the default library with their facts, no two of them equal: the
worst case, since equal questions are asked once. Then commands put them to a candidate that knows one agent
more, and to their own version on level 4. Times are of the clock, everything included: reading, decrypting,
starting OPA, the report. Target: the candidate within 60 s for 100,000 on 2 cores; exit status 1 beyond it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import uuid_utils
import uvloop
import yaml

from authz.config import Settings
from authz.ledger import keys, trust
from authz.ledger.disclosures import form
from authz.ledger.opening import open_ledger
from authz.ledger.writer import Observed
from authz.replay import version
from authz.replay.judges import Judges
from authz.values import Verdict

ROOT = Path(__file__).resolve().parent.parent
AEGIS = Path(sys.executable).with_name("aegis")
WAITING = 512
TARGET_S = 60.0
AGENTS = ("clinical-agent", "billing-agent", "clinical-agent", "clinical-agent", "nobody")


def question(number: int) -> bytes:
    """What the default library is asked about reading records, each time of another patient."""
    return orjson.dumps(
        {
            "action": {
                "body": "none",
                "kind": "http",
                "method": "GET",
                "resource": f"/patients/{number}/records",
                "tool": "",
            },
            "agent": {"assurance": "jwt", "chain": [], "id": AGENTS[number % len(AGENTS)]},
            "context": {"claimed": []},
            "destination": {"host": "internal-ehr.myorg.example", "port": 80},
            "mcp": {},
            "parsed_query": {},
            "session": {"identified": False},
        },
        option=orjson.OPT_SORT_KEYS,
    )


def members(asked: bytes, verdict: Verdict, digest: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A decision's own members, and the disclosure of its facts."""
    facts = orjson.loads(asked)
    text = form.make("facts", {"input": facts, "masked": []}, os.urandom(form.SALT_BYTES))
    said = {
        "decision_id": str(uuid_utils.uuid7()),
        "agent_id": facts["agent"]["id"],
        "action": "http",
        "method": "GET",
        "endpoint": f"http://{facts['destination']['host']}{facts['action']['resource']}",
        "params_hash": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "policy_version": "v1.0.0",
        "policy_digest": digest,
        "decision": verdict.decision,
        "mode": "enforce",
        "reason_code": verdict.reason_code,
        "rule": verdict.rule,
        "rationale": verdict.rationale,
        "evidence": verdict.evidence,
        "engine": "opa",
        "cache": "miss",
        "trace_id": os.urandom(16).hex(),
        "_sd": [form.digest(text)],
        **verdict.classification,
    }
    said.setdefault("tool", "http")
    return said | ({"obligations": verdict.obligations} if verdict.obligations else {}), (text,)


async def write(settings: Settings, asked: list[bytes], verdicts: list[Verdict], digest: str) -> None:
    ledger = open_ledger(settings, on_failure=lambda: None, observed=Observed())
    waiting: list[asyncio.Future[Any]] = []
    for each, verdict in zip(asked, verdicts, strict=True):
        said, disclosures = members(each, verdict, digest)
        waiting.append(ledger.append("decision", said, synced=True, disclosures=disclosures))
        if len(waiting) == WAITING:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    await ledger.close()


def prepare(state: Path, count: int) -> Settings:
    settings = Settings.model_validate({"state": state, "disclosures": {"facts": True, "snapshots": True}})
    (state / "keys").mkdir(parents=True)
    for file in (settings.ledger.record_key, settings.ledger.log_key):
        keys.ensure(settings.path(file))
    told = ("--version", "v1.0.0", "--why", "benchmark", "--state", str(state))
    run("policy", "publish", str(ROOT / "rego"), *told)
    (bundle,) = (state / "bundles").glob("v1.0.0+*")
    published = version.of_bundle(bundle)
    asked = [question(number) for number in range(count)]
    with Judges(state / "bundles", "aegis/decision") as judges:
        judged = judges.judge(published, asked)
    verdicts = [each.verdict for each in judged if each.verdict]
    uvloop.run(write(settings, asked, verdicts, published.label.partition("+")[2]))
    (state / "aegis.yaml").write_text(
        yaml.safe_dump({"state": str(state), "disclosures": {"facts": True, "snapshots": True}})
    )
    log, record = (
        keys.public_key(keys.load(settings.path(file)))
        for file in (settings.ledger.log_key, settings.ledger.record_key)
    )
    (state / "trust.json").write_bytes(trust.export({f"{settings.deployment}/": [log]}, [record]))
    return settings


def candidate(state: Path) -> Path:
    """The default library with another word for one reason, and one agent more."""
    source = state / "candidate"
    shutil.copytree(ROOT / "rego", source, ignore=shutil.ignore_patterns("*_test.rego"))
    agents = source / "agents/data.yaml"
    agents.write_text(agents.read_text() + "\nnobody:\n  tools: {ehr.read: {}}\n")
    return source


def run(*arguments: str) -> tuple[float, float, str]:
    """Seconds of the clock, of CPU with all children, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([AEGIS, *arguments], capture_output=True, text=True, check=False)
    took, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(took, 1), round(cpu, 1), done.stdout


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aegis-bench-") as scratch:
        state = options.state or Path(scratch) / "var"
        settings = prepare(state, options.decisions)
        told = ("--config", str(state / "aegis.yaml"))
        why = ("--why", "benchmark", "--json")
        put, put_cpu, said = run("policy", "candidate", "--policy", str(candidate(state)), *why, *told)
        level, level_cpu, report = run(
            *("verify", str(settings.ledger_directory), "--trust", str(state / "trust.json")),
            *("--level", "4", "--json", *told),
        )
    found = {
        "decisions": options.decisions,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "candidate_s": put,
        "candidate_cpu_s": put_cpu,
        "candidate": {name: json.loads(said)[name] for name in ("replayed", "turned", "same")},
        "level_4_s": level,
        "level_4_cpu_s": level_cpu,
        "level_4": json.loads(report)["repeated"],
    }
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(put > TARGET_S * max(1.0, options.decisions / 100_000))


if __name__ == "__main__":
    sys.exit(main())
