"""Versions: what decided is what the record will name, and a change reaches everyone, whole and at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from authz.errors import Denied
from authz.followers.bundles import opa_config
from authz.policy.active import read_active
from authz.policy.manifest import FORMAT
from authz.policy.signing import public_key
from authz.testing import a_request
from authz.values import Decision, Reason, Request, Verdict
from tests.policy.opa import (
    ALLOW,
    DENY,
    NOW,
    SUBJECT,
    OpaProcess,
    activate,
    asking,
    bundle_server,
    decide,
    opa,
    opa_pulling,
    opa_with,
    signing_key,
    stage,
    started,
    until,
    version_of,
    with_headers,
    write,
)
from tests.policy.scripted import decided, http, peer

REVISIONS = [f"v{n}+{str(n) * 64}" for n in range(10)]


def ruled(version: str, reads: str) -> str:
    """A policy whose rule names its version and the value that it reads."""
    rule = f'concat(" ", ["{version}", {reads}])'
    return f'decision := {{"decision": "allow", "reason_code": "ok", "rule": {rule}}}'


def bundles(
    revision: str, facts: list[list[str]], *, roots: tuple[str, ...] = ("",), name: str = "aegis"
) -> Any:
    analysis = {
        "format": FORMAT,
        "entry_points": {"aegis/decision": {"facts": facts, "prune": True}},
        "nondeterministic": [],
    }
    manifest = {"revision": revision, "roots": list(roots), "metadata": {"aegis": analysis}}
    return {"result": {name: {"manifest": manifest}}}


async def denial(policy: Any, request: Request, timeout_s: float = 5.0) -> Denied:
    with pytest.raises(Denied) as caught:
        await decide(policy, request, timeout_s)
    return caught.value


async def test_a_verdict_names_version_and_digest_and_is_kept(tmp_path: Path) -> None:
    version = version_of(tmp_path, ruled("v1", "input.action.method"))
    async with opa_with(version) as process, started(process.socket) as policy:
        first, second = [await decide(policy, a_request()) for _ in range(2)]
        assert (policy.version, policy.digest, policy.ready) == ("v1", version.digest, True)
    assert (first.cache, second.cache, first.engine) == ("miss", "hit", "opa")
    assert {(v.policy_version, v.policy_digest, v.rule) for v in (first, second)} == {
        ("v1", version.digest, "v1 GET")
    }


async def test_a_version_that_changes_between_question_and_answer_is_asked_with_its_own_facts(
    tmp_path: Path,
) -> None:
    one = version_of(tmp_path, ruled("v1", "input.action.method"), "v1")
    two = version_of(tmp_path, ruled("v2", "input.destination.host"), "v2")
    activate(one.file.parent, "v1")
    async with opa_pulling(one.file.parent) as process:
        await until(lambda: _is(process, one.revision))
        async with started(process.socket, poll_s=3600) as policy:
            again = asking(policy, a_request(host="h.example"))
            old = again()
            activate(one.file.parent, "v2")
            await until(lambda: _is(process, two.revision))
            verdict = await policy.evaluate(old, again, 5)
            assert policy.revision == two.revision
    assert old.revision == one.revision
    assert b"h.example" not in old.question
    assert (verdict.rule, verdict.policy_version) == ("v2 h.example", "v2")


async def _is(process: Any, revision: str) -> bool:
    return bool(await process.revision() == revision)


async def test_a_version_that_changes_twice_meanwhile_denies() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[served.asked], []))
        return decided(REVISIONS[served.asked], decision="allow", reason_code="ok")

    async with peer(answer) as served:
        policy = stage(served.socket)
        await policy._look()
        assert (await denial(policy, a_request())).reason is Reason.POLICY_CHANGING
        assert served.asked == 2
        assert len(policy.cache) == 0
        assert policy.engine_errors[Reason.POLICY_CHANGING] == 1
        await policy.stop()


async def test_a_changed_version_changes_answers_within_a_second_and_never_mixes_under_load(
    tmp_path: Path,
) -> None:
    names = [f"v{number}" for number in range(1, 6)]
    fields = ["action.method", "destination.host", "action.method", "agent.id", "destination.host"]
    made = [version_of(tmp_path, ruled(n, f"input.{f}"), n) for n, f in zip(names, fields, strict=True)]
    expected = dict(zip(names, ("GET", "h.example", "GET", "agent-1", "h.example"), strict=True))
    directory = made[0].file.parent
    activate(directory, "v1")
    seen: list[Verdict] = []
    done = asyncio.Event()
    async with opa_pulling(directory) as process:
        await until(lambda: _is(process, made[0].revision))
        async with started(process.socket, poll_s=0.25, connections=8) as policy:
            loads = [asyncio.create_task(_load(policy, seen, done)) for _ in range(8)]
            for version in made[1:]:
                activate(directory, version.version)
                await until(lambda version=version: _is(process, version.revision))
                async with asyncio.timeout(1):
                    await until(lambda version=version: seen[-1].policy_version == version.version)
                mark = len(seen)
                await until(lambda mark=mark: len(seen) > mark + 200)
                assert {v.policy_version for v in seen[mark:]} == {version.version}
            done.set()
            await asyncio.gather(*loads)
    digests = {version.version: version.digest for version in made}
    for verdict in seen:
        assert verdict.rule == f"{verdict.policy_version} {expected[verdict.policy_version]}"
        assert verdict.policy_digest == digests[verdict.policy_version]
    assert {"hit", "miss"} <= {verdict.cache for verdict in seen}


async def _load(policy: Any, seen: list[Verdict], done: asyncio.Event) -> None:
    while not done.is_set():
        seen.append(await decide(policy, a_request(host="h.example")))
        await asyncio.sleep(0.001)


async def test_with_opa_down_kept_verdicts_still_serve_and_new_questions_are_denied(tmp_path: Path) -> None:
    version = version_of(tmp_path, ruled("v1", "input.action.method"))
    async with opa_with(version) as process, started(process.socket) as policy:
        await decide(policy, a_request())
        await process.stop()
        await until(lambda: not policy.ready)
        assert (await decide(policy, a_request())).cache == "hit"
        other = a_request(action=a_request().action.__class__("http", "", "POST", "/"))
        assert (await denial(policy, other)).reason is Reason.ENGINE_UNAVAILABLE
        await process.start()
        await until(lambda: policy.ready)
        assert (await decide(policy, other)).rule == "v1 POST"


async def test_a_restarted_opa_without_policy_is_unavailable_not_undefined() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], []) if not served.asked else {})
        return http({"provenance": {"version": "1"}})

    async with peer(answer) as served:
        policy = stage(served.socket)
        await policy._look()
        assert (await denial(policy, a_request())).reason is Reason.ENGINE_UNAVAILABLE
        await policy.stop()


async def test_a_version_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    monkeypatch.setattr(
        "authz.policy.stage.read_active", lambda *given: read.append(given) or read_active(*given)
    )
    version = version_of(tmp_path, ruled("v1", "input.action.method"))
    async with opa_with(version) as process, started(process.socket, poll_s=3600) as policy:
        for _ in range(3):
            await policy._look()
        assert policy.ready
        assert policy.staleness_s < 3600
    assert len(read) == 1


async def test_before_any_version_is_known_everything_is_denied(tmp_path: Path) -> None:
    async with started(tmp_path / "nobody.sock") as policy:
        assert (await denial(policy, a_request())).reason is Reason.ENGINE_UNAVAILABLE
        assert not policy.ready
        assert (policy.version, policy.digest) == ("none", "none")


async def test_a_worker_that_starts_before_opa_decides_as_soon_as_opa_has_policy(tmp_path: Path) -> None:
    version = version_of(tmp_path, ruled("v1", "input.action.method"))
    directory, process = version.file.parent, OpaProcess()
    async with bundle_server(directory) as url, started(process.socket) as policy:
        assert (await denial(policy, a_request())).reason is Reason.ENGINE_UNAVAILABLE
        try:
            await process.start_with(opa_config(url, public_key(signing_key()), wait_s=1))
            await policy._look()  # OPA is there, and no version is active yet
            assert not policy.ready
            assert (await denial(policy, a_request())).reason is Reason.ENGINE_UNAVAILABLE
            activate(directory, "v1")
            await until(lambda: policy.ready)
            assert (await decide(policy, a_request())).rule == "v1 GET"
        finally:
            await process.stop()


async def test_following_that_ends_by_a_fault_is_not_ready_and_stops_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(tmp_path, ruled("v1", "input.action.method"))
    async with opa_with(version) as process, started(process.socket) as policy:
        assert policy.ready
        monkeypatch.setattr(policy, "_take", None)  # what no answer of OPA can bring about
        await until(lambda: not policy.ready)


async def test_policy_that_was_not_read_for_too_long_is_stale(tmp_path: Path) -> None:
    now = 100.0
    async with opa_with(version_of(tmp_path, ruled("v1", "input.action.method"))) as process:
        policy = stage(process.socket, max_age_s=5, monotonic=lambda: now)
        await policy._look()
        await decide(policy, a_request())
        now = 105.1
        assert (await denial(policy, a_request())).reason is Reason.POLICY_STALE
        await policy._look()
        assert (await decide(policy, a_request())).rule == "v1 GET"
        await policy.stop()


async def test_equal_questions_at_the_same_time_are_asked_once() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], [["action", "method"]]))
        await asyncio.sleep(0.01)
        return decided(REVISIONS[1], decision="allow", reason_code="ok")

    async with peer(answer) as served, started(served.socket) as policy:
        verdicts = await asyncio.gather(*(decide(policy, a_request()) for _ in range(20)))
        assert served.asked == 1
        assert policy.flights.shared == 19
    assert sorted(verdict.cache for verdict in verdicts) == ["miss"] + ["shared"] * 19


async def test_an_error_is_shared_by_those_who_wait_and_never_kept() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], []))
        await asyncio.sleep(0.01)
        return http({"code": "internal_error"}, 500)

    async with peer(answer) as served, started(served.socket) as policy:
        ended = await asyncio.gather(*(decide(policy, a_request()) for _ in range(5)), return_exceptions=True)
        assert [getattr(error, "reason", None) for error in ended] == [Reason.POLICY_ERROR] * 5
        assert served.asked == 1
        await denial(policy, a_request())
        assert served.asked == 2
        assert policy.engine_errors[Reason.POLICY_ERROR] == 6


async def test_each_waits_for_as_long_as_it_has_and_no_longer_than_the_stage() -> None:
    go_on = asyncio.Event()

    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], []))
        await go_on.wait()
        return decided(REVISIONS[1], decision="allow", reason_code="ok")

    async with peer(answer) as served, started(served.socket, poll_s=3600) as policy:
        assert (await denial(policy, a_request(), 0.01)).reason is Reason.ENGINE_TIMEOUT
        patient = asyncio.create_task(decide(policy, a_request()))  # joins what the hasty one began
        await until(lambda: policy.flights.shared == 1)
        assert (await denial(policy, a_request(), 0.01)).reason is Reason.ENGINE_TIMEOUT
        go_on.set()
        assert (await patient).decision is Decision.ALLOW
        assert served.asked == 1
        assert policy.engine_errors[Reason.ENGINE_TIMEOUT] == 2


async def test_nobody_waits_longer_than_the_stage_does() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], []))
        await asyncio.Event().wait()
        return b""

    async with peer(answer) as served, started(served.socket, timeout_s=0.02) as policy:
        assert (await denial(policy, a_request(), 60)).reason is Reason.ENGINE_TIMEOUT


async def test_a_change_under_many_questions_is_read_once() -> None:
    revisions = [REVISIONS[1]]
    looked = 0

    async def answer(target: str, body: bytes) -> bytes:
        nonlocal looked
        if "system" in target:
            looked += 1
            return http(bundles(revisions[-1], [["action", "resource"]]))
        return decided(revisions[-1], decision="allow", reason_code="ok")

    async with peer(answer) as served, started(served.socket, poll_s=3600) as policy:
        revisions.append(REVISIONS[2])
        action = a_request().action
        requests = [a_request(action=replace(action, resource=f"/{n}")) for n in range(20)]
        verdicts = await asyncio.gather(*(decide(policy, request) for request in requests))
        assert {verdict.policy_version for verdict in verdicts} == {"v2"}
        assert looked == 2


async def test_a_leader_that_is_cancelled_takes_nobody_with_it() -> None:
    go_on = asyncio.Event()

    async def answer(target: str, body: bytes) -> bytes:
        if "system" in target:
            return http(bundles(REVISIONS[1], []))
        await go_on.wait()
        return decided(REVISIONS[1], decision="allow", reason_code="ok")

    async with peer(answer) as served, started(served.socket, poll_s=3600) as policy:
        leader = asyncio.create_task(decide(policy, a_request()))
        await until(lambda: served.asked == 1)
        follower = asyncio.create_task(decide(policy, a_request()))
        await until(lambda: policy.flights.shared == 1)
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        go_on.set()
        assert (await follower).decision is Decision.ALLOW
        assert served.asked == 1


async def test_a_volatile_field_is_sent_and_its_verdict_not_kept(tmp_path: Path) -> None:
    rego = ruled("v1", 'input.attributes.request.http.headers["x-request-id"]')
    async with opa_with(version_of(tmp_path, rego)) as process, started(process.socket) as policy:
        verdicts = [await decide(policy, with_headers({"x-request-id": f"r{n}"})) for n in (1, 2, 2)]
        assert len(policy.cache) == 0
    assert [(v.rule, v.cache) for v in verdicts] == [
        ("v1 r1", "bypass"),
        ("v1 r2", "bypass"),
        ("v1 r2", "bypass"),
    ]


async def test_a_builtin_that_may_answer_differently_is_asked_every_time(tmp_path: Path) -> None:
    rego = 'decision := {"decision": "allow", "reason_code": "ok", "rule": uuid.rfc4122(input.agent.id)}'
    async with opa_with(version_of(tmp_path, rego)) as process, started(process.socket) as policy:
        rules = {(await decide(policy, a_request())).rule for _ in range(3)}
        assert len(policy.cache) == 0
    assert len(rules) == 3


async def test_errors_undefined_and_wrong_types_are_asked_again_each_time(tmp_path: Path) -> None:
    rego = (
        'decision := {"decision": "allow", "reason_code": 7} if input.action.method == "TYPE"\n'
        'decision := {"decision": "allow", "reason_code": to_number(input.action.method)} '
        'if input.action.method == "FAIL"\n'
        'decision := true if input.action.method == "PLUGIN"\n'
    )
    make = a_request().action.__class__
    async with opa_with(version_of(tmp_path, rego)) as process, started(process.socket) as policy:
        for method in ("TYPE", "FAIL", "PLUGIN", "NONE"):
            for _ in range(2):
                error = await denial(policy, a_request(action=make("http", "", method, "/")))
                assert error.reason is Reason.POLICY_ERROR
        assert len(policy.cache) == 0
        assert policy.engine_errors[Reason.POLICY_ERROR] == 8


FOREIGN = {"p.rego": f"package aegis\n\n{DENY}decision := {ALLOW} if not input.action.tool"}


async def test_policy_that_is_not_one_signed_version_denies(tmp_path: Path) -> None:
    source = write(tmp_path / "foreign", FOREIGN)
    async with opa("-b", str(source)) as process, started(process.socket) as policy:
        assert (await denial(policy, a_request())).reason is Reason.POLICY_ERROR
        assert not policy.ready


async def test_foreign_policy_in_development_is_asked_the_whole_input_and_never_kept(tmp_path: Path) -> None:
    source = str(write(tmp_path / "foreign", FOREIGN))
    async with opa("-b", source) as process, started(process.socket, development_unsigned=True) as policy:
        facts = policy.question(a_request(), SUBJECT, NOW)
        verdicts = [await decide(policy, a_request()) for _ in range(2)]
        assert (policy.ready, len(policy.cache)) == (True, 0)
    assert (facts.revision, facts.cacheable) == ("", False)
    assert orjson.loads(facts.question).keys() >= {"agent", "action", "destination", "now", "parsed_path"}
    # the tool is "" and so it is there: with the field left out this negation would have allowed
    assert [(v.decision, v.policy_version, v.cache) for v in verdicts] == [("deny", "none", "bypass")] * 2


async def test_two_bundles_are_foreign_whatever_they_say_of_themselves(tmp_path: Path) -> None:
    parts = {
        "a": {"aegis/p.rego": FOREIGN["p.rego"], ".manifest": '{"roots": ["aegis"]}'},
        "b": {"other/p.rego": "package other\n\nx := 1", ".manifest": '{"roots": ["other"]}'},
    }
    arguments = [a for name, tree in parts.items() for a in ("-b", str(write(tmp_path / name, tree)))]
    async with opa(*arguments) as process, started(process.socket) as policy:
        assert (await denial(policy, a_request())).reason is Reason.POLICY_ERROR
    async with opa(*arguments) as process, started(process.socket, development_unsigned=True) as policy:
        assert (await decide(policy, a_request())).cache == "bypass"
        assert len(policy.cache) == 0


@pytest.mark.parametrize("wrong", ["roots", "revision", "format", "metadata", "entry point"])
async def test_a_manifest_of_another_form_is_foreign(wrong: str) -> None:
    listed = bundles(REVISIONS[1], [])
    manifest = listed["result"]["aegis"]["manifest"]
    match wrong:
        case "roots":
            manifest["roots"] = ["aegis"]
        case "revision":
            manifest["revision"] = "v1"
        case "format":
            manifest["metadata"]["aegis"]["format"] = FORMAT + 1
        case "metadata":
            manifest["metadata"]["aegis"]["entry_points"]["aegis/decision"]["facts"] = "all"
        case _:
            manifest["metadata"]["aegis"]["entry_points"] = {}

    async def answer(target: str, body: bytes) -> bytes:
        return http(listed)

    async with peer(answer) as served, started(served.socket) as policy:
        assert (await denial(policy, a_request())).reason is Reason.POLICY_ERROR


async def test_an_evaluation_whose_time_is_up_is_not_begun() -> None:
    async def answer(target: str, body: bytes) -> bytes:
        return http(bundles(REVISIONS[1], []))

    async with peer(answer) as served, started(served.socket) as policy:
        assert (await denial(policy, a_request(), 0.0)).reason is Reason.ENGINE_TIMEOUT
        assert served.asked == 0
