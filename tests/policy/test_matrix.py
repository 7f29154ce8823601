"""Every cell of the matrix, as a real OPA decides it and as it is shown."""

from __future__ import annotations

import asyncio
import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.controls.rule import rule
from authz.errors import PolicyRejected
from authz.policy import matrix
from authz.policy.matrix import SENSITIVITIES, Cell
from authz.policy.stage import PolicyStage
from authz.record import decision_members
from authz.testing import a_request
from authz.values import CLAIMS, NO_CLAIMS, Action, Assurance, Claims, Subject, Verdict
from tests.policy.bundles import PolicyVersion, build_bundle
from tests.policy.opa import activate, decide, listed, opa_with, signing_key, started
from tests.policy.test_library import REGO, data, opa, version

HOST = "cells.example"
# What the sources of this project ask for, and what there is beside it.
S0 = {
    *("credential_change", "export", "approval", "deletion", "external_effect", "payment"),
    "read_regulated",
}
BESIDE = {"read", "write", "tunnel"}
CELLS = {
    (category, sensitivity): cell
    for category, row in data("matrix").items()
    for sensitivity, cell in row.items()
}
EVERYTHING = Claims(dict.fromkeys(CLAIMS, "x"))
STRENGTH = {Assurance.MTLS: 3, Assurance.JWT: 2, Assurance.HEADER: 1, Assurance.NONE: 0}


def test_the_categories_are_those_of_the_sources_at_every_sensitivity() -> None:
    assert data("matrix").keys() == S0 | BESIDE
    assert CELLS.keys() == set(product(S0 | BESIDE, SENSITIVITIES))


def test_the_schema_knows_the_claims_that_can_be_made() -> None:
    said = opa("eval", "--format", "json", "--bundle", ".", "data.aegis.shape_test.claims")
    assert json.loads(said)["result"][0]["expressions"][0]["value"] == list(CLAIMS)


# What is decided.


def library_with_a_tool_for(cells: dict[tuple[str, str], Any], directory: Path) -> PolicyVersion:
    """A version whose only data beside the matrix is one tool for each of `cells`, at its own path. A cell
    that is not None is put into the matrix. Its form is not checked: what is wrong has to be denied, too.
    """
    source = Path(shutil.copytree(REGO, directory / "rego"))
    shutil.rmtree(source / "aegis" / "shape")
    named = {f"{category}.{sensitivity}": (category, sensitivity) for category, sensitivity in cells}
    tree = data("matrix")
    for (category, sensitivity), cell in cells.items():
        if cell is not None:
            tree.setdefault(category, {})[sensitivity] = cell
    held = {
        "agents": {"tester": {"tools": {tool: {} for tool in named}}},
        "tools": {tool: {"category": c, "sensitivity": s} for tool, (c, s) in named.items()},
        "destinations": {HOST: {"ports": [443], "routes": {"GET": {f"/{tool}": tool for tool in named}}}},
        "matrix": tree,
    }
    for name, what in held.items():
        (source / name / "data.yaml").write_text(yaml.safe_dump(what))
    return build_bundle(source, directory / "bundles", version="v1", signing_key=signing_key())


async def ask(
    policy: PolicyStage,
    cell: tuple[str, str],
    assurance: Assurance = Assurance.MTLS,
    session: str = "s-1",
    claims: Claims = EVERYTHING,
) -> tuple[str, str, Verdict]:
    """What is done in the end, and why, and what policy said."""
    path = "/" + ".".join(cell)
    action = Action("http", "", "GET", path)
    request = a_request(method="GET", host=HOST, path=path, action=action, claims=claims)
    subject = Subject("tester", assurance, session_id=session)
    verdict = await decide(policy, request, subject=subject)
    ruling = rule(request, verdict)
    recorded = decision_members("id", request, subject, ruling, "bounded")
    assert recorded.get("obligations", {}) == verdict.obligations
    assert recorded["reply_after"] == ("synced" if ruling.synced else "bounded")
    return ruling.decision, ruling.reason_code, verdict


