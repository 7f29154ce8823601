"""Pruning: the conditions under which a field may be left out of the question, each on a real OPA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.errors import Denied, PolicyRejected
from authz.policy.facts import WITHHELD
from authz.testing import PlainAttributes, a_request
from authz.values import Action, Assurance, Reason, Request, Subject
from tests.policy.opa import (
    ALLOW,
    DENY,
    NOW,
    SUBJECT,
    decide,
    opa,
    opa_with,
    started,
    version_of,
    with_headers,
)


async def asked(tmp_path: Path, rego: str, request: Request, **files: str) -> tuple[dict[str, Any], Any]:
    """The document that a version of `rego` is asked about `request`, and the verdict."""
    version = version_of(tmp_path, rego, **files)
    async with opa_with(version) as process, started(process.socket) as policy:
        question = orjson.loads(policy.question(request, SUBJECT, NOW).question)
        return question, await decide(policy, request)


def acting(**members: Any) -> Request:
    action = {"kind": "http", "tool": "", "method": "GET", "resource": "/v1"} | members
    return a_request(action=Action(**action))


async def test_only_what_policy_reads_is_asked_through_aliases_helpers_and_comprehensions(
    tmp_path: Path,
) -> None:
    rego = DENY + (
        "import input.agent as who\n\n"
        "decision := {'decision': 'allow', 'reason_code': 'ok'} if {\n"
        "\trole == 'clerk'\n\thelps(input.destination)\n\tcount([s | some s in input.parsed_path]) == 1\n"
        "\tevery c in who.chain { c != 'x' }\n}\n\n"
        "role := who.claims.role\n\nhelps(to) if to.host == 'api.example'\n"
    ).replace("'", '"')
    question, verdict = await asked(tmp_path, rego, a_request())
    assert question == {
        "agent": {"chain": [], "claims": {"role": "clerk"}},
        "destination": {"host": "api.example", "port": 443, "scheme": "https", "sni": ""},
        "parsed_path": ["v1"],
    }
    assert verdict.decision == "allow"


async def test_a_negation_over_a_field_that_only_another_package_reads_sees_the_field(tmp_path: Path) -> None:
    other = "package lists\n\nblocked if input.action.tool == 'export'\n".replace("'", '"')
    rego = f"{DENY}decision := {ALLOW} if not data.lists.blocked"
    question, verdict = await asked(tmp_path, rego, acting(tool="export"), **{"lists/p.rego": other})
    assert question == {"action": {"tool": "export"}}
    assert verdict.decision == "deny"


async def test_a_rule_reached_by_a_computed_name_is_followed(tmp_path: Path) -> None:
    other = "package lists.export\n\nblocked if input.destination.host == 'api.example'\n".replace("'", '"')
    rego = f"{DENY}decision := {ALLOW} if not data.lists[input.action.tool].blocked"
    question, verdict = await asked(tmp_path, rego, acting(tool="export"), **{"lists/export/p.rego": other})
    assert question == {"action": {"tool": "export"}, "destination": {"host": "api.example"}}
    assert verdict.decision == "deny"


async def test_an_index_keeps_the_whole_array(tmp_path: Path) -> None:
    rego = f'{DENY}decision := {ALLOW} if input.parsed_path[2] == "c"'
    question, verdict = await asked(tmp_path, rego, a_request(path="/a/b/c"))
    assert question == {"parsed_path": ["a", "b", "c"]}
    assert verdict.decision == "allow"


async def test_an_unknown_name_keeps_its_ancestor(tmp_path: Path) -> None:
    rego = f"{DENY}decision := {ALLOW} if input.agent.claims[input.action.tool]"
    question, verdict = await asked(tmp_path, rego, acting(tool="role"))
    assert question == {"action": {"tool": "role"}, "agent": {"claims": {"role": "clerk"}}}
    assert verdict.decision == "allow"


async def test_a_name_with_a_dot_is_one_name(tmp_path: Path) -> None:
    rego = f'{DENY}decision := {ALLOW} if input.agent.claims["a.b"] == 1'
    version = version_of(tmp_path, rego)
    assert version.analysis.entry_points["aegis/decision"].facts == (("agent", "claims", "a.b"),)


async def test_policy_that_takes_the_whole_input_is_asked_all_of_it(tmp_path: Path) -> None:
    rego = f"{DENY}decision := {ALLOW} if not object.get(input, input.parsed_path, false)"
    question, _ = await asked(tmp_path, rego, a_request())
    assert question.keys() >= {"agent", "action", "destination", "session", "now", "version", "parsed_body"}


async def test_a_field_the_request_lacks_is_undefined_to_policy(tmp_path: Path) -> None:
    rego = f"{DENY}decision := {ALLOW} if not input.action.arguments.amount"
    question, verdict = await asked(tmp_path, rego, acting())
    assert question == {"action": {}}
    assert verdict.decision == "allow"


@pytest.mark.parametrize(
    ("alias", "claims", "decision"),
    [
        ("x := input.agent.claims", {"other": 1}, "deny"),
        ("x := input.agent.claims", {}, "deny"),
        ("x := input.agent.claims", {"role": "a"}, "allow"),
        ("x := input.agent.claims.role", {"role": "a"}, "deny"),
        ("x := input.agent.claims.role", {"role": ["a"]}, "deny"),
        ("x := input.agent.claims.role", {"role": {"role": 1}}, "allow"),
        ("x := input.agent.claims.role", {}, "allow"),
        ("y := input.agent; x := y.claims", {"other": 1}, "deny"),
    ],
)
async def test_an_alias_is_defined_where_it_is_in_the_request_although_only_its_member_is_listed(
    tmp_path: Path, alias: str, claims: dict[str, Any], decision: str
) -> None:
    rego = f"{DENY}decision := {ALLOW} if not blocked\n\nblocked if {{ {alias}; not x.role }}"
    version = version_of(tmp_path, rego)
    assert [path[-1] for path in version.analysis.entry_points["aegis/decision"].facts] == ["role"]
    async with opa_with(version) as process, started(process.socket) as policy:
        verdict = await decide(policy, a_request(), subject=Subject("a", Assurance.JWT, claims=claims))
    assert verdict.decision == decision


async def test_a_credential_header_is_sent_only_where_policy_names_it(tmp_path: Path) -> None:
    headers = "input.attributes.request.http.headers"
    request = with_headers({"authorization": "Basic x", "cookie": "c=1", "accept": "*/*"})
    all_of_them = f"{DENY}decision := {ALLOW} if {{ some k, v in {headers}; v == k }}"
    question, _ = await asked(tmp_path / "all", all_of_them, request)
    assert question["attributes"]["request"]["http"]["headers"] == {
        "authorization": WITHHELD,
        "cookie": WITHHELD,
        "accept": "*/*",
    }
    one = f"{DENY}decision := {ALLOW} if {headers}.authorization"
    question, _ = await asked(tmp_path / "one", one, request)
    assert question["attributes"]["request"]["http"]["headers"] == {"authorization": "Basic x"}
    both = f"{all_of_them}\n\ndecision := {ALLOW} if {headers}.authorization"
    question, _ = await asked(tmp_path / "both", both, request)
    assert question["attributes"]["request"]["http"]["headers"] == {
        "authorization": "Basic x",
        "cookie": WITHHELD,
        "accept": "*/*",
    }


async def test_a_withheld_credential_still_counts_as_there_for_a_negation(tmp_path: Path) -> None:
    rego = (
        f"{DENY}decision := {ALLOW} if not has(input.attributes.request.http.headers)\n\n"
        'has(headers) if headers[concat("", ["author", "ization"])]'
    )
    request = with_headers({"authorization": "Basic x"})
    _, verdict = await asked(tmp_path, rego, request)
    assert verdict.decision == "deny"


async def test_the_minute_is_part_of_the_question_and_its_verdict_is_kept(tmp_path: Path) -> None:
    version = version_of(tmp_path, f"{DENY}decision := {ALLOW} if input.now.minute == 5")
    async with opa_with(version) as process, started(process.socket) as policy:
        at = [policy.question(a_request(), SUBJECT, NOW.replace(minute=minute)) for minute in (5, 6)]
        assert [facts.question for facts in at] == [b'{"now":{"minute":5}}', b'{"now":{"minute":6}}']
        assert [(await policy.evaluate(facts, lambda: at[0], 5)).decision for facts in at] == [
            "allow",
            "deny",
        ]
        assert [policy.lookup(facts).decision for facts in at] == ["allow", "deny"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "entry", ["aegis/decisio", "aegis", "aegis/decision/allow", "other/decision", "/aegi"]
)
def test_an_entry_point_that_no_rule_defines_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(PolicyRejected, match=entry):
        version_of(tmp_path, DENY, entry_points=[entry])


def test_facts_are_listed_for_each_entry_point_by_itself(tmp_path: Path) -> None:
    rego = f"{DENY}decision := {ALLOW} if input.agent.id\n\naudit if input.session.id"
    version = version_of(tmp_path, rego, entry_points=["aegis/decision", "aegis/audit"])
    facts = {name: entry.facts for name, entry in version.analysis.entry_points.items()}
    assert facts == {"aegis/decision": (("agent", "id"),), "aegis/audit": (("session", "id"),)}


def test_what_only_tests_read_is_no_fact(tmp_path: Path) -> None:
    rule = "test_it if aegis.decision with input.session.id as time.now_ns()"
    test = f"package aegis_test\n\nimport data.aegis\n\n{rule}"
    version = version_of(
        tmp_path, f"{DENY}decision := {ALLOW} if input.agent.id", **{"aegis/d_test.rego": test}
    )
    assert version.analysis.entry_points["aegis/decision"].facts == (("agent", "id"),)
    assert version.analysis.nondeterministic == ()


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("time.now_ns() > input.agent.id", ("time.now_ns",)),
        ('f("a", 5) with f as rand.intn', ("rand.intn",)),
        ('f("a", 5) with f as rand["intn"]', ("rand.intn",)),
        ('f("a", 5) with f as rand["\\u0069ntn"]', ("rand.intn",)),
        ('f("a", 5) with f as rand[ # the dice\n\t"intn"]', ("rand.intn",)),
        ('count([1 | f("a", 5) with f as rand.intn]) == 0', ("rand.intn",)),
        ('$"{time.now_ns()}" != input.agent.id', ("time.now_ns",)),
        (
            "crypto.x509.parse_and_verify_certificates(input.agent.id)[0]",
            ("crypto.x509.parse_and_verify_certificates",),
        ),
        ("time.parse_rfc3339_ns(input.agent.id) > 0", ()),
        ("io.jwt.verify_eddsa(input.agent.id, input.session.id)", ()),
    ],
)
def test_a_builtin_whose_answer_changes_is_found_however_it_is_called(
    tmp_path: Path, condition: str, found: tuple[str, ...]
) -> None:
    rego = f"{DENY}decision := {ALLOW} if {{\n\t{condition}\n}}\n\nf(_, _) := 7"
    assert version_of(tmp_path, rego).analysis.nondeterministic == found


LIBRARY = "package lib.read\n\nholds if input.agent.id\n\nother if to_number(input.destination.host) == 1\n"


@pytest.mark.parametrize(
    "condition",
    [
        "x := data.lib.read\n\tnot x.missing",
        "x := data.lib\n\tnot x.read.missing",
        "read := data.lib[input.action.tool]\n\tnot read.missing",
        "f(data.lib.read)",
        "count(data.lib.read) < 9",
        "not taken.missing",
        "x := own\n\tx.one",
    ],
)
async def test_all_rules_of_a_package_that_is_taken_as_a_whole_are_asked_for(
    tmp_path: Path, condition: str
) -> None:
    """`opa deps` names what is used of it; OPA makes all of it, and one of its rules may be an error."""
    rego = (
        f"{DENY}decision := {ALLOW} if {{\n\t{condition}\n}}\n\nf(o) if not o.missing\n\n"
        "taken := data.lib.read\n\nown.one := 1\n\nown.two := to_number(input.destination.host)\n"
    )
    version = version_of(tmp_path, rego, **{"lib/read.rego": LIBRARY})
    assert ("destination", "host") in version.analysis.entry_points["aegis/decision"].facts
    async with opa_with(version) as process, started(process.socket) as policy:
        with pytest.raises(Denied) as denied:
            await decide(policy, acting(tool="read"))
    assert denied.value.reason is Reason.POLICY_ERROR


@pytest.mark.parametrize("condition", ["data.lib.read.holds", "x := data.lib.read.holds\n\tx"])
def test_a_rule_that_is_named_is_asked_for_alone(tmp_path: Path, condition: str) -> None:
    rego = f"{DENY}decision := {ALLOW} if {{\n\t{condition}\n}}"
    version = version_of(tmp_path, rego, **{"lib/read.rego": LIBRARY})
    assert version.analysis.entry_points["aegis/decision"].facts == (("agent", "id"),)


async def test_what_is_only_printed_is_asked_since_it_may_be_an_error(tmp_path: Path) -> None:
    """An OPA that logs `info` evaluates what is printed, and `opa deps` does not name it."""
    rego = f"{DENY}decision := {ALLOW} if {{\n\tprint(to_number(input.action.tool))\n\tinput.agent.id\n}}"
    version = version_of(tmp_path, rego)
    assert version.analysis.entry_points["aegis/decision"].prune is False
    loaded = ("--log-level", "info", "-b", str(version.file), "--skip-verify")
    async with opa(*loaded) as process, started(process.socket) as policy:
        with pytest.raises(Denied) as denied:
            await decide(policy, acting(tool="no number"))
        assert denied.value.reason is Reason.POLICY_ERROR
        assert (await decide(policy, acting(tool="7"))).decision == "allow"


async def test_an_attribute_is_asked_by_its_own_path(tmp_path: Path) -> None:
    attributes = {"source": {"principal": "spiffe://x", "address": {}}, "request": {"http": {"host": "h"}}}
    rego = f'{DENY}decision := {ALLOW} if input.attributes.source.principal == "spiffe://x"'
    question, verdict = await asked(tmp_path, rego, a_request(attributes=PlainAttributes(attributes)))
    assert question == {"attributes": {"source": {"principal": "spiffe://x"}}}
    assert verdict.decision == "allow"


def test_a_package_a_part_of_a_value_and_data_are_entry_points_and_their_reads_are_known(
    tmp_path: Path,
) -> None:
    rego = 'decision := true if input.agent.id\nreach := [{"allowed": input.parsed_path}]\n'
    entries = ("/aegis", "/aegis/reach/0/allowed", "/fixed/allowed", "aegis//decision/")
    files = {"data.json": '{"fixed": {"allowed": true}}'}
    made = version_of(tmp_path, rego, entry_points=entries, **files)
    facts = {name: entry.facts for name, entry in made.analysis.entry_points.items()}
    assert facts == {
        "aegis": (("agent", "id"), ("parsed_path",)),
        "aegis/decision": (("agent", "id"),),
        "aegis/reach/0/allowed": (("parsed_path",),),
        "fixed/allowed": (),
    }
