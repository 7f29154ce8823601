"""What a rule speaks of is found however it is written, and on which side it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.policy.lint.program import Program
from authz.policy.lint.run import lint
from authz.policy.lint.syntax import modules, terms_of
from authz.policy.opa_tool import OpaTool

HEAD = "package aegis\n\ndefault allow := false\n\n"


def found(directory: Path, rego: str, **others: str) -> list[tuple[str, int]]:
    for name, text in {"a": HEAD + rego + "\n", **others}.items():
        (directory / f"{name}.rego").write_text(text)
    return [(finding.rule.id, finding.place.row) for finding in lint(directory, ["aegis/allow"])]


AFFIX = 'endswith(%s, "example.com")'


@pytest.mark.parametrize(
    "rego",
    [
        "allow if endswith(input.destination.host, `example.com`)",
        'allow if endswith(input["destination"]["host"], `example.com`)',
        "allow if {\n\thost := input.destination.host\n\tendswith(host, `example.com`)\n}",
        "allow if {\n\tto := input.destination\n\tendswith(to.host, `example.com`)\n}",
        "allow if {\n\t{`host`: host} = input.destination\n\tendswith(host, `example.com`)\n}",
        "allow if endswith(lower(input.destination.host), `example.com`)",
        "allow if endswith(object.get(input.destination, `host`, ``), `example.com`)",
        "allow if {\n\tsome suffix in data.suffixes\n\tendswith(input.destination.host, suffix)\n}",
        "allow if ours(input.destination.host)\n\nours(host) if endswith(host, `example.com`)",
        "allow if ours(input)\n\nours(asked) if endswith(asked.destination.host, `example.com`)",
        "allow if ours\n\nours if endswith(host, `example.com`)\n\nhost := input.destination.host",
        "allow if not foreign\n\nforeign if not endswith(input.destination.host, `example.com`)",
        "allow if {\n\tevery host in [input.destination.host] {\n\t\tendswith(host, `example.com`)\n\t}\n}",
        "allow if count([1 | endswith(input.destination.host, `example.com`)]) > 0",
        "allow if {\n\tsome part in [input.destination.host]\n\tendswith(part, `example.com`)\n}",
        "allow if {\n\twalk(input.destination, [_, value])\n\tendswith(value, `example.com`)\n}",
        "allow if contains(`a.example,b.example`, input.destination.host)",
        "allow if input.agent.id == `x`\n\nallow if indexof(input.destination.host, `example.com`) != -1",
    ],
)
def test_a_host_is_known_by_whatever_name(rego: str, tmp_path: Path) -> None:
    assert "host-by-affix" in [rule for rule, _ in found(tmp_path, rego)]


def test_a_host_is_known_in_another_package(tmp_path: Path) -> None:
    other = "package lib.hosts\n\nours if endswith(asked.host, `example.com`)\n\nasked := input.destination\n"
    assert found(tmp_path, "import data.lib.hosts as known\n\nallow if known.ours", b=other) == [
        ("host-by-affix", 3)
    ]


@pytest.mark.parametrize(
    "rego",
    [
        "allow if {\n\tinput.agent.id == `x`\n\tnot endswith(input.destination.host, `evil.example`)\n}",
        "allow if {\n\tinput.agent.id == `x`\n\tcount(deny) == 0\n}\n\n"
        "deny contains `no` if endswith(input.destination.host, `evil.example`)",
        "allow if {\n\tinput.agent.id == `x`\n\tnot listed\n}\n\n"
        "listed if regex.match(`evil`, input.destination.host)",
        "allow if endswith(input.agent.id, `@example.com`)",
        "allow if {\n\thost := input.agent.id\n\tendswith(host, `-ours`)\n}",
    ],
)
def test_what_forbids_may_match_too_much_and_what_is_no_host_at_all(rego: str, tmp_path: Path) -> None:
    assert found(tmp_path, rego) == []


def test_origins_reach_through_every_step(tmp_path: Path) -> None:
    rego = "who := agent.id\n\nagent := input.agent\n\nallow if data.known[who]"
    (tmp_path / "a.rego").write_text(HEAD + rego)
    program = Program(list(modules(tmp_path, OpaTool())), ["aegis/allow"])
    rule = next(rule for rule in program.rules if rule.path == ("aegis", "allow") and not rule.default)
    read = {path for term in terms_of(rule.body[0]) for path in program.origins(rule, term)}
    assert read == {("agent", "id")}


def test_recursive_names_end(tmp_path: Path) -> None:
    rego = "allow if f(input.a)\n\nf(x) := y if y := {`a`: x}.a\n\ng := h\n\nh := {`a`: input.b}"
    assert found(tmp_path, rego) == []
