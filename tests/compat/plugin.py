"""The real opa-envoy-plugin as a process, and what it answers, in a form that can be compared and kept."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from authz._pb.aegis_ext_authz_pb2 import CheckResponse
from tests.compat.cases import REGO, Group, descriptor_set

METHOD = "/envoy.service.auth.v3.Authorization/Check"
START_S = 60.0


@contextmanager
def running(binary: Path, group: Group) -> Iterator[Path]:
    """The plugin with the group's policy and options; yields its socket."""
    with tempfile.TemporaryDirectory(prefix="plugin-") as name:
        directory = Path(name)
        socket = directory / "check.sock"
        (directory / "descriptors.pb").write_bytes(descriptor_set())
        options = {"addr": f"unix://{socket}", "path": group.path} | group.options
        settings = [
            f"--set=plugins.envoy_ext_authz_grpc.{key}={_text(value)}" for key, value in options.items()
        ]
        command = [
            str(binary),
            "run",
            "--server",
            "--addr",
            f"unix://{directory / 'api.sock'}",
            "--disable-telemetry",
        ]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--log-level", "error", *settings, str(REGO / group.policy)],
                cwd=directory,
                stdout=log,
                stderr=log,
            )
        try:
            _wait(process, socket, directory / "log")
            yield socket
        finally:
            process.kill()
            process.wait()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not socket.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def ask(channel: grpc.Channel, message: bytes) -> dict[str, Any]:
    """{"error": code} for a gRPC error, else what `shown` makes of the CheckResponse."""
    try:
        return shown(channel.unary_unary(METHOD)(message, timeout=30))
    except grpc.RpcError as error:
        return {"error": error.code().name}


def shown(response: bytes) -> dict[str, Any]:
    """A serialised CheckResponse as JSON, with its lists of names in order."""
    found = CheckResponse.FromString(response)
    for options in (
        found.ok_response.headers,
        found.ok_response.response_headers_to_add,
        found.denied_response.headers,
    ):
        options.sort(key=lambda option: option.header.key)
    found.ok_response.query_parameters_to_set.sort(key=lambda parameter: parameter.key)
    return MessageToDict(found)


def version(binary: Path) -> str:
    said = subprocess.run([str(binary), "version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].removeprefix("Version: ")
