"""The default policy library: its own tests, its decisions by a real OPA, and what holds it together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from msgspec.structs import replace

from authz import programs
from authz.controls.rule import rule
from authz.errors import Denied, PolicyRejected
from authz.policy.document import FIELDS
from authz.policy.facts import CREDENTIALS, is_volatile
from authz.policy.stage import PolicyStage
from authz.protocols.claims import HEADERS
from authz.testing import a_request
from authz.values import MISSING, Action, Assurance, Reason, Request, Subject, Verdict
from tests.policy.bundles import PolicyVersion, build_bundle
from tests.policy.opa import active, asking, decide, opa_with, signing_key, started

REGO = Path(__file__).parents[2] / "rego"
README = (REGO / "README.md").read_text()
EHR, PAYMENTS, PARTNER = "internal-ehr.myorg.example", "payments.myorg.example", "files.partner.example"
CHARGE = {"amount_cents": 4200, "currency": "EUR", "reference": "2026-0017"}


def opa(*arguments: str, directory: Path = REGO) -> str:
    done = subprocess.run(["opa", *arguments], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_formatted() -> None:
    assert opa("fmt", "--list", ".") == ""


def test_it_passes_the_strict_check_and_reads_nothing_that_the_input_does_not_have() -> None:
    opa("check", "--strict", "--schema", "schemas/input.json", "--bundle", ".")


def test_its_own_tests_pass_and_reach_nearly_all_of_it() -> None:
    report = json.loads(opa("test", "--bundle", ".", "--coverage", "--format", "json"))
    assert report["coverage"] > 95
    covered = {name: file.get("coverage", 0) for name, file in report["files"].items()}
    sources = {str(file.relative_to(REGO)) for file in REGO.rglob("*.rego")}
    assert {name.lstrip("/").removeprefix("./") for name in covered} == sources
    assert min(covered.values()) > 95, covered


@cache
def version() -> PolicyVersion:
    out = signing_key().parent / "library"
    return build_bundle(REGO, out, version="v1.3.2", signing_key=signing_key())


def test_it_reads_few_fields_and_every_verdict_can_be_kept() -> None:
    analysis = version().analysis
    entry = analysis.entry_points["aegis/decision"]
    read = {".".join(path) for path in entry.facts}
    assert read == {
        *("agent.id", "agent.chain", "agent.assurance", "destination.host", "destination.port"),
        *(f"action.{name}" for name in ("kind", "tool", "method", "resource", "arguments", "body")),
        *("parsed_query", "context.claimed", "session.identified"),
        *(f"mcp.{name}" for name in ("message", "method", "name", "fault")),
    }
    assert all(path in FIELDS for path in entry.facts)
    assert entry.prune
    assert analysis.nondeterministic == ()
    assert not any(is_volatile(path) or CREDENTIALS.intersection(path) for path in entry.facts)


# What is decided about the samples.


@pytest.fixture
async def library() -> AsyncIterator[PolicyStage]:
    async with opa_with(version()) as process, started(process.socket) as policy:
        yield policy


def sent(
    method: str, host: str, path: str, body: Any = MISSING, *, kind: str = "http", **members: Any
) -> Request:
    plain = {
        "method": method,
        "scheme": "http",
        "host": host,
        "port": 80,
        "path": path,
        "headers": {} if body is MISSING else {"content-type": "application/json"},
        "body": b"" if body is MISSING else orjson.dumps(body),
        "action": Action(kind, "", method, path, body),
    }
    return a_request(**plain | members)


def agent(name: str, *chain: str, assurance: Assurance = Assurance.JWT) -> Subject:
    return Subject(name, assurance, chain=chain)


CLINICAL, BILLING = agent("clinical-agent"), agent("billing-agent")
RECORDS = sent("GET", EHR, "/patients/7/records")
EXPORT = {"patients": "all", "format": "ndjson"}
SAMPLES = {
    "reads records": (CLINICAL, RECORDS, "allow permitted ehr.read"),
    "exports to a partner": (
        CLINICAL,
        sent("POST", PARTNER, "/patients/export", EXPORT),
        "deny egress_violation ehr.export",
    ),
    "exports at home": (
        CLINICAL,
        sent("POST", EHR, "/patients/export", EXPORT),
        "approval_needed approval_required ehr.export",
    ),
    "exports to nowhere": (
        CLINICAL,
        sent("POST", "paste.example", "/patients/export", EXPORT),
        "deny egress_violation ehr.export",
    ),
    "deletes": (
        CLINICAL,
        sent("DELETE", EHR, "/patients/7"),
        "approval_needed approval_required ehr.delete",
    ),
    "charges": (BILLING, sent("POST", PAYMENTS, "/charges", CHARGE), "allow permitted billing.charge"),
    "charges its limit": (
        BILLING,
        sent("POST", PAYMENTS, "/charges", CHARGE | {"amount_cents": 50000}),
        "allow permitted billing.charge",
    ),
    "charges over its limit": (
        BILLING,
        sent("POST", PAYMENTS, "/charges", CHARGE | {"amount_cents": 50001}),
        "deny argument_not_permitted billing.charge",
    ),
    "charges a text": (
        BILLING,
        sent("POST", PAYMENTS, "/charges", CHARGE | {"amount_cents": "4200"}),
        "deny argument_not_permitted billing.charge",
    ),
    "charges with more": (
        BILLING,
        sent("POST", PAYMENTS, "/charges", CHARGE | {"to": "me"}),
        "deny argument_not_permitted billing.charge",
    ),
    "charges in the query, too": (
        BILLING,
        sent("POST", PAYMENTS, "/charges", CHARGE, query="amount_cents=1"),
        "deny argument_not_permitted billing.charge",
    ),
    "charges nothing": (
        BILLING,
        sent("POST", PAYMENTS, "/charges"),
        "deny argument_not_permitted billing.charge",
    ),
    "reads with a body": (
        CLINICAL,
        sent("GET", EHR, "/patients/7/records", {"x": 1}),
        "deny argument_not_permitted ehr.read",
    ),
    "reads since": (
        CLINICAL,
        sent("GET", EHR, "/patients/7/records", query="since=2026-01-31"),
        "allow permitted ehr.read",
    ),
    "billing reads": (BILLING, RECORDS, "deny tool_not_permitted ehr.read"),
    "invoices": (
        BILLING,
        sent("POST", PARTNER, "/invoices", {"number": "R-1", "lines": [{"text": "visit", "cents": 4200}]}),
        "allow permitted invoice.send",
    ),
    "a stranger": (agent("shadow-agent"), RECORDS, "deny agent_unknown ehr.read"),
    "an unknown host": (CLINICAL, sent("GET", "evil.example", "/"), "deny egress_violation "),
    "another port": (
        CLINICAL,
        sent("GET", EHR, "/patients/7/records", port=8080),
        "deny egress_violation ehr.read",
    ),
    "no tool": (CLINICAL, sent("GET", EHR, "/patients"), "deny tool_unknown "),
    "by name only": (
        agent("clinical-agent", assurance=Assurance.HEADER),
        RECORDS,
        "deny assurance_too_low ehr.read",
    ),
    "through billing": (
        agent("clinical-agent", "billing-agent"),
        RECORDS,
        "deny delegation_not_permitted ehr.read",
    ),
    "through itself": (agent("clinical-agent", "clinical-agent"), RECORDS, "allow permitted ehr.read"),
    "a tunnel": (
        CLINICAL,
        sent("CONNECT", EHR, "", kind="tunnel", port=443),
        "deny tunnel_not_permitted ",
    ),
    "a tunnel over a known path": (
        CLINICAL,
        sent("GET", EHR, "/patients/7/records", kind="tunnel"),
        "deny tunnel_not_permitted ehr.read",
    ),
}


async def test_the_samples_are_decided_as_they_should(library: PolicyStage) -> None:
    decided = {}
    for name, (subject, request, _) in SAMPLES.items():
        verdict = await decide_as(library, subject, request)
        called = verdict.classification.get("tool", "")
        decided[name] = f"{verdict.decision} {verdict.reason_code} {called}"
        assert verdict.policy_version == "v1.3.2"
        assert rule(request, verdict).allowed == (verdict.decision == "allow")
        assert verdict.rationale
        assert (f"agents/{subject.agent_id}" in verdict.evidence) == (verdict.reason_code != "agent_unknown")
    assert decided == {name: expected for name, (_, _, expected) in SAMPLES.items()}


async def decide_as(policy: PolicyStage, subject: Subject, request: Request) -> Verdict:
    again = asking(policy, request, subject)
    facts = again()
    assert facts.cacheable
    return policy.lookup(facts) or await policy.evaluate(facts, again, 5)


async def test_a_charge_waits_for_the_sync_and_a_read_does_not(library: PolicyStage) -> None:
    synced = {}
    for name in ("charges", "reads records"):
        subject, request, _ = SAMPLES[name]
        synced[name] = rule(request, await decide_as(library, subject, request)).synced
    assert synced == {"charges": True, "reads records": False}


async def test_reads_of_one_patient_are_one_entry_of_the_cache(library: PolicyStage) -> None:
    first = asking(library, RECORDS, CLINICAL)()
    again = replace(RECORDS, request_id="r-2", source_address="10.0.0.9", headers={"x-request-id": "2"})
    second = asking(library, again, CLINICAL)()
    assert first.question == second.question


def data(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((REGO / name / "data.yaml").read_text())
    return tree


# One list of reasons, one input document, one table.


def reasons() -> dict[str, dict[str, str]]:
    listed: dict[str, dict[str, str]] = json.loads((REGO / "aegis/reasons.json").read_text())
    return listed


def rulings() -> list[dict[str, Any]]:
    """The objects in Rego that have a reason code, with their members as far as they are literals."""
    parsed = json.loads(opa("parse", "--format", "json", "aegis/decision.rego"))
    found = [dict(literals(term)) for term in objects(parsed)]
    return [members for members in found if "reason_code" in members]


def objects(tree: Any) -> Iterator[list[Any]]:
    if isinstance(tree, dict):
        if tree.get("type") == "object":
            yield tree["value"]
        tree = [tree[name] for name in sorted(tree, reverse=True)]  # a rule's head before its else
    if isinstance(tree, list):
        for item in tree:
            yield from objects(item)


def literals(members: list[Any]) -> Iterator[tuple[str, Any]]:
    for name, term in members:
        yield name["value"], term["value"] if term["type"] == "string" else None


def test_every_reason_in_rego_is_listed_once_and_every_listed_one_is_given() -> None:
    listed = reasons()
    assert set(listed["authorizer"]) == {str(reason) for reason in Reason}
    assert not listed["authorizer"].keys() & listed["library"].keys()
    given = [ruling["reason_code"] for ruling in rulings()]
    computed = [ruling["rule"] for ruling in rulings() if ruling["reason_code"] is None]
    assert computed == ["mcp-message"]  # the reader's own word; another computed reason could be unlisted
    assert len(given) > 10
    own = set(given) - set(listed["authorizer"]) - {None}
    assert own == set(listed["library"])
    assert all(text for part in listed.values() for text in part.values())


def test_reasons_stand_nowhere_else_in_rego() -> None:
    for file in REGO.rglob("*.rego"):
        if not file.name.endswith("_test.rego") and file.name != "decision.rego":
            assert "reason_code" not in file.read_text(), file


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the README, without its head."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def test_the_readmes_matrix_is_the_data() -> None:
    columns = ("public", "internal", "confidential", "regulated")
    shown = [
        [category, *(shown_cell(row[name]) for name in columns)] for category, row in data("matrix").items()
    ]
    assert table("The matrix") == shown


def test_the_readme_names_every_header_of_a_claim() -> None:
    named = [word for row in table("What a caller says about itself") for word in row[0].split("`, `")]
    assert sorted(named) == sorted(HEADERS)


def shown_cell(cell: dict[str, Any]) -> str:
    words = [{"approval_needed": "approval"}.get(cell["decision"], cell["decision"])]
    if cell["decision"] != "deny":
        words += ["synced"] if (cell["decision"], cell["durability"]) == ("allow", "synced") else []
        words += [cell["assurance"]] if cell["assurance"] != "jwt" else []
    return ", ".join(words)


def test_the_readmes_list_of_rules_is_that_of_the_rego_in_its_order() -> None:
    written = [
        [
            r["rule"] or "matrix/CATEGORY/SENSITIVITY",
            r["decision"],
            r["reason_code"] or "what is wrong: `malformed_mcp_*",
        ]
        for r in rulings()
    ]
    default = [row for row in written if row[0] == "default"]
    assert table("What decides") == [row for row in written if row[0] != "default"] + default


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {}])
async def test_declared_arguments_under_a_type_that_is_not_theirs_are_denied(
    library: PolicyStage, headers: dict[str, str]
) -> None:
    charge = {"amount_cents": 4200, "currency": "EUR", "reference": "r"}
    labelled = sent("POST", PAYMENTS, "/charges", charge)
    assert (await decide_as(library, BILLING, labelled)).decision == "allow"
    unlabelled = sent("POST", PAYMENTS, "/charges", charge, headers=headers)
    assert (await decide_as(library, BILLING, unlabelled)).reason_code == "argument_not_permitted"


# What a policy author does.


def copied(directory: Path) -> Path:
    return Path(shutil.copytree(REGO, directory / "rego"))


def add(source: Path, name: str, text: str) -> None:
    with (source / name / "data.yaml").open("a") as file:
        file.write(f"\n{text}\n")


def build(source: Path, directory: Path) -> PolicyVersion:
    return build_bundle(source, directory / "bundles", version="v1.4.0", signing_key=signing_key())


def with_the_readmes_agent(directory: Path) -> Path:
    source = copied(directory)
    edits = re.findall(r"```yaml\n# (\w+)/data\.yaml.*?\n(.*?)```", README, re.DOTALL)
    assert [name for name, _ in edits] == ["destinations", "tools", "agents"]
    for name, text in edits:
        add(source, name, text)
    return source


def test_the_readmes_commands_work(tmp_path: Path) -> None:
    with_the_readmes_agent(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("opa", "aegis"):
        program = programs.find(name)
        assert program is not None
        (tmp_path / ".venv/bin" / name).symlink_to(program)
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    said = subprocess.run(["bash", "-e"], input="".join(blocks), cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert active(tmp_path / "var/bundles") is not None
    assert "PASS" in said.stdout


async def test_the_readmes_own_agent_works(tmp_path: Path) -> None:
    source = with_the_readmes_agent(tmp_path)
    request = sent("GET", "flights.example", "/v1/flights", query="from=FRA&to=OSL")
    async with opa_with(build(source, tmp_path)) as process, started(process.socket) as policy:
        assert (await decide_as(policy, agent("travel-agent"), request)).decision == "allow"
        assert (await decide_as(policy, CLINICAL, request)).reason_code == "tool_not_permitted"
        assert (await decide_as(policy, CLINICAL, RECORDS)).decision == "allow"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("agents", "x:\n  tools: {ehr.raed: {}}", "ehr.raed, which is no tool"),
        ("agents", "x:\n  toolz: {}", "toolz"),
        ("tools", "x:\n  category: read\n  sensitivity: secret", "sensitivity"),
        ("tools", "x:\n  category: read\n  sensitivity: public", "at no destination"),
        ("destinations", "x.example:\n  ports: 443", "x.example.ports"),
        ("matrix", "x: {public: {decision: allow, assurance: jwt}}", "internal is required"),
    ],
)
def test_a_slip_in_the_data_is_named_and_no_version_is_made(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    source = copied(tmp_path)
    add(source, name, text)
    with pytest.raises(PolicyRejected, match=re.escape(said)):
        build(source, tmp_path)
    assert not list((tmp_path / "bundles").glob("*"))


async def test_the_samples_can_be_taken_out(tmp_path: Path) -> None:
    """The library neither needs its samples nor reads less safely without them."""
    source = copied(tmp_path)
    for name in ("agents", "destinations", "tools"):
        (source / name / "data.yaml").write_text("{}\n")
    made = build(source, tmp_path)
    assert made.analysis.entry_points == version().analysis.entry_points
    async with opa_with(made) as process, started(process.socket) as policy:
        assert (await decide_as(policy, CLINICAL, RECORDS)).reason_code == "agent_unknown"


async def test_a_body_that_is_not_all_there_is_denied_before_policy(library: PolicyStage) -> None:
    request = sent("POST", PAYMENTS, "/charges", truncated_body=True)
    with pytest.raises(Denied) as caught:
        await decide(library, request)
    assert caught.value.reason is Reason.BODY_TOO_LARGE
