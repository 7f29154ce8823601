"""`aegis policy schema`: the JSON schema of the input document, for an editor or `opa check --schema`.

Out: the schema on standard output.
"""

from __future__ import annotations

import typer

from authz.policy.schema import as_text


def schema() -> None:
    """Print the JSON schema of the input document that policies read."""
    typer.echo(as_text(), nl=False)