def demanded(cell: dict[str, Any]) -> dict[str, Any]:
    """The obligations that an allow under `cell` carries."""
    synced = {"reply_after": "synced"} if cell["durability"] == "synced" else {}
    return {"capture": cell["capture"], "retention_days": cell["retention_days"]} | synced


def expected(cell: dict[str, Any], assurance: Assurance, session: str, claims: Claims) -> tuple[str, str]:
    """What README.md says about a cell, in the order of its list."""
    if STRENGTH[assurance] < STRENGTH[Assurance(cell["assurance"])]:
        return "deny", "assurance_too_low"
    if cell["decision"] == "deny":
        return "deny", "category_not_permitted"
    if cell["session"] == "identified" and not session:
        return "deny", "session_missing"
    if not set(cell.get("claims", ())) <= set(claims.values):
        return "deny", "claim_missing"
    if cell["decision"] == "approval_needed":
        return "approval_needed", "approval_required"
    return "allow", "permitted"


async def test_every_cell_for_every_caller(tmp_path: Path) -> None:
    made = library_with_a_tool_for(dict.fromkeys(CELLS), tmp_path)
    some = Claims({"model": "m"})
    seen: set[tuple[str, str]] = set()
    async with opa_with(made) as process, started(process.socket) as policy:
        for where, *caller in product(CELLS, Assurance, ("", "s-1"), (NO_CLAIMS, some, EVERYTHING)):
            decision, reason, verdict = await ask(policy, where, *caller)  # type: ignore[arg-type]
            cell = CELLS[where]
            assert (decision, reason) == expected(cell, *caller), (where, caller)  # type: ignore[arg-type]
            assert verdict.rule == f"matrix/{where[0]}/{where[1]}"
            assert verdict.classification["category"] == where[0]
            assert verdict.classification["sensitivity"] == where[1]
            kept = {"capture": "redacted"} if cell["capture"] == "redacted" else {}
            assert verdict.obligations == (kept if decision == "deny" else demanded(cell))
            seen.add((decision, reason))
    assert len(seen) == 6


@pytest.mark.parametrize(
    "where",
    [("reading", "internal"), ("read", "secret"), ("read", "Internal"), ("Read", "internal"), ("", "")],
)
async def test_what_the_matrix_does_not_have_is_denied(tmp_path: Path, where: tuple[str, str]) -> None:
    async with (
        opa_with(library_with_a_tool_for({where: None}, tmp_path)) as process,
        started(process.socket) as policy,
    ):
        decision, reason, verdict = await ask(policy, where)
    assert (decision, reason, verdict.rule) == ("deny", "category_unknown", "matrix-known")


WHOLE = {
    "decision": "allow",
    "assurance": "jwt",
    "durability": "bounded",
    "capture": "hash",
    "retention_days": 30,
    "session": "any",
}
ODD = {
    "labels": ({"session_labels": ["phi"]}, "control_unavailable"),
    "refuses": ({"session_refuses": ["phi"]}, "control_unavailable"),
    "capture": ({"capture": "everything"}, "control_unavailable"),
    "retention": ({"retention_days": 0}, "control_unavailable"),
    "forever": ({"retention_days": "forever"}, "control_unavailable"),
    "durability": ({"durability": "soon"}, "not_permitted"),
    "session": ({"session": "named"}, "not_permitted"),
    "decision": ({"decision": "allowed"}, "not_permitted"),
    "assurance": ({"assurance": "strong"}, "assurance_too_low"),
    "claims": ({"claims": ["modle"]}, "claim_missing"),
    "claim": ({"claims": "model"}, "not_permitted"),
    "right": ({}, "permitted"),
}


async def test_a_cell_that_nothing_here_can_carry_out_denies(tmp_path: Path) -> None:
    cells = {(category, "internal"): WHOLE | changes for category, (changes, _) in ODD.items()}
    made = library_with_a_tool_for(cells, tmp_path)
    async with opa_with(made) as process, started(process.socket) as policy:
        found = {where[0]: (await ask(policy, where))[:2] for where in cells}
    assert found == {
        category: ("allow" if reason == "permitted" else "deny", reason)
        for category, (_, reason) in ODD.items()
    }


