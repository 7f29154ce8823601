"""A relay between two Unix sockets that a test can stop and pause, as a network in between could."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

BUFFER = 65_536


class Relay:
    """Carries bytes between whoever connects to `path` and `target`; a context manager."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self._target = path, target
        self._going = threading.Event()
        self._going.set()
        self._ends: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self._listener = listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self._run(self._accept, listener)

    def stop(self) -> None:
        """Listen no more, and break what is connected."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.path.unlink(missing_ok=True)
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._going.set()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()
        for end in ends:
            end.close()

    def pause(self) -> None:
        """Read nothing more from either side, as a receiver that hangs."""
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, what: object, *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(self._target))
            except OSError:
                near.close()
                far.close()
                continue
            self._ends += [near, far]
            self._run(self._carry, near, far)
            self._run(self._carry, far, near)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BUFFER):
                self._going.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
