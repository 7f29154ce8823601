"""Asks Check directly over its Unix socket, as Envoy does, and reads what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from authz._pb import aegis_ext_authz_pb2 as pb

METHOD = "/envoy.service.auth.v3.Authorization/Check"
OK = 0


@dataclass(frozen=True)
class Answer:
    """`decision_id` is "" for a refusal, which leaves without a record."""

    allowed: bool
    decision_id: str


def check_request(host: str, path: str, headers: Mapping[str, str], method: str = "GET") -> bytes:
    """A CheckRequest with the raw headers that Envoy sends under `encode_raw_headers`."""
    message = pb.CheckRequest()
    attributes = message.attributes
    attributes.source.address.socket_address.address = "127.0.0.1"
    http = attributes.request.http
    http.method, http.host, http.path, http.scheme, http.protocol = method, host, path, "http", "HTTP/1.1"
    pseudo = {":method": method, ":authority": host, ":path": path, ":scheme": "http"}
    for name, value in (pseudo | dict(headers)).items():
        http.header_map.headers.add(key=name, raw_value=value.encode())
    encoded: bytes = message.SerializeToString()
    return encoded


def read_answer(message: bytes) -> Answer:
    response = pb.CheckResponse.FromString(message)
    allowed = response.status.code == OK
    headers = response.ok_response.response_headers_to_add if allowed else response.denied_response.headers
    ids = [each.header.value for each in headers if each.header.key == "x-aegis-decision-id"]
    return Answer(allowed, ids[0] if ids else "")


class Checks:
    """A client on one HTTP/2 connection; an asynchronous context manager."""

    def __init__(self, socket: Path) -> None:
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options)
        self._check = self._channel.unary_unary(METHOD)

    async def ask(self, message: bytes, timeout: float = 30.0) -> Answer:
        """Raises grpc.aio.AioRpcError when there is no answer."""
        return read_answer(await self._check(message, timeout=timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._channel.close()
