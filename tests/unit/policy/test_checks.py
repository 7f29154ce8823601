"""What is wrong with a source is named with file and line, and nothing is published."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.policy import checks
from tests.policy.opa import write

RULE = """package aegis

default decision := {"decision": "deny", "reason_code": "closed"}

decision := {"decision": "allow", "reason_code": "ok"} if {
	input.agent.id == data.who
}
"""
HALF = """package t

import data.aegis

test_it if {
	aegis.decision.decision == "allow" with input as {"agent": {"id": "a"}}
}
"""
WHOLE = (
    HALF
    + """
test_other if {
	aegis.decision.decision == "deny" with input as {"agent": {"id": "b"}}
}
"""
)
TREE = {"aegis/p.rego": RULE, "data.json": '{"who": "a"}', "aegis/p_test.rego": WHOLE}


def publish(tmp_path: Path, tree: dict[str, str], *more: object) -> tuple[int, str]:
    source = write(tmp_path / "rego", tree)
    return published(tmp_path, source, *more)


def published(tmp_path: Path, source: Path, *more: object) -> tuple[int, str]:
    (tmp_path / "state").mkdir(exist_ok=True)
    told = ["publish", source, "--version", "v1.0.0", "--why", "why", "--state", tmp_path / "state", *more]
    done = CliRunner().invoke(app, [str(each) for each in told])
    return done.exit_code, done.output


def refused(tmp_path: Path, tree: dict[str, str], *more: object) -> str:
    code, said = publish(tmp_path, tree, *more)
    assert code == 1, said
    assert list((tmp_path / "state").iterdir()) in ([], [tmp_path / "state/keys"])
    return said


def test_a_sound_source_is_published_with_what_its_tests_run(tmp_path: Path) -> None:
    code, said = publish(tmp_path, TREE, "--coverage", 100)
    assert code == 0, said


def test_the_lines_that_no_test_runs_are_named(tmp_path: Path) -> None:
    said = refused(tmp_path, TREE | {"aegis/p_test.rego": HALF}, "--coverage", "90")
    assert re.search(r"tests run \d\d\.\d % of the lines, and have to run 90 %", said)
    assert said.splitlines()[-1] == f"{tmp_path}/rego/aegis/p.rego:3"
    assert publish(tmp_path, TREE | {"aegis/p_test.rego": HALF}, "--coverage", "50")[0] == 0


def test_the_floor_is_a_setting(tmp_path: Path) -> None:
    config = tmp_path / "aegis.yaml"
    config.write_text("publishing:\n  coverage: 99\n")
    tree = TREE | {"aegis/p_test.rego": HALF}
    assert "have to run 99 %" in refused(tmp_path, tree, "--config", config)


def test_a_source_without_tests_is_told_what_to_do(tmp_path: Path) -> None:
    tree = {name: text for name, text in TREE.items() if "_test" not in name}
    assert f"{tmp_path}/rego: no *_test.rego anywhere: tests have to run 80 %" in refused(tmp_path, tree)
    assert publish(tmp_path, tree, "--coverage", 0)[0] == 0


def test_a_failing_test_says_what_it_prints(tmp_path: Path) -> None:
    tests = WHOLE + '\ntest_no if {\n\tprint("who is", data.who)\n\tdata.who == "b"\n}\n'
    said = refused(tmp_path, TREE | {"aegis/p_test.rego": tests})
    assert "test_no: FAIL" in said
    assert "who is a" in said


def test_a_file_that_is_not_formatted_is_named_with_its_line(tmp_path: Path) -> None:
    said = refused(
        tmp_path, TREE | {"aegis/p.rego": RULE.replace("\tinput.agent.id ==", "  input.agent.id ==")}
    )
    assert said.startswith(f"{tmp_path}/rego/aegis/p.rego:6: not as `opa fmt` writes it")


BAD = {
    "truncated Rego": ({"aegis/p.rego": RULE[:60]}, r"aegis/p\.rego:3: rego_parse_error"),
    "truncated data": ({"data.json": '{"who": "a"'}, r"rego/data\.json:1: not one document of data"),
    "a member twice": (
        {"data.json": '{"who": "a",\n"who": "b"}'},
        r"rego/data\.json:2: who: already in line 1",
    ),
    "not UTF-8": ({"aegis/b.rego": "package b\n\n# \udcff\n"}, r"aegis/b\.rego"),
    "a cycle": (
        {"aegis/c.rego": "package aegis\n\na if b\n\nb if a\n"},
        r"aegis/c\.rego:3: rego_recursion_error: rule data\.aegis\.a is recursive",
    ),
    "two defaults": (
        {"aegis/c.rego": "package aegis\n\ndefault a := 1\n\ndefault a := 2\n"},
        r"multiple default rules data\.aegis\.a found at aegis/c\.rego:3, aegis/c\.rego:5",
    ),
    "a rule over data": (
        {"data.json": '{"who": "a", "aegis": {"decision": 1}}'},
        r"aegis/p\.rego:3: .*conflicting rule for data path aegis/decision",
    ),
    "data over data": ({"who/data.json": '{"x": 1}'}, r"/data\.json|who/data\.json"),
    "an import of nothing": (
        {"aegis/c.rego": "package aegis\n\nimport data.nobody\n"},
        r"aegis/c\.rego:3: .*unused",
    ),
    "no such function": (
        {"aegis/c.rego": "package aegis\n\na := f(1)\n"},
        r"aegis/c\.rego:3: .*undefined function",
    ),
    "roots": ({".manifest": '{"roots": ["aegis"]}'}, r"rego/\.manifest: the manifest, with its roots"),
    "signatures": ({"aegis/.signatures.json": "{}"}, r"rego/aegis/\.signatures\.json"),
    "OPA's own rules": (
        {"s.rego": 'package system.bundles\n\naegis := "mine"\n'},
        r"s\.rego: data\.system\.bundles is OPA's own",
    ),
    "OPA's own data": ({"system/data.json": '{"x": 1}'}, r"data\.system is OPA's own"),
    "reading OPA's own": (
        {"aegis/c.rego": 'package aegis\n\ndecision := {"decision": "deny"} if data.system.bundles.x\n'},
        r"aegis/decision: reads data\.system",
    ),
    "deep data": (
        {"data.json": '{"who": ' + "[" * 20_000 + "]" * 20_000 + "}"},
        r"rego/data\.json: nested too deep",
    ),
    "deep YAML": ({"more/data.yaml": "x: " + "[" * 5_000 + "]" * 5_000}, r"more/data\.yaml"),
    "YAML that grows": (
        {
            "more/data.yaml": "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
        },
        r"more/data\.yaml",
    ),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_source_is_refused_by_file_and_line(tmp_path: Path, change: dict[str, str], said: str) -> None:
    source = write(tmp_path / "rego", dict.fromkeys(TREE | change, ""))
    for name, text in (TREE | change).items():
        (source / name).write_bytes(text.encode(errors="surrogateescape"))
    code, output = published(tmp_path, source)
    assert code == 1
    assert re.search(said, output), output
    assert "Traceback" not in output
    assert not (tmp_path / "state/bundles").exists()


def test_an_entry_point_that_no_rule_defines_is_refused(tmp_path: Path) -> None:
    assert "aegis/decisoin: no rule" in refused(tmp_path, TREE, "--entry", "aegis/decisoin")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda source: os.mkfifo(source / "pipe"), "pipe: neither a file nor a directory"),
        (lambda source: (source / "l.rego").symlink_to("aegis/p.rego"), r"l\.rego: a symbolic link"),
    ],
    ids=["a pipe", "a link"],
)
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    source = write(tmp_path / "rego", TREE)
    make(source)
    code, output = published(tmp_path, source)
    assert code == 1
    assert re.search(said, output)


def test_a_source_that_is_too_large_is_refused_with_its_largest_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "rego", TREE)
    with (source / "data.bin").open("wb") as file:
        file.truncate(checks.MOST_BYTES)
    code, output = published(tmp_path, source)
    assert code == 1
    assert f"over the limit of {checks.MOST_BYTES}; the largest file is {source}/data.bin" in output
    (source / "data.bin").unlink()
    monkeypatch.setattr(checks, "MOST_FILES", 2)
    code, output = published(tmp_path, source)
    assert (code, "3 files, over the limit of 2" in output) == (1, True)
