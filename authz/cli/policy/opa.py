"""`aegis policy opa-config`: what a stock OPA must be told, so that it takes versions of ours and no others.

In: the settings, the signing key. Out: OPA's configuration in JSON, or its command line.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.ledger import ConfigFile, State
from authz.cli.policy.common import SIGNING_KEY, explained, settings_of
from authz.errors import ConfigError
from authz.followers import bundles
from authz.policy.signing import public_key


def opa_config(
    url: Annotated[
        str | None, typer.Argument(help="Where the follower serves bundles; else as `follower.bundles` says.")
    ] = None,
    state: State = None,
    config: ConfigFile = None,
    command: Annotated[
        Path | None,
        typer.Option("--command", metavar="FILE", help="Print the command line of an OPA told by FILE."),
    ] = None,
) -> None:
    """Print what OPA must be told: where the follower serves the policy, and the key that signs it."""
    with explained():
        settings = settings_of(state, config)
        if command is not None:
            socket = settings.path(settings.policy.opa_socket)
            typer.echo(shlex.join(bundles.opa_command(socket, command.absolute())))
            return
        key = settings.path(SIGNING_KEY)
        if not key.exists():
            raise ConfigError(f"{key}: no such file; the first `aegis policy publish` makes it")
        told = bundles.opa_config(url or f"http://{settings.follower.bundles}", public_key(key))
        typer.echo(json.dumps(told, indent=1))
