"""Proposals: a diff that applies, permits exactly what was asked for, and leaves to people what is theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from authz.errors import PolicyRejected
from authz.policy.proposal import Proposal, Wish, general, propose

REGO = Path(__file__).parents[3] / "rego"
EHR = "internal-ehr.myorg.example"


def wish(**members: Any) -> Wish:
    plain = {
        "agent": "billing-agent",
        "method": "GET",
        "host": EHR,
        "port": 80,
        "path": "/patients/17/records",
        "tool": "ehr.read",
        "reason": "tool_not_permitted",
        "count": 1,
    }
    return Wish(**(plain | members))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REGO, tmp_path / "rego")
    monkeypatch.chdir(tmp_path)
    return Path("rego")


def applied(made: Proposal) -> None:
    subprocess.run(["patch", "-p0"], input=made.diff, text=True, check=True, capture_output=True, timeout=60)


def opa(*arguments: str, asked: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    given = ["--stdin-input"] if asked else []
    return subprocess.run(
        ["opa", *arguments, *given],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        cwd="rego",
    )


def decided(agent: str, method: str, host: str, path: str) -> Any:
    asked = {
        "agent": {"id": agent, "chain": [], "assurance": "jwt"},
        "action": {"kind": "http", "tool": "", "method": method, "resource": path, "body": "none"},
        "destination": {"host": host, "port": 80},
        "parsed_query": {},
        "session": {"identified": False},
        "context": {"claimed": []},
        "mcp": {},
    }
    said = opa("eval", "--format", "json", "--bundle", ".", "data.aegis.decision", asked=asked)
    return json.loads(said.stdout)["result"][0]["expressions"][0]["value"]["decision"]


def test_nothing_is_written_and_the_diff_grants_exactly_what_was_asked(source: Path) -> None:
    before = (source / "agents/data.yaml").read_text()
    made = propose(source, [wish(count=3)])
    assert (source / "agents/data.yaml").read_text() == before
    assert made.notes == (
        f"3 requests: billing-agent GET {EHR}:80/patients/*/records, denied tool_not_permitted",
    )
    assert [line for line in made.diff.splitlines() if line[:1] in "+-"] == [
        "--- rego/agents/data.yaml",
        "+++ rego/agents/data.yaml",
        "+    ehr.read: {}",
    ]
    assert decided("billing-agent", "GET", EHR, "/patients/17/records") == "deny"
    applied(made)
    assert decided("billing-agent", "GET", EHR, "/patients/17/records") == "allow"
    assert decided("billing-agent", "DELETE", EHR, "/patients/17") == "deny"


def test_a_new_agent_gets_what_it_asked_for_and_the_library_s_tests_pass(source: Path) -> None:
    made = propose(source, [wish(agent="shadow-agent", reason="agent_unknown")])
    applied(made)
    assert decided("shadow-agent", "GET", EHR, "/patients/17/records") == "allow"
    assert opa("test", "--bundle", ".", "-r", "shape").returncode == 0


def test_a_tool_at_a_host_that_does_not_have_it_becomes_a_route_there(source: Path) -> None:
    made = propose(
        source,
        [
            wish(
                agent="clinical-agent",
                method="POST",
                host="files.partner.example",
                path="/patients/export",
                tool="ehr.export",
                reason="egress_violation",
            )
        ],
    )
    assert "+    POST: {/invoices: invoice.send, /patients/export: ehr.export}" in made.diff
    applied(made)
    assert opa("test", "--bundle", ".", "-r", "shape").returncode == 0


def test_what_only_a_person_can_know_keeps_it_from_being_published(source: Path) -> None:
    new = {"host": "flights.example", "tool": "http", "reason": "egress_violation", "agent": "travel-agent"}
    made = propose(source, [wish(path="/v1/flights", **new), wish(path="/v1/flights/AB12", **new)])
    assert "+  category: decide" in made.diff
    assert "+flights.example:" in made.diff
    applied(made)
    tested = opa("test", "--bundle", ".", "-r", "shape")
    assert tested.returncode != 0
    assert "test_the_data_has_its_form_and_names_what_exists: FAIL" in tested.stdout


def test_paths_that_differ_in_one_name_are_one_route(source: Path) -> None:
    new = {"host": "flights.example", "tool": "http", "reason": "egress_violation"}
    made = propose(source, [wish(path=f"/v1/flights/{number}", **new) for number in range(1, 30)])
    assert made.diff.count("/v1/flights/*") == 1


@pytest.mark.parametrize(
    ("path", "route"),
    [("/a/17/b", "/a/*/b"), ("/a/[redacted]", "/a/*"), ("/", "/"), ("", "/"), ("/a/b-c", "/a/b-c")],
)
def test_what_names_one_thing_is_any_in_a_route(path: str, route: str) -> None:
    assert general(path) == route


@pytest.mark.parametrize(
    "odd",
    [
        {"agent": "a: {tools: {}}\nb"},
        {"agent": ""},
        {"host": 'x"}\nevil.example'},
        {"path": "/a b"},
        {"path": "/a#b"},
        {"method": "get\n"},
    ],
)
def test_names_that_the_data_cannot_have_are_left_out(source: Path, odd: dict[str, str]) -> None:
    made = propose(source, [wish(**odd)])
    assert (made.diff, len(made.left_out)) == ("", 1)


def test_what_is_there_already_is_not_proposed(source: Path) -> None:
    assert propose(source, [wish(agent="clinical-agent")]).diff == ""


def test_data_of_another_form_is_refused(source: Path) -> None:
    (source / "agents/data.yaml").write_text("- a\n")
    with pytest.raises(PolicyRejected, match="not of the default library's form"):
        propose(source, [wish()])
