"""`aegis token`: a token of the sample issuer that `make up` made, for trying an agent of one's own.

For development: the issuer's private keys lie in the state directory. In production agents get their tokens
from the organisation's issuer, whose public keys are in `identity.jwks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.serve import explained
from authz.errors import KeyUnusable


def token(
    agent: Annotated[str, typer.Argument(help="The agent's name, as in rego/agents/data.yaml.")],
    state: Annotated[Path, typer.Option("--state", help="The state directory of `make up`.")] = Path("var"),
    life: Annotated[int, typer.Option("--life", min=1, max=3600, help="Seconds it is valid.")] = 3600,
) -> None:
    """Print a development token for AGENT, signed by the sample issuer of `make up`."""
    with explained():
        from authz.config_identity import Identity
        from authz.up.issuer import SampleIssuer

        directory = state / "keys/issuer"
        if not directory.is_dir():
            raise KeyUnusable(f"{directory}: there is no sample issuer; run `make up` first")
        issuer = SampleIssuer(directory, state / "keys/agents.jwks.json", Identity())
        typer.echo(issuer.token(agent, life_s=life))
