"""Questions put to a version in isolation get the answers that a worker would get."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.errors import Denied
from authz.policy.engine_opa import OpaEngine
from authz.replay import version
from authz.replay.isolated import Isolated, Limits
from authz.replay.version import NotJudged, Version
from authz.values import MISSING, Reason
from tests.policy.opa import ALLOW, DENY, opa_with, version_of

QUICK = Limits(question_s=0.3, batch_s=0.3, unanswered=2)


def made(directory: Path, rego: str) -> Version:
    return version.of_bundle(version_of(directory, rego).file)


def asked(values: list[Any]) -> list[bytes]:
    return [orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in values]


def test_every_question_gets_its_own_answer_in_order(tmp_path: Path) -> None:
    rego = 'decision := {"decision": "allow", "reason_code": input.word}'
    words = [f"w{number % 300}" for number in range(1000)]
    with Isolated(made(tmp_path, rego)) as opa:
        answers = opa.ask(asked([{"word": word} for word in words]))
        again = opa.ask(asked([{"word": "again"}]))
        assert opa.ask([]) == []
    assert [each.result["reason_code"] for each in answers] == words
    assert again[0].result["reason_code"] == "again"


async def test_the_answers_are_those_of_the_opa_that_a_worker_asks(tmp_path: Path) -> None:
    rego = f"""{DENY}
decision := {ALLOW} if not "b" in input.agent.chain
decision := {{"decision": "deny", "reason_code": "second"}} if {{
    every item in input.items {{ item > 1 }}
    "b" in input.agent.chain
}}
"""
    published = version_of(tmp_path, rego)
    pick = random.Random(7).choice
    values = [
        {"agent": pick([{}, {"chain": pick([[], ["b"], ["a", "b"], "b"])}]), "items": pick([[], [1], [2, 3]])}
        for _ in range(250)
    ]
    async with opa_with(published) as opa:
        engine = OpaEngine(opa.socket, "aegis/decision", connections=1)
        expected = [(await engine.decide(question, 5.0)).result for question in asked(values)]
        await engine.close()
    assert {each["reason_code"] for each in expected} == {"no_rule", "permitted", "second"}
    with_its_own = await _in_a_thread(version.of_bundle(published.file), asked(values))
    assert [each.result for each in with_its_own] == expected


async def _in_a_thread(found: Version, questions: list[bytes]) -> list[Any]:
    import asyncio

    def run() -> list[Any]:
        with Isolated(found) as opa:
            return opa.ask(questions)

    return await asyncio.to_thread(run)


def test_an_error_is_that_question_s_alone(tmp_path: Path) -> None:
    rego = f'{DENY}\ndecision := {ALLOW} if net.cidr_contains("10.0.0.0/8", input.host)'
    hosts = ["10.0.0.1", "a name", "192.0.2.1"]
    with Isolated(made(tmp_path, rego)) as opa:
        first, second, third = opa.ask(asked([{"host": host} for host in hosts]))
    assert first.result["decision"] == "allow"
    assert second.result is MISSING
    assert second.fault is not None
    assert second.fault.reason is Reason.POLICY_ERROR
    assert "eval_builtin_error" in second.fault.detail
    assert "a name" not in str(second.fault)
    assert third.result["decision"] == "deny"


def test_rules_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    rego = 'decision := {"decision": "allow", "reason_code": word} if some word in input.words'
    with Isolated(made(tmp_path, rego)) as opa:
        answers = opa.ask(asked([{"words": ["a"]}, {"words": ["a", "b"]}, {"words": []}]))
    assert answers[0].result["reason_code"] == "a"
    assert isinstance(answers[1].fault, Denied)
    assert "eval_conflict_error" in answers[1].fault.detail
    assert (answers[2].result, answers[2].fault) == (MISSING, None)


def test_a_version_that_reads_all_data_is_asked_one_by_one(tmp_path: Path) -> None:
    rego = f"{DENY}\ndecision := {ALLOW} if data[input.of].some == 1"
    found = version_of(tmp_path, rego, **{"words/data.json": '{"some": 1}'})
    with Isolated(version.of_bundle(found.file)) as opa:
        answers = opa.ask(asked([{"of": "words"}, {"of": "else"}]))
    assert [each.result["decision"] for each in answers] == ["allow", "deny"]


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ('http.send({"method": "GET", "url": "http://127.0.0.1:1/"})', "http.send"),
        ("time.now_ns() > 0", "time.now_ns"),
        ('net.lookup_ip_addr("localhost")', "net.lookup_ip_addr"),
        ("opa.runtime().env", "opa.runtime"),
        ('rand.intn("a", 5) == 0', "rand.intn"),
        ('uuid.rfc4122("a") != ""', "uuid.rfc4122"),
        ('json.match_schema({}, {"$ref": "http://127.0.0.1:1/"})[0]', "json.match_schema"),
        ('same("a", 5) with same as rand.intn', "rand is unsafe"),
    ],
)
def test_what_is_not_repeatable_or_reaches_out_is_not_started(tmp_path: Path, rule: str, named: str) -> None:
    found = made(tmp_path, f"{DENY}\nsame(x, y) := [x, y]\n\ndecision := {ALLOW} if {rule}")
    with (
        pytest.raises(NotJudged, match=rf"not repeatable: .*(undefined function|var) {named}"),
        Isolated(found),
    ):
        pass


def test_a_version_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    rego = f"""{DENY}
decision := {ALLOW} if {{
    input.long
    count({{x | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x * y == 7}}) > 5
}}
"""
    with Isolated(made(tmp_path, rego), limits=QUICK) as opa:
        (quick, slow) = opa.ask(asked([{}, {"long": True}]))
        assert quick.result["decision"] == "deny"
        assert slow.fault is not None
        assert slow.fault.reason is Reason.ENGINE_TIMEOUT
        with pytest.raises(NotJudged, match="2 questions unanswered for"):
            opa.ask(asked([{"long": True}]))


def test_a_version_that_takes_all_memory_ends_its_own_opa_and_is_named(tmp_path: Path) -> None:
    rego = f"{DENY}\ndecision := {ALLOW} if count(numbers.range(1, input.much)) == 0"
    limits = Limits(question_s=60, memory=512 << 20, address_space=3 << 29)
    with Isolated(made(tmp_path, rego), limits=limits) as opa:
        assert opa.ask(asked([{"much": 10}]))[0].result["decision"] == "deny"
        with pytest.raises(NotJudged, match="it ended its OPA"):
            opa.ask(asked([{"much": 100_000_000}]))


def test_an_entry_point_that_the_version_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotJudged, match="no rule defines the entry point other/decision"):
        Isolated(made(tmp_path, DENY), "other/decision")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = made(tmp_path / "policy", DENY)
    with Isolated(found) as opa:
        assert list(tmp_path.glob("aegis-replay-*"))
        process = opa._process
    assert not list(tmp_path.glob("aegis-replay-*"))
    assert process is not None
    assert process.poll() is not None


def test_opa_is_told_nothing_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPA_RUN_CONFIG_FILE", "/nowhere.yaml")
    monkeypatch.setenv("OPA_CONFIG_FILE", "/nowhere.yaml")
    with Isolated(made(tmp_path, DENY)) as opa:
        assert opa.ask([b"{}"])[0].result["decision"] == "deny"
