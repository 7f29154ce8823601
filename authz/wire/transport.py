"""What carries Check, as `server.py` sees it: what is served where, and the four things a transport can do.

`http2/server.py` and `grpc_server.py` are the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from authz.wire.service import Service
from authz.wire.tls import ServerTls

SERVICE: Final = "envoy.service.auth.v3.Authorization"


class Endpoint(Struct, frozen=True):
    """What is served where. `largest` message, bytes; `streams` at once on one connection; `setting` is the
    name of `address` in errors.
    """

    service: Service
    address: str
    state: Path
    setting: str
    tls: ServerTls | None
    largest: int
    streams: int


class Transport(Protocol):
    """Carries calls. `port` is that of TCP, once started."""

    port: int

    async def start(self) -> None:
        """Bind and serve. Raises ConfigError naming the address that cannot be had."""
        ...

    async def tell(self, serving: bool) -> None:
        """What health checks are told from now on."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take nothing new, and end what is under way after `grace_s` at most."""
        ...
