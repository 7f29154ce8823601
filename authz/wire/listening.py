"""Where a gRPC server of ours can be reached, and by whom: its owner alone, at one address, or not at all.

In: an address (`unix:PATH` below the state directory, or `HOST:PORT`), and the setting's name for errors;
with `bind` a server of grpcio that is not started. Out: sockets that listen, or the port of TCP. Called by
transports and by `outcomes.py`. Whoever reaches
Check or the access log service can forge what is recorded, so a Unix socket is its owner's from the first
moment, in a directory where nobody else can put another one in its place.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from authz import sockets
from authz.errors import ConfigError

BACKLOG: Final = 128
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
        raise _taken(setting, shown) from None


def listen(address: str, state: Path, setting: str) -> list[socket.socket]:
    """Sockets that are bound to `address` and listen. Raises as `bind`."""
    if address.startswith("unix:"):
        path = (state / address.removeprefix("unix:")).absolute()
        made = socket.socket(socket.AF_UNIX)
        try:
            with _owned(path, setting):
                made.bind(str(path))
            made.listen(BACKLOG)
        except BaseException as error:
            made.close()
            if isinstance(error, OSError):
                raise _taken(setting, str(path)) from None
            raise
        return [made]
    return _listen_tcp(address, setting)


def _listen_tcp(address: str, setting: str) -> list[socket.socket]:
    host, _, port = address.rpartition(":")
    found: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if found and place[1] == 0:
                break  # another family would get another port
            made = socket.socket(family, kind, protocol)
            found.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart; not beside another
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(place)
            made.listen(BACKLOG)
    except (OSError, ValueError, OverflowError):
        for made in found:
            made.close()
        raise _taken(setting, address) from None
    return found


def _taken(setting: str, shown: str) -> ConfigError:
    return ConfigError(f"{setting}: {shown} cannot be had: it is taken, or not an address")


def _bind_socket(server: Any, path: Path, setting: str) -> None:
    with _owned(path, setting):
        _bind(server, f"unix:{path}", str(path), setting)


@contextmanager
def _owned(path: Path, setting: str) -> Iterator[None]:
    """In it a socket can be made at `path`, its owner's from the first moment."""
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
    before = os.umask(0o177)
    try:
        yield
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
