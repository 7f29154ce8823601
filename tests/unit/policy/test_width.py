"""Where rules read the input, why a question is wide, and what is said to do about it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from authz.errors import PolicyRejected
from authz.policy.width import Explained, explain
from tests.policy.generated import Source, sources
from tests.policy.opa import write

ENTRY = "aegis/decision"
HEADERS = ("attributes", "request", "http", "headers")


def explained(tmp_path: Path, rego: str, *, header: str = "package aegis\n") -> Explained:
    """Of a decision with `rego` as its condition, and rules after the first empty line."""
    condition, _, rules = rego.partition("\n\n")
    source = tmp_path / "source"
    source.mkdir()
    decision = f'decision := {{"decision": "allow", "reason_code": "x"}} if {{\n{condition}\n}}'
    (source / "p.rego").write_text(f"{header}\n{decision}\n\n{rules}\n")
    return explain(source, [ENTRY])[ENTRY]


def where(found: Explained) -> list[tuple[str, str, int, str]]:
    """Rule, path, row and what is done with it."""
    return [
        (read.rule[-1], ".".join(read.path), read.place.row, read.how.name.lower()) for read in found.reads
    ]


def test_each_rule_has_what_it_reads_itself_with_the_place(tmp_path: Path) -> None:
    found = explained(tmp_path, 'input.agent.id == "a"\nhelps\n\nhelps if input.destination.host == "b"')
    assert where(found) == [
        ("decision", "agent.id", 4, "field"),
        ("helps", "destination.host", 8, "field"),
    ]
    assert not found.wide
    assert found.kept


@pytest.mark.parametrize(
    ("condition", "path", "how"),
    [
        ("x := input.action\nx.tool", "action.tool", "field"),
        ("ag.id", "agent.id", "field"),
        ("whole.agent.id", "agent.id", "field"),
        ('"a" in input.agent.chain', "agent.chain", "loop"),
        ('some l in input.agent.chain\nl == "a"', "agent.chain", "loop"),
        ('every l in input.agent.chain { l != "a" }', "agent.chain", "loop"),
        ('input.agent.chain[_] == "a"', "agent.chain", "loop"),
        ('input.parsed_path[0] == "a"', "parsed_path", "field"),
        ("count(input.agent.chain) > 1", "agent.chain", "built_in"),
        ("f(input.agent.id)\n\nf(o) if o", "agent.id", "function"),
        ("f(input.agent)\n\nf(o) if o.id", "agent.id", "field"),
        ('x := {"a": input.agent.id}\nx.a', "agent.id", "value"),
        ('count([1 | input.agent.id == "a"]) > 0', "agent.id", "field"),
        ('$"{input.agent.id}" == "a"', "agent.id", "value"),
        ("input.agent[input.action.tool]", "action.tool", "field"),
        ("input.agent[input.action.tool]", "agent", "name"),
        ("h with input.agent.id as input.session.id\n\nh if input.agent.id", "session.id", "value"),
    ],
)
def test_a_read_is_followed_by_the_names_it_is_given(
    tmp_path: Path, condition: str, path: str, how: str
) -> None:
    header = "package aegis\n\nimport input.agent as ag\nimport input as whole\n"
    if "ag." not in condition:
        header = header.replace("import input.agent as ag\n", "")
    if "whole" not in condition:
        header = header.replace("import input as whole\n", "")
    found = explained(tmp_path, condition, header=header)
    assert (path, how) in [(path, how) for _, path, _, how in where(found)]


def test_what_a_rule_that_is_not_reached_reads_is_not_said(tmp_path: Path) -> None:
    found = explained(tmp_path, "input.agent.id\n\nother if input.session.id")
    assert [path for _, path, _, _ in where(found)] == ["agent.id"]


@pytest.mark.parametrize(
    ("condition", "path", "advice"),
    [
        ('input.agent[input.action.tool] == "a"', ("agent",), "name the members"),
        ('object.get(input.agent.claims, "role", "") == "a"', ("agent", "claims"), "`default` rule"),
        ('walk(input.action.arguments, [_, "a"])', ("action", "arguments"), "walk takes all of"),
        ("f(input.destination)\n\nf(o) if o.host", ("destination",), "hand f what it reads"),
        ("f(input.destination)\n\nf(o) if o.host", ("destination",), "input.destination.host"),
        ("f(input.destination)\n\nf(o) if count(o) > 1", ("destination",), "f takes all of"),
        ('input.agent.claims == {"a": 1}', ("agent", "claims"), "use the members that matter"),
        ('some k, "a" in input.parsed_query\nk', ("parsed_query",), "is looked through"),
        ("count(input.attributes.request.http.headers) > 1", HEADERS, "name the headers"),
        ("input.context.action_id", ("context", "action_id"), "the record has it anyway"),
        ("walk(input, [_, 1])", (), "walk takes all of input"),
    ],
)
def test_what_makes_a_question_wide_is_named_with_what_to_do(
    tmp_path: Path, condition: str, path: tuple[str, ...], advice: str
) -> None:
    found = explained(tmp_path, condition)
    (wide,) = [each for each in found.wide if each.path == path]
    assert advice in " ".join(wide.advice)
    assert wide.reads
    assert all(read.place.row >= 4 for read in wide.reads)


def test_a_name_that_is_given_to_an_object_does_not_make_it_wide(tmp_path: Path) -> None:
    assert not explained(tmp_path, "x := input.agent\nx.id").wide


def test_a_replacement_takes_in_what_it_replaces_and_that_is_said(tmp_path: Path) -> None:
    found = explained(tmp_path, 'h with input.agent as {"id": "a"}\n\nh if input.agent.id')
    (wide,) = found.wide
    assert (wide.path, [read.how.name for read in wide.reads]) == (("agent",), ["REPLACED"])
    assert "each by a `with` of its own" in wide.advice[0]


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(sources(most=4))
def test_every_fact_of_a_policy_that_nobody_wrote_has_a_place(policy: Source) -> None:
    with TemporaryDirectory() as directory:
        for found in explain(write(Path(directory) / "source", policy.files), policy.entry_points).values():
            assert set(found.entry.facts) <= {read.path for read in found.reads}


def test_a_volatile_field_is_why_no_verdict_is_kept(tmp_path: Path) -> None:
    found = explained(tmp_path, 'input.attributes.request.http.headers["x-request-id"]')
    assert not found.kept
    (wide,) = found.wide
    assert wide.volatile == ((*HEADERS, "x-request-id"),)


def test_all_headers_are_kept_where_none_is_volatile(tmp_path: Path) -> None:
    assert explained(tmp_path, "count(input.attributes.request.http.headers) > 1").kept


def test_a_print_is_why_the_whole_input_is_asked(tmp_path: Path) -> None:
    found = explained(tmp_path, "print(input.agent.id)")
    assert not found.entry.prune
    assert not found.kept
    (cause,) = found.prints
    assert (cause.what, cause.place.file, cause.place.row) == ("print(input.agent.id)", "p.rego", 4)


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("time.now_ns() > 1", "time.now_ns"),
        ('rand.intn("a", 5) == 1', "rand.intn"),
        ('f("a", 5) with f as rand.intn\n\nf(_, _) := 1', "rand.intn"),
    ],
)
def test_why_no_verdict_is_kept(tmp_path: Path, condition: str, named: str) -> None:
    found = explained(tmp_path, condition)
    assert not found.kept
    assert {cause.what.split()[0] for cause in found.changing} == {named}


def test_the_librarys_facts_all_have_a_place() -> None:
    found = explain(Path(__file__).parents[3] / "rego", [ENTRY])[ENTRY]
    assert set(found.entry.facts) == {read.path for read in found.reads}
    assert [wide.path for wide in found.wide] == [("action", "arguments"), ("parsed_query",)]


def test_an_entry_point_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.rego").write_text("package aegis\n\nother := 1\n")
    with pytest.raises(PolicyRejected, match=ENTRY):
        explain(tmp_path, [ENTRY])