# What is shown.


def shown(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["matrix", *map(str, arguments)])
    return done.exit_code, done.output


async def test_source_bundle_and_running_opa_show_the_same(tmp_path: Path) -> None:
    source = matrix.of_source(REGO)
    assert list(source["read"]) == list(SENSITIVITIES)
    read = {(name, key): cell for name, row in source.items() for key, cell in row.items()}
    assert read.keys() == CELLS.keys()
    for where, cell in read.items():
        claims = tuple(CELLS[where].get("claims", ()))
        assert cell == Cell(**(CELLS[where] | {"claims": claims}))
    async with opa_with(version()) as process:
        assert source == matrix.of_bundle(version().file) == await matrix.of_opa(process.socket)


def test_the_table_fits_and_has_a_line_for_every_cell() -> None:
    code, said = shown(REGO)
    assert code == 0
    lines = said.splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(any(f" {sensitivity} " in line for sensitivity in SENSITIVITIES) for line in lines) == len(
        CELLS
    )
    (payment,) = [line for line in lines if line.split()[:1] == ["payment"]]
    assert payment.split() == ["payment", "public", "allow", "jwt", "synced", "redacted", "2555"]
    assert "prompt_template_version" in said


def test_as_json_it_is_the_data() -> None:
    code, said = shown(REGO, "--json")
    assert (code, json.loads(said)) == (0, data("matrix"))


def test_without_a_source_it_is_the_active_version(tmp_path: Path) -> None:
    code, said = shown("--state", tmp_path)
    assert code == 1
    assert "no version is active" in said
    listed(tmp_path / "bundles", version().revision, version().file.read_bytes())
    activate(tmp_path / "bundles", "v1.3.2")
    assert shown("--state", tmp_path, "--json") == shown(REGO, "--json")


async def test_running_is_what_opa_decides_by(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    async with opa_with(version()) as process:
        (tmp_path / "run" / "opa.sock").symlink_to(process.socket)
        said = await asyncio.to_thread(shown, "--running", "--state", tmp_path, "--json")
    assert (said[0], json.loads(said[1])) == (0, data("matrix"))


def test_what_has_no_matrix_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("package a\n\nb := 1\n")
    (tmp_path / "c.tar.gz").write_bytes(b"not one")
    attempts: list[tuple[list[object], str]] = [
        ([tmp_path], "no data.matrix"),
        ([tmp_path / "c.tar.gz"], "not a bundle"),
        (["--running", "--state", tmp_path], "run/opa.sock"),
        ([REGO, "--running"], "leave SOURCE out"),
    ]
    for arguments, words in attempts:
        code, said = shown(*arguments)
        assert (code, len(said.splitlines())) == (1, 1), said
        assert words in said


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "no data.matrix"),
        ({}, "no data.matrix"),
        ({"read": {"public": WHOLE}}, "matrix.read: not exactly public"),
        ({"read": []}, "matrix.read"),
        ({"read": dict.fromkeys(SENSITIVITIES, WHOLE | {"budget": 1})}, "budget"),
        ({"read": dict.fromkeys(SENSITIVITIES, WHOLE | {"retention_days": True})}, "retention_days"),
        ({"read": dict.fromkeys(SENSITIVITIES, WHOLE | {"decision": "permit"})}, "decision"),
    ],
)
def test_another_form_is_refused_by_name(tree: Any, words: str) -> None:
    with pytest.raises(PolicyRejected, match=words):
        matrix.read(tree, "here")


def test_a_foreign_name_cannot_drive_the_terminal(tmp_path: Path) -> None:
    row = dict.fromkeys(SENSITIVITIES, WHOLE | {"session_labels": ["\x1b[2J[red]"]})
    (tmp_path / "data.json").write_text(json.dumps({"matrix": {"\x1b]0;x\x07": row}}))
    (tmp_path / "a.rego").write_text("package a\n\nb := 1\n")
    code, said = shown(tmp_path)
    assert code == 0
    assert "\x1b" not in said
    assert r"\x1b]0;x" in said
