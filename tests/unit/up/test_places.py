"""Ports and directories are checked before anything starts, and left clean."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from authz.up.places import LONGEST_SOCKET_PATH, LOOPBACK, Ports, occupied
from authz.up.processes import StartFailed


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        ports = replace(Ports.free(), bundles=port)
        with pytest.raises(StartFailed) as failed:
            ports.check()
    assert f"port {port} on 127.0.0.1" in str(failed.value)
    assert "--bundles-port (make up BUNDLES_PORT=...)" in str(failed.value)


def test_a_port_that_would_be_shared_is_taken() -> None:
    """Envoy listens with SO_REUSEPORT: two of them would split the traffic between two ledgers."""
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((LOOPBACK, 0))
        shared.listen()
        with pytest.raises(StartFailed, match="ENVOY_PORT"):
            replace(Ports.free(), envoy=shared.getsockname()[1]).check()


def test_one_port_for_two_purposes_is_refused() -> None:
    ports = Ports.free()
    with pytest.raises(StartFailed, match=r"wanted twice, by --envoy-port .* and --metrics-port"):
        replace(ports, metrics=ports.envoy).check()


def test_free_ports_pass() -> None:
    Ports.free().check()


def test_a_second_run_in_the_same_directory_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with occupied(tmp_path), pytest.raises(StartFailed) as failed, occupied(tmp_path):
        pass
    assert f"process {os.getpid()}" in str(failed.value)
    assert "--state" in str(failed.value)
    with occupied(tmp_path):
        pass


def test_sockets_lie_in_a_private_directory_and_go_with_the_run(tmp_path: Path) -> None:
    with occupied(tmp_path / "var") as places:
        assert places.sockets == tmp_path / "var/run"
        assert stat.S_IMODE(places.sockets.stat().st_mode) == 0o700
        places.check_socket.touch()
    assert not places.check_socket.exists()


def test_sockets_of_a_run_that_was_killed_are_removed_first(tmp_path: Path) -> None:
    left = tmp_path / "run/opa.sock"
    left.parent.mkdir()
    left.touch()
    with occupied(tmp_path):
        assert not left.exists()


def test_a_deep_state_directory_gets_short_socket_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / "/".join(["a" * 30] * 4)
    with occupied(deep) as places:
        for path in (places.check_socket, places.opa_socket, places.admin_socket):
            assert len(str(path)) <= LONGEST_SOCKET_PATH
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        assert stat.S_IMODE(places.sockets.stat().st_mode) == 0o700
        assert places.run == deep / "run"
    assert not places.sockets.exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file, not a directory")
    with pytest.raises(StartFailed, match="var"), occupied(tmp_path / "var"):
        pass
