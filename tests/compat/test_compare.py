"""`aegis policy compare` finds what a running plugin answers otherwise, and says it by names only."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import structlog
from google.protobuf.json_format import ParseDict
from typer.testing import CliRunner

from authz._pb.aegis_ext_authz_pb2 import CheckRequest, CheckResponse
from authz.cli.policy import app
from tests.compat.cases import REGO, SAMPLE, Case, groups
from tests.compat.plugin import METHOD
from tests.tokens import Issuer, write_keys

RECORDED = orjson.loads(Path(__file__).with_name("vectors.json").read_bytes())["answers"]
TYPICAL = {group.name: group for group in groups()}["typical"]
TYPICAL_REGO = SAMPLE / "rego/typical.rego"
RESULTS = {case.name: case for group in groups() if group.name == "results" for case in group.cases}


def in_order(message: bytes) -> bytes:
    """The same request with the members of its maps in one order."""
    return CheckRequest.FromString(message).SerializeToString(deterministic=True)


class Handler(grpc.GenericRpcHandler):
    """Answers as the plugin was recorded to answer."""

    def __init__(self, answers: dict[bytes, dict[str, Any]]) -> None:
        self._answers = {in_order(message): answer for message, answer in answers.items()}

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._check) if details.method == METHOD else None

    def _check(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        answer = self._answers[in_order(message)]
        if "error" in answer:
            context.abort(grpc.StatusCode[answer["error"]], "secret-of-the-plugin")
        return ParseDict(answer, CheckResponse()).SerializeToString()


@contextmanager
def recorded_plugin(directory: Path, answers: dict[bytes, dict[str, Any]]) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Handler(answers)])
    address = f"unix:{directory / 'plugin.sock'}"
    server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def capture(directory: Path, cases: list[Case]) -> Path:
    file = directory / "captured.jsonl"
    lines = [json.dumps({"message": b64encode(case.message).decode()}) for case in cases]
    file.write_text("\n".join(lines) + "\n")
    return file


def source(directory: Path, file: Path) -> Path:
    tree = directory / "rego"
    tree.mkdir()
    (tree / file.name).write_text(file.read_text())
    return tree


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The command sets up what a process of its own needs."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def typical(tmp_path: Path) -> Iterator[tuple[Path, str, Path]]:
    answers = {case.message: RECORDED["typical"][case.name] for case in TYPICAL.cases}
    with recorded_plugin(tmp_path, answers) as address:
        yield capture(tmp_path, TYPICAL.cases), address, source(tmp_path, TYPICAL_REGO)


def test_a_typical_policy_is_answered_alike(typical: tuple[Path, str, Path]) -> None:
    file, address, rego = typical
    code, said = run(file, "--plugin", address, "--policy", rego, "--entry", "envoy/authz/allow")
    count = len(TYPICAL.cases)
    assert (code, said) == (0, f"{count} requests answered by both, {count} of them alike\n")


def test_a_policy_that_says_something_else_is_found_out(typical: tuple[Path, str, Path]) -> None:
    file, address, rego = typical
    text = (rego / "typical.rego").read_text()
    (rego / "typical.rego").write_text(
        text.replace('"auditor"', '"guest"').replace('"bar"', '"hidden-value"')
    )
    code, said = run(file, "--plugin", address, "--policy", rego, "--entry", "/envoy/authz/allow", "--json")
    found = json.loads(said)
    assert code == 3
    assert found["fields"] == {"response_headers_to_add": found["requests"] - found["same"]}
    assert "hidden-value" not in said


def test_what_the_plugin_leaves_unanswered_and_what_http_forbids_is_named(tmp_path: Path) -> None:
    cases = [RESULTS[name] for name in ("7 true", "1 allowed string", "10 line break", "11 float")]
    answers = {case.message: RECORDED["results"][case.name] for case in cases}
    with recorded_plugin(tmp_path, answers) as address:
        file = capture(tmp_path, cases)
        rego = source(tmp_path, REGO / "results.rego")
        code, said = run(file, "--plugin", address, "--policy", rego, "--entry", "envoy/authz/allow")
    assert code == 3
    assert said.splitlines() == [
        "4 requests answered by both, 1 of them alike",
        "  2  decision: no answer (UNKNOWN) by the plugin, deny (policy_error) by us; line 2, 4",
        "  1  decision: allow by the plugin, deny (policy_error) by us; line 3",
    ]


def test_identities_are_judged_where_settings_are_given(
    typical: tuple[Path, str, Path], tmp_path: Path
) -> None:
    file, address, rego = typical
    write_keys(tmp_path / "jwks.json", Issuer())
    config = tmp_path / "aegis.yaml"
    config.write_text(f"state: {tmp_path}\nidentity: {{jwks: jwks.json}}\n")
    arguments = ("--plugin", address, "--policy", rego, "--entry", "envoy/authz/allow", "--config", config)
    code, said = run(file, *arguments)
    assert code == 3
    assert "deny (identity_missing) by us" in said


def test_a_line_that_is_no_request_is_named_and_the_others_are_compared(
    typical: tuple[Path, str, Path],
) -> None:
    file, address, rego = typical
    file.write_text(f"nonsense\n\n{file.read_text()}")
    code, said = run(file, "--plugin", address, "--policy", rego, "--entry", "envoy/authz/allow")
    assert code == 2
    assert f"{len(TYPICAL.cases)} requests answered by both" in said
    assert "line 1 could not be read: not JSON" in said


def test_without_a_plugin_or_a_policy_it_says_so(tmp_path: Path) -> None:
    file, rego = capture(tmp_path, TYPICAL.cases), source(tmp_path, TYPICAL_REGO)
    nobody = f"unix:{tmp_path / 'nobody.sock'}"
    code, said = run(file, "--plugin", nobody, "--policy", rego)
    assert code == 2
    assert f"{nobody}: no opa-envoy-plugin answers there" in said
    code, said = run(file, "--plugin", nobody, "--state", tmp_path)
    assert code == 2
    assert "no OPA with a policy version" in said
    (rego / "typical.rego").write_text("package x\nallow {")
    code, said = run(file, "--plugin", nobody, "--policy", rego)
    assert code == 2
    assert "opa check" in said
