"""A real PostgreSQL server in a scratch directory, reached over its Unix socket: Debian's `postgresql`.

with postgresql() as server:
    server.url("aegis")               of a database made by this call
    server.stop(); server.start()

The server refuses to run as root: then it runs as `postgres` or `nobody`, who gets the directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "aegis"
# What a machine that stops would cost is not tested here.
_OPTIONS = "-c listen_addresses= -c shared_buffers=16MB -c max_connections=20 -c fsync=off"


class Postgresql:
    """`sockets` is the directory of its socket."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs, self._user = programs, _user()
        self.sockets = directory / "sockets"
        self._data = directory / "data"
        for path in (directory, self.sockets, self._data):
            path.mkdir(mode=0o700, exist_ok=True)
            if self._user:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        options = f"{_OPTIONS} -k {self.sockets}"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-o", options, "-l", f"{self._data}/log", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def url(self, database: str) -> str:
        """Of a new database."""
        self._run("createdb", "-h", str(self.sockets), "-U", USER, database)
        return f"postgresql://{USER}@/{database}?host={self.sockets}"

    def _run(self, program: str, *arguments: str) -> None:
        user = self._user
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            **identity,
        )
        assert done.returncode == 0, (program, done.stdout)


def _user() -> pwd.struct_passwd | None:
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _programs() -> Path:
    """Where Debian puts the server's programs, or PATH. Without them a test is skipped, but not in CI."""
    versions = Path("/usr/lib/postgresql")
    found = sorted(versions.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    here = str(found[-1]) if found else shutil.which("initdb")
    if here is None:
        assert not os.environ.get("CI"), "no PostgreSQL: apt-get install postgresql"
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    return Path(here).parent


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    programs = _programs()
    # Not below pytest's own directory, which that user may not enter; and a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="aegis-pg-") as directory:
        server = Postgresql(programs, Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
