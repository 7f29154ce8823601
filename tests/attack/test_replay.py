"""Who can sign, swap or reword what replay rests on: level 4 names the log, the line and the entry."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

from authz.config_file import load
from authz.ledger import trust
from authz.ledger.disclosures import form
from tests.policy.opa import version_of
from tests.replaying import RULES, Asking, recording, run
from tests.worker import public

PLACE = ("kind", "log", "seq", "previous_entry_hash", "timestamp", "signer_id", "attestation_signature")


async def verify(directory: Path, *arguments: str, level: int = 4) -> Any:
    settings = load(directory / "aegis.yaml")
    log, record = (settings.path(key) for key in (settings.ledger.log_key, settings.ledger.record_key))
    pinned = directory / "trust.json"
    pinned.write_bytes(trust.export({f"{settings.deployment}/": [public(log)]}, [public(record)]))
    told = ["verify", str(settings.ledger_directory), "--trust", str(pinned), "--level", str(level)]
    return await asyncio.to_thread(run, directory, *told, *arguments)


async def lie(asking: Asking, record: dict[str, Any], **said: Any) -> None:
    """The holder of the record key signs that policy said something else about the same facts."""
    text = form.make(
        "facts", {"input": {"action": {}, "parsed_path": ["read", "1"]}, "masked": []}, os.urandom(16)
    )
    members = {name: value for name, value in record.items() if name not in PLACE} | said
    members |= {"decision_id": record["decision_id"][:-4] + "0000", "_sd": [form.digest(text)]}
    await asking.worker.ledger.append("decision", members, synced=True, disclosures=(text,))


async def test_honest_decisions_reach_level_4(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
        await asking.ask("agent-2", "/keep/1", {"count": 30})
    done = await verify(tmp_path)
    assert done.exit_code == 0, done.output
    assert "level 4" in done.output
    assert "1 came out the same, 0 otherwise, 1 not replayable" in done.output
    found = json.loads((await verify(tmp_path, "--json")).output)
    assert found["repeated"] == {
        "decisions": 2,
        "same": 1,
        "not_replayable": {"not_captured": 1},
        "faults": 0,
        "first": None,
    }


async def test_a_signed_lie_about_what_policy_said_passes_level_3_and_not_level_4(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/read/1")
        await lie(asking, record, decision="deny", reason_code="not_permitted", rule="default")
    assert (await verify(tmp_path, level=3)).exit_code == 0
    done = await verify(tmp_path)
    assert done.exit_code == 1
    first = done.output.splitlines()[0]
    assert first.startswith("NOT VERIFIED")
    assert f"00000000.jsonl, line {record['seq'] + 2}, seq {record['seq'] + 1}: {record['log']}: " in first
    assert 'decision recorded "deny", now "allow"' in first


async def test_a_signed_lie_about_the_rule_or_the_evidence(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/read/1")
        await lie(asking, record, evidence=["paths/other"])
    assert 'evidence recorded ["paths/other"], now ["paths/read"]' in (await verify(tmp_path)).output


async def test_another_bundle_under_the_version_s_name(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
    (bundle,) = (tmp_path / "bundles").glob("*.tar.gz")
    shutil.copyfile(version_of(tmp_path / "other", RULES.replace("read", "raed")).file, bundle)
    done = await verify(tmp_path)
    assert done.exit_code == 1
    assert "its content is not what its name says" in done.output.splitlines()[0]


async def test_a_disclosure_that_was_changed(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        record = await asking.ask("agent-1", "/read/1")
    (file,) = load(tmp_path / "aegis.yaml").ledger_directory.glob("*/disclosures/*.jsonl")
    line = json.loads(file.read_bytes())
    text = form.make("facts", {"input": {"parsed_path": ["keep"]}, "masked": []}, os.urandom(16))
    file.write_bytes(form.plain(line["decision_id"], line["seq"], [text]) + b"\n")
    done = await verify(tmp_path)
    assert done.exit_code == 1
    assert f"line 1, seq {record['seq']}: a disclosure that is not among the digests" in done.output


async def test_a_version_that_is_gone_is_said_and_not_taken_for_the_same(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
    for bundle in (tmp_path / "bundles").glob("*.tar.gz"):
        bundle.unlink()
    done = await verify(tmp_path)
    assert done.exit_code == 0
    assert "0 came out the same, 0 otherwise, 1 not replayable" in done.output
    assert "not_replayable: version_unknown: 1" in done.output


async def test_a_candidate_that_wants_to_carry_facts_out(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
    source = tmp_path / "new" / "aegis"
    source.mkdir(parents=True)
    leak = 'leak if http.send({"method": "POST", "url": "http://127.0.0.1:1/", "body": input})'
    (source / "decision.rego").write_text(f"package aegis\n{RULES}\n{leak}\n")
    told = ["policy", "candidate", "--policy", str(source.parent), "--why", "x"]
    done = await asyncio.to_thread(run, tmp_path, *told)
    assert (done.exit_code, "undefined function http.send" in done.output) == (2, True)


async def test_level_4_needs_the_versions(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        await asking.ask("agent-1", "/read/1")
    done = await verify(tmp_path, "--bundles", str(tmp_path / "nothing"))
    assert (done.exit_code, "nothing: no such directory" in done.output) == (2, True)
