"""Where a gRPC server of ours can be reached, and by whom: its owner alone, at one address, or not at all.

In: a server that is not started, an address (`unix:PATH` below the state directory, or `HOST:PORT`), and
the setting's name for errors. Out: the port of TCP. Called by `server.py` and `outcomes.py`. Whoever reaches
Check or the access log service can forge what is recorded, so a Unix socket is its owner's from the first
moment, in a directory where nobody else can put another one in its place.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Final

from authz import sockets
from authz.errors import ConfigError

LONGEST_SOCKET_PATH: Final = 107  # bytes of sun_path on Linux, less its end (unix(7))


def bind(server: Any, address: str, state: Path, setting: str, credentials: Any = None) -> int:
    """Bind `server` (grpc.aio) to `address`, TCP with TLS where there are `credentials`.

    Raises ConfigError naming `setting` and what cannot be had.
    """
    if address.startswith("unix:"):
        _bind_socket(server, (state / address.removeprefix("unix:")).absolute(), setting)
        return 0
    return _bind(server, address, address, setting, credentials)


def _bind(server: Any, address: str, shown: str, setting: str, credentials: Any = None) -> int:
    try:
        if credentials is not None:
            return int(server.add_secure_port(address, credentials))
        return int(server.add_insecure_port(address))
    except RuntimeError:
        raise ConfigError(f"{setting}: {shown} cannot be had: it is taken, or not an address") from None


def _bind_socket(server: Any, path: Path, setting: str) -> None:
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"{setting}: {path} is longer than {LONGEST_SOCKET_PATH} bytes: no socket can be there"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_directory(path.parent, setting)
    except OSError as error:
        raise ConfigError(f"{setting}: {path.parent}: {error.strerror}") from None
    _remove_stale(path, setting)
    before = os.umask(0o177)  # the socket is its owner's from the first moment
    try:
        _bind(server, f"unix:{path}", str(path), setting)
    finally:
        os.umask(before)


def _check_directory(directory: Path, setting: str) -> None:
    """Who may write here could put a socket of theirs in our place, and allow what they like."""
    if not sockets.is_private(directory):
        raise ConfigError(f"{setting}: {directory} can be written by others: chmod 0700, or another one")


def _remove_stale(path: Path, setting: str) -> None:
    """Take away a socket that nobody listens on. Raises ConfigError when somebody does, or for a file."""
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise ConfigError(f"{setting}: {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ConfigError(f"{setting}: {path}: {error.strerror or error}") from None
    raise ConfigError(f"{setting}: {path}: another worker answers there")
