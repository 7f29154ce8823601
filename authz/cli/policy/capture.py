"""`aegis policy capture`: keep what Envoy asks a running opa-envoy-plugin, for `aegis policy compare`.

    exit status    0 as many as wanted, or ended    2 could not run

For those who come from that plugin and keep no decision log of it. Envoy asks us, we ask the plugin.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.ledger import explained


def capture(
    file: Annotated[
        Path, typer.Argument(help="Written anew, mode 0600: it holds credentials as they were sent.")
    ],
    plugin: Annotated[str, typer.Option(metavar="HOST:PORT", help="The plugin's address, or unix:PATH.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Envoy asks, or unix:PATH.")],
    count: Annotated[int, typer.Option(min=1, help="So many requests are kept, and it ends.")] = 1000,
) -> None:
    """Pass every Check on to opa-envoy-plugin, and keep the requests in FILE for `aegis policy compare`."""
    with explained():
        kept = asyncio.run(_capture(file, plugin, listen, count))
    typer.echo(f"{kept:,} requests kept in {file}")


async def _capture(file: Path, plugin: str, listen: str, count: int) -> int:
    from authz.wire.plugin.capturing import Capture  # here, so that other commands need not load gRPC

    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    running = Capture(plugin, file, count, ending.set)
    try:
        await running.start(listen)
        typer.echo(f"passing on from {listen} to {plugin}; Ctrl-C ends it", err=True)
        await ending.wait()
    finally:
        await running.stop()
    return running.kept
