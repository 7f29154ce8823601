"""Recorded decisions come out the same under their own version, or it is said why that cannot be known."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from authz.config_file import load
from authz.errors import IntegrityViolation
from authz.ledger.disclosures.vault import vault_of
from authz.replay import version
from authz.replay.changes import Changes
from authz.replay.judges import Judges
from authz.replay.recorded import Recorded, Wanted, Why, count, decisions
from authz.replay.replaying import Replayed, replay
from authz.replay.version import NotJudged
from tests.policy.opa import version_of, write
from tests.replaying import RULES, recording

ALL = Wanted()


async def replayed(directory: Path, candidate: Path | None = None, wanted: Wanted = ALL) -> list[Replayed]:
    """In a thread, as commands run without an event loop."""

    def run() -> list[Replayed]:
        settings = load(directory / "aegis.yaml")
        found = decisions(settings.ledger_directory.parent, wanted, vault_of(settings))
        under = version.of_source(candidate) if candidate else None
        with Judges(settings.follower.bundle_directory, "aegis/decision") as judges:
            return list(replay(found, judges, under))

    return await asyncio.to_thread(run)


async def record(directory: Path, **how: Any) -> list[dict[str, Any]]:
    """Five decisions: allowed, allowed with its payload, denied with a masked one, denied, never asked."""
    async with recording(directory, **how) as asking:
        return [
            await asking.ask("agent-1", "/read/1"),
            await asking.ask("agent-1", "/keep/1", {"count": 3}),
            await asking.ask("agent-2", "/keep/1", {"count": 30}),
            await asking.ask("agent-2", "/other"),
            await asking.ask("agent-2", "/a%2fb"),
        ]


async def test_every_decision_comes_out_the_same_or_says_why_not(tmp_path: Path) -> None:
    records = await record(tmp_path)
    found = await replayed(tmp_path)
    assert [each.recorded.decision_id for each in found] == [each["decision_id"] for each in records]
    assert [each.why for each in found] == [None, None, Why.NOT_CAPTURED, None, Why.NOT_ASKED]
    assert not any(each.differs for each in found)
    assert json.loads(found[1].recorded.question)["action"] == {"arguments": {"count": 3}}


async def test_a_question_that_came_before_is_not_asked_again(tmp_path: Path) -> None:
    async with recording(tmp_path) as asking:
        for _ in range(5):
            await asking.ask("agent-1", "/read/1")
    found = await replayed(tmp_path)
    assert len({id(each.judged) for each in found}) == 1


async def test_a_candidate_is_compared_with_what_was_recorded(tmp_path: Path) -> None:
    records = await record(tmp_path)
    changed = RULES.replace('== "read"', '== "other"')
    found = await replayed(tmp_path, write(tmp_path / "new", {"aegis/d.rego": f"package aegis\n{changed}"}))
    changes = Changes()
    for each in found:
        changes.add(each)
    said = changes.as_object()
    assert (said["decisions"], said["replayed"], said["turned"], said["same"]) == (5, 3, 2, 1)
    assert said["not_replayable"] == {"not_captured": 1, "not_asked": 1}
    assert [
        (group["name"], group["before"], group["now"], group["examples"]) for group in said["by_rule"]
    ] == [
        ("default -> reading", "deny", "allow", [records[3]["decision_id"]]),
        ("reading -> default", "allow", "deny", [records[0]["decision_id"]]),
    ]
    assert [group["name"] for group in said["by_agent"]] == ["agent-1", "agent-2"]
    assert {group["name"] for group in said["by_destination"]} == {"https://api.example"}


async def test_a_candidate_that_reads_more_than_was_kept_is_not_guessed_at(tmp_path: Path) -> None:
    await record(tmp_path)
    more = RULES.replace('== "read"', '== "read"\n    not input.session.id')
    found = await replayed(tmp_path, write(tmp_path / "new", {"aegis/d.rego": f"package aegis\n{more}"}))
    assert {each.why for each in found} == {Why.NOT_CAPTURED, Why.NOT_ASKED}


async def test_a_candidate_that_reaches_out_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    await record(tmp_path)
    out = RULES + '\nleak if http.send({"method": "POST", "url": "http://127.0.0.1:1/", "body": input})\n'
    source = write(tmp_path / "new", {"aegis/d.rego": f"package aegis\n{out}"})
    with pytest.raises(NotJudged, match=r"not repeatable: .*undefined function http.send"):
        await replayed(tmp_path, source)


async def test_a_candidate_without_a_usable_answer_is_counted_as_denying(tmp_path: Path) -> None:
    await record(tmp_path)
    broken = 'decision := {"decision": "perhaps", "reason_code": "x"}'
    found = await replayed(tmp_path, write(tmp_path / "new", {"aegis/d.rego": f"package aegis\n{broken}"}))
    changes = Changes()
    for each in found:
        changes.add(each)
    assert (changes.turned, changes.faults, changes.reasoned) == (2, 4, 2)


async def test_a_decision_of_a_version_that_is_gone_says_so(tmp_path: Path) -> None:
    await record(tmp_path)
    shutil.rmtree(tmp_path / "bundles")
    assert [each.why for each in await replayed(tmp_path)] == [Why.VERSION_UNKNOWN] * 4 + [Why.NOT_ASKED]


async def test_a_version_that_is_published_later_is_found_when_looked_for_again(tmp_path: Path) -> None:
    def run() -> None:
        with Judges(tmp_path / "bundles", "aegis/decision") as judges:
            made = version_of(tmp_path / "elsewhere", RULES)
            assert judges.published(made.digest) is None
            (tmp_path / "bundles").mkdir()
            shutil.copyfile(made.file, tmp_path / "bundles" / made.file.name)
            assert judges.published(made.digest) is None
            judges.look_again()
            assert judges.published(made.digest) is not None

    await asyncio.to_thread(run)


async def test_another_bundle_in_its_place_is_not_asked(tmp_path: Path) -> None:
    await record(tmp_path)
    (bundle,) = (tmp_path / "bundles").glob("*.tar.gz")
    other = version_of(tmp_path / "other", RULES.replace('== "read"', '== "else"'))
    shutil.copyfile(other.file, bundle)
    found = await replayed(tmp_path)
    assert [each.why for each in found[:2]] == [Why.VERSION_ALTERED] * 2
    assert "its content is not what its name says" in found[0].detail


async def test_a_decision_whose_facts_were_not_kept_says_so(tmp_path: Path) -> None:
    await record(tmp_path, facts=False)

    def run() -> list[Recorded]:
        return list(decisions(load(tmp_path / "aegis.yaml").ledger_directory, ALL, None))

    found = run()
    assert [each.why for each in found] == [Why.NOT_CAPTURED] * 4 + [Why.NOT_ASKED]


async def test_erased_and_sealed_facts_are_told_apart(tmp_path: Path) -> None:
    await record(tmp_path)
    settings = load(tmp_path / "aegis.yaml")
    ledger = settings.ledger_directory
    assert [each.why for each in decisions(ledger, ALL, None)][:4] == [Why.SEALED] * 4
    vault = vault_of(settings)
    (epoch,) = (each for each in ledger.iterdir() if each.is_dir())
    for stored in list(vault.stored(epoch)):
        vault.destroy(stored)
    assert [each.why for each in decisions(ledger, ALL, vault)] == [Why.ERASED] * 4 + [Why.NOT_ASKED]


async def test_a_disclosure_of_another_decision_is_a_violation(tmp_path: Path) -> None:
    await record(tmp_path)
    settings = load(tmp_path / "aegis.yaml")
    (file,) = settings.ledger_directory.glob("*/disclosures/*.jsonl")
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    first, second = lines[0], lines[1]
    first["encrypted"], second["encrypted"] = second["encrypted"], first["encrypted"]
    file.write_text("".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines))
    with pytest.raises(
        IntegrityViolation, match=r"00000000.jsonl, line 1, seq 1: .*changed, or of another entry"
    ):
        list(decisions(settings.ledger_directory, ALL, vault_of(settings)))


async def test_decisions_are_found_by_id_trace_and_time(tmp_path: Path) -> None:
    records = await record(tmp_path)
    ledger = load(tmp_path / "aegis.yaml").ledger_directory

    def found(**wanted: str) -> list[str]:
        return [each.decision_id for each in decisions(ledger, Wanted(**wanted), None)]

    ids = [each["decision_id"] for each in records]
    second = records[1]
    assert found(decision_id=second["decision_id"]) == [ids[1]]
    assert found(trace_id=second["trace_id"]) == [ids[1]]
    assert found(start=second["timestamp"]) == ids[1:]
    assert found(end=second["timestamp"]) == ids[:1]
    assert found(session_id="none") == []
    assert count(ledger, Wanted(start=second["timestamp"])) == 4


async def test_facts_that_are_no_facts_are_a_violation(tmp_path: Path) -> None:
    from tests import disclosed
    from tests.workers import Worker

    worker = disclosed.keeps(Worker(tmp_path / "var"))
    async with worker.running() as ledger:
        await disclosed.append(ledger, 1, {"facts": "nothing"}, engine="opa", policy_digest="0" * 64)
    with pytest.raises(IntegrityViolation, match="facts: not an input"):
        list(decisions(worker.root, ALL, disclosed.vault(worker)))
