"""Stands between Envoy and a running opa-envoy-plugin, passes every Check on, and keeps the requests.

In: an address to listen at, the plugin's, a file. Out: the plugin's own answers to Envoy, errors included,
and a line for each request as `captured.py` reads it. Called by `aegis policy capture`. It decides nothing.
What it keeps holds credentials as they were sent: the file is new, and its owner's alone.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc

from authz.errors import ConfigError
from authz.wire.plugin.comparing import METHOD, TIMEOUT_S


class Capture:
    """`most` requests are kept; what comes after is only passed on. `full` is called when they are there."""

    def __init__(self, plugin: str, file: Path, most: int, full: Callable[[], None]) -> None:
        """Raises ConfigError for a file that is there already, OSError."""
        self.kept = 0
        self._most, self._full = most, full
        try:
            self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except FileExistsError:
            raise ConfigError(f"{file}: is there already; a capture begins a file of its own") from None
        self._channel = grpc.aio.insecure_channel(plugin)
        self._check = self._channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        self._server = grpc.aio.server(handlers=[_Handler(self._pass_on)])

    async def start(self, address: str) -> None:
        """Listen at `HOST:PORT` or `unix:PATH`. Raises ConfigError."""
        try:
            if not self._server.add_insecure_port(address):
                raise RuntimeError
        except RuntimeError:
            raise ConfigError(f"{address}: cannot listen there") from None
        await self._server.start()

    async def stop(self) -> None:
        """Once what is under way has its answer."""
        await self._server.stop(TIMEOUT_S)
        await self._channel.close(None)
        os.close(self._file)

    async def _pass_on(self, message: bytes, context: Any) -> bytes:
        self._keep(message)
        left = context.time_remaining()
        try:
            answer: bytes = await self._check(message, timeout=TIMEOUT_S if left is None else left)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
            raise
        return answer

    def _keep(self, message: bytes) -> None:
        if self.kept >= self._most:
            return
        os.write(self._file, b'{"message":"%b"}\n' % b64encode(message))
        self.kept += 1
        if self.kept == self._most:
            self._full()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    def __init__(self, check: Any) -> None:
        self._method: Final = grpc.unary_unary_rpc_method_handler(check)

    def service(self, details: Any) -> Any:
        return self._method if details.method == METHOD else None
