"""The yardstick: a grpc.aio server on uvloop that answers every Check with OK and does nothing else.

python benchmarks/bare.py SOCKET
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

OK = b"\x0a\x00\x1a\x00"  # CheckResponse{status: {}, ok_response: {}}


async def check(message: bytes, context: Any) -> bytes:
    return OK


async def main(socket: str) -> None:
    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    service = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", handlers)
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await asyncio.wait_for(server.wait_for_termination(), timeout=3600)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
