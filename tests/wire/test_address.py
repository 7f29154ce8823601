"""Where Check can be reached, and by whom: its owner alone, at one address, or not at all."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.errors import ConfigError
from authz.wire.listening import LONGEST_SOCKET_PATH
from authz.wire.server import CheckServer
from tests.wire.scripted import Scripted
from tests.wire.serving import TCP, serving
from tests.worker import message

NOBODY = 65534
CONNECT = """
import os, socket, sys
os.setgroups([]); os.setgid({user}); os.setuid({user})
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError as error:
    sys.exit(error.errno)
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody may look into, so that only the socket's own mode can keep others out."""
    with tempfile.TemporaryDirectory(prefix="aegis-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def server(directory: Path, **sections: Any) -> CheckServer:
    scripted = Scripted(**{"state": directory} | sections)
    return CheckServer(scripted.settings, scripted.service)


async def refused(made: CheckServer) -> str:
    with pytest.raises(ConfigError) as caught:
        await made.start()
    await made.stop()
    return str(caught.value)


def connects_as_nobody(path: Path) -> int:
    """0, or the error number with which another user's connection fails."""
    command = [sys.executable, "-c", CONNECT.format(user=NOBODY), str(path)]
    return subprocess.run(command, timeout=30, capture_output=True).returncode


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(tmp_path):
            assert (mode(tmp_path / "run/check.sock"), mode(tmp_path / "run")) == (0o600, 0o700)
            assert os.umask(0) == 0, "the process's umask was changed for good"
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused(open_directory: Path) -> None:
    (open_directory / "run").mkdir(mode=0o755)
    async with serving(open_directory):
        path = open_directory / "run/check.sock"
        assert connects_as_nobody(path) == errno.EACCES
        path.chmod(0o666)
        assert connects_as_nobody(path) == 0, "not the mode kept them out"


@pytest.mark.parametrize("extra", [0o020, 0o002, 0o1002])
async def test_a_directory_where_others_could_put_a_socket_of_theirs_is_refused(
    tmp_path: Path, extra: int
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o700 | extra)
    assert f"{run} can be written by others" in await refused(server(tmp_path))
    assert list(run.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
async def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    os.chown(run, NOBODY, NOBODY)
    assert "can be written by others" in await refused(server(tmp_path))


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    async with serving(tmp_path):
        pass
    assert list((tmp_path / "run").iterdir()) == []


async def test_a_socket_that_a_crash_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run/check.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    path.chmod(0o640)
    async with serving(tmp_path) as served:
        assert (await served.check(message())).status.code == 0
        assert mode(path) == 0o600


async def test_a_socket_on_which_another_worker_answers_is_left_to_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        said = await refused(server(tmp_path))
        assert f"{tmp_path}/run/check.sock: another worker answers there" in said
        assert (await served.check(message())).status.code == 0


async def test_a_socket_that_another_worker_put_in_its_place_is_left_to_it(tmp_path: Path) -> None:
    first, path = server(tmp_path), tmp_path / "run/check.sock"
    await first.start()
    path.unlink()
    async with serving(tmp_path) as served:
        await first.stop()
        assert path.is_socket()
        assert (await served.check(message())).status.code == 0
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
async def test_what_is_no_socket_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run/check.sock"
    path.parent.mkdir(mode=0o700)
    if kind == "file":
        path.write_text("precious")
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
    assert f"{path} exists and is not a socket" in await refused(server(tmp_path))
    assert path.is_symlink() or path.is_dir() or path.read_text() == "precious"


async def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    name = "s" * (LONGEST_SOCKET_PATH - len(str(tmp_path)))
    said = await refused(server(tmp_path, listen={"check": f"unix:{name}"}))
    assert f"{tmp_path / name} is longer than 107 bytes" in said
    async with serving(tmp_path, listen={"check": f"unix:{name[:-1]}", "drain_s": 0}) as served:
        assert (await served.check(message())).status.code == 0


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert f"{tmp_path}/run" in await refused(server(tmp_path))


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await refused(server(tmp_path, development=True, listen={"check": address}))
        assert f"listen.check: {address} cannot be had" in said


async def test_two_workers_never_share_a_port(tmp_path: Path) -> None:
    """With SO_REUSEPORT the second one would start, and the kernel would spread connections unevenly."""
    async with serving(tmp_path, **TCP) as served:
        address = f"127.0.0.1:{served.server.port}"
        said = await refused(server(tmp_path, development=True, listen={"check": address}))
        assert address in said


async def test_what_is_no_address_is_named(tmp_path: Path) -> None:
    said = await refused(server(tmp_path, development=True, listen={"check": "no-such-host.invalid:9000"}))
    assert "listen.check: no-such-host.invalid:9000" in said
