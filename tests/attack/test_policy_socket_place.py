"""Somebody else's OPA in the place of ours: put there by whoever may write to the socket's directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from authz.errors import Denied
from authz.policy.engine_opa import OpaEngine
from authz.values import Reason

ALLOWS = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"result":true}'


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
async def test_an_opa_where_others_can_put_theirs_is_not_asked(tmp_path: Path, mode: int) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))
        writer.write(ALLOWS)
        await writer.drain()
        writer.close()

    directory = tmp_path / "run"
    directory.mkdir()
    server = await asyncio.start_unix_server(answer, directory / "opa.sock")
    engine = OpaEngine(directory / "opa.sock", "aegis/decision", connections=1)
    async with server:
        directory.chmod(mode)
        for _ in range(2):
            with pytest.raises(Denied) as caught:
                await engine.decide(b"{}", 5.0)
            assert caught.value.reason == Reason.ENGINE_UNAVAILABLE
        assert asked == []
        directory.chmod(0o700)
        assert (await engine.decide(b"{}", 5.0)).result is True
        await engine.close()
    assert len(asked) == 1
