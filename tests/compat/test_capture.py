"""`aegis policy capture` changes nothing for Envoy, and keeps what `aegis policy compare` reads."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import grpc
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.wire.plugin.captured import read
from tests.compat.cases import SAMPLE
from tests.compat.plugin import ask
from tests.compat.test_compare import RECORDED, RESULTS, TYPICAL, recorded_plugin, run

CASES = [*TYPICAL.cases, RESULTS["1 allowed string"]]


def capturing(directory: Path, plugin: str, count: int) -> tuple[subprocess.Popen[str], str]:
    listen = directory / "relay.sock"
    command = [sys.executable, "-c", "from authz.cli.main import app; app()", "policy", "capture"]
    options = ["--plugin", plugin, "--listen", f"unix:{listen}", "--count", str(count)]
    process = subprocess.Popen(
        [*command, str(directory / "captured.jsonl"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not listen.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, f"unix:{listen}"


def test_the_plugins_answers_go_through_and_the_requests_are_kept(tmp_path: Path) -> None:
    answers = {case.message: RECORDED["typical"][case.name] for case in TYPICAL.cases}
    answers[CASES[-1].message] = RECORDED["results"][CASES[-1].name]
    with recorded_plugin(tmp_path, answers) as plugin:
        process, relay = capturing(tmp_path, plugin, len(CASES))
        try:
            with grpc.insecure_channel(relay) as channel:
                assert [ask(channel, case.message) for case in CASES] == [
                    answers[case.message] for case in CASES
                ]
            said, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        file = tmp_path / "captured.jsonl"
        assert (process.returncode, said) == (0, f"{len(CASES)} requests kept in {file}\n")
        assert [read(line) for line in file.read_bytes().splitlines()] == [case.message for case in CASES]
        assert file.stat().st_mode & 0o777 == 0o600
        file.write_text("\n".join(file.read_text().splitlines()[:-1]))  # the last one is of another policy
        code, _ = run(file, "--plugin", plugin, "--policy", SAMPLE / "rego", "--entry", "envoy/authz/allow")
        assert code == 0


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "captured.jsonl"
    file.write_text("mine")
    told = ["capture", str(file), "--plugin", "127.0.0.1:1", "--listen", f"unix:{tmp_path / 's'}"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 2
    assert "is there already" in done.output
    assert file.read_text() == "mine"


def test_an_address_that_cannot_be_listened_at_is_named(tmp_path: Path) -> None:
    told = ["capture", str(tmp_path / "f"), "--plugin", "127.0.0.1:1", "--listen", "unix:/no/such/place.sock"]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 2
    assert "cannot listen there" in done.output
