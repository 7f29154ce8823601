"""Asks a process by plain HTTP, over TCP or a Unix socket, whether it is ready."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 2.0
_LONGEST: Final = 1 << 20


def answers(at: str | Path, path: str) -> bool:
    """Whether GET `path` gets 200 now from `at`: HOST:PORT, or the path of a Unix socket."""
    try:
        status, _ = get(at, path)
    except (OSError, http.client.HTTPException):
        return False
    return status == 200


def get(at: str | Path, path: str) -> tuple[int, bytes]:
    """Status and body. Raises OSError or HTTPException when there is no answer."""
    connection = _Unix(at) if isinstance(at, Path) else http.client.HTTPConnection(at, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST)
    finally:
        connection.close()


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))
