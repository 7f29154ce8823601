"""The linter over whole sources: every rule on its own examples, no alarm on policies that are safe."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.errors import PolicyRejected
from authz.policy.lint.finding import Finding, LintRule
from authz.policy.lint.run import RULES, errors, lint, mend
from authz.policy.schema import as_text
from tests.policy.generated import Source, sources
from tests.policy.opa import write

ROOT = Path(__file__).parents[4]
SANE = sorted((Path(__file__).parent / "sane").glob("*.rego"))
HEAD = 'package aegis\n\ndefault decision := {"decision": "deny", "reason_code": "not_permitted"}\n\n'
ENTRIES = ("aegis/decision", "aegis/verdict")


def source_of(directory: Path, rego: str) -> Path:
    source = directory / "rego"
    source.mkdir(exist_ok=True)
    (source / "decision.rego").write_text(HEAD + rego + "\n")
    return source


def found_in(directory: Path, rego: str) -> tuple[Finding, ...]:
    return lint(source_of(directory, rego), ENTRIES)


def ids(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule.id for finding in findings]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_finds_its_bad_example_and_nothing_is_found_in_the_good_one(
    rule: LintRule, tmp_path: Path
) -> None:
    assert rule.id in ids(found_in(tmp_path, rule.bad))
    good = found_in(tmp_path, rule.good)
    assert ids(good) == (["host-any-subdomain"] if "%" in rule.good else [])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_examples_are_rego_that_opa_takes(rule: LintRule, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(as_text())
    for rego in (rule.bad, rule.good):
        source_of(tmp_path, rego)
        command = ["opa", "check", "--schema", "schema.json", "rego"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.mends], ids=lambda rule: rule.id)
def test_what_says_that_it_is_mended_is(rule: LintRule, tmp_path: Path) -> None:
    before = found_in(tmp_path, rule.bad)
    mended = mend(tmp_path / "rego", before)
    assert rule.id in ids(tuple(mended))
    assert rule.id not in ids(lint(tmp_path / "rego", ENTRIES))


def test_only_what_says_so_is_ever_mended(tmp_path: Path) -> None:
    for rule in RULES:
        for finding in found_in(tmp_path, rule.bad):
            assert finding.rule.mends or finding.edit is None


def test_a_file_that_changed_since_is_left_alone(tmp_path: Path) -> None:
    found = found_in(tmp_path, "allow if regex.match(`a\\.example`, input.destination.host)")
    changed = HEAD + "allow if input.destination.host == `a.example`\n"
    (tmp_path / "rego/decision.rego").write_text(changed)
    assert mend(tmp_path / "rego", found) == []
    assert (tmp_path / "rego/decision.rego").read_text() == changed


def test_the_library_is_found_safe() -> None:
    assert lint(ROOT / "rego", ["aegis/decision"]) == ()


@pytest.mark.parametrize("file", SANE, ids=lambda file: file.stem)
def test_safe_policies_raise_no_alarm(file: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.rego").write_text(file.read_text())
    assert [f"{finding.place.row}: {finding.rule.id}" for finding in lint(tmp_path, ["aegis/decision"])] == []


def test_there_are_safe_policies_to_try() -> None:
    assert len(SANE) >= 4


def test_findings_are_in_the_order_of_their_places_and_name_file_row_and_column(tmp_path: Path) -> None:
    rego = (
        'allow if startswith(input.destination.host, "a")\n\nallow if contains(input.destination.host, "b")'
    )
    found = found_in(tmp_path, rego)
    assert [(f.place.file, f.place.row, f.place.col) for f in found] == [
        ("decision.rego", 5, 10),
        ("decision.rego", 7, 10),
    ]
    assert len(errors(found)) == 2


def test_tests_are_not_linted(tmp_path: Path) -> None:
    source = source_of(tmp_path, 'allow if input.agent.id == "x"')
    (source / "decision_test.rego").write_text("package aegis_test\n\ndefault allow := true\n")
    assert lint(source, ENTRIES) == ()


def test_what_opa_cannot_parse_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected, match=r"decision\.rego:\d"):
        found_in(tmp_path, "allow if {")


def test_a_place_is_found_behind_letters_of_any_width(tmp_path: Path) -> None:
    rego = 'allow if { "é\u2028😀" == input.agent.id; regex.match(`a\\.b`, input.destination.host) }'
    mended = mend(tmp_path / "rego", found_in(tmp_path, rego))
    assert ids(tuple(mended)) == ["host-unanchored-regex"]
    assert "regex.match(`^(?:a\\.b)$`," in (tmp_path / "rego/decision.rego").read_text()


def test_all_faults_of_one_place_are_mended(tmp_path: Path) -> None:
    source = source_of(tmp_path, "allow if regex.match(`a.b`, input.destination.host)")
    done = CliRunner().invoke(app, ["lint", str(source), "--fix"])
    assert done.exit_code == 0, done.output
    assert "regex.match(`^(?:a\\.b)$`," in (source / "decision.rego").read_text()


def test_a_token_that_is_verified_is_no_header_that_says_who_asks(tmp_path: Path) -> None:
    rego = """import input.attributes.request.http

allow if {
	[valid, _, claims] := io.jwt.decode_verify(http.headers["x-agent-jwt"], data.keys)
	valid
	claims.role == "clerk"
}"""
    assert ids(found_in(tmp_path, rego)) == ["changing-built-in"]


@settings(max_examples=20, deadline=None)
@given(made=sources())
def test_no_policy_of_any_form_is_too_odd_to_be_read(made: Source) -> None:
    with TemporaryDirectory() as name:
        source = write(Path(name) / "rego", made.files)
        found = lint(source, made.entry_points)
        for finding in found:
            lines = (source / finding.place.file).read_text().split("\n")
            assert 0 < finding.place.col <= len(lines[finding.place.row - 1])
        mend(source, found)
        assert not [finding for finding in lint(source, made.entry_points) if finding.edit]


def test_every_rule_has_an_id_of_its_own() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_the_page_is_what_the_code_says() -> None:
    said = CliRunner().invoke(app, ["lint", "--rules"])
    assert said.exit_code == 0
    assert (ROOT / "docs/policy-lint.md").read_text().endswith("\n## The rules\n\n" + said.output)
