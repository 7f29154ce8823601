"""`aegis log serve`: logs published over HTTP, for people who verify them with tools of their own.

For operators who let outsiders in, and for whoever holds a copy. It needs no key but the public ones of
`trust.json`. Exit status 0: stopped; 2: could not run.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.ledger import explained
from authz.errors import ConfigError
from authz.ledger import trust
from authz.ledger.report import plain

app = typer.Typer(no_args_is_help=True, help="Logs as others read them.")


@app.callback()
def _group() -> None:
    """Keeps `serve` a command of its own."""


@app.command()
def serve(
    ledger: Annotated[Path, typer.Argument(help="One log's directory, or a tree of them.")] = Path(
        "var/ledger"
    ),
    trust_file: Annotated[Path, typer.Option("--trust", help="The pinned public keys, trust.json.")] = Path(
        "var/trust.json"
    ),
    listen: Annotated[
        str, typer.Option(help="HOST:PORT; plain HTTP: put TLS in front of it. Port 0 takes a free one.")
    ] = "127.0.0.1:8383",
) -> None:
    """Publish checkpoints, tiles and entries in the layout of C2SP tlog-tiles, read-only, until Ctrl-C.

    Everything that the entries say can be read by whoever reaches it, disclosures excepted.
    """
    from authz.followers import publish
    from authz.followers.published import Published
    from authz.http_server import HttpServer
    from authz.telemetry import logs

    with explained():
        published = Published(ledger, trust.load(trust_file))
        names = published.logs()
        if not names:
            raise ConfigError(f"{ledger}: no log here has a checkpoint by a key of {trust_file}")
        logs.configure("info")
        server = HttpServer(
            "--listen",
            listen,
            publish.application(published),
            connections=publish.MAX_CONNECTIONS,
            patience_s=publish.PATIENCE_S,
        )
    host = listen.rpartition(":")[0]
    for name in names:
        typer.echo(plain(f"http://{host}:{server.port}/{name}/"))
    try:
        _until_told()
    finally:
        server.close()


def _until_told() -> None:
    """Until SIGINT or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    told.wait()
