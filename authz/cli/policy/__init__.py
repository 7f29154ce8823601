"""`aegis policy ...`: one module for each group of commands, one line here for each command.

For policy authors and for `make up`. The signing key is `keys/policy.pem` below the state directory,
versions are in `follower.bundle_directory`. A version that cannot be made ends with exit code 1 and the
reason; so does a state directory that is not there, since a misspelt one would get a signing key that no OPA
trusts.
"""

from __future__ import annotations

import typer

from authz.cli.policy import (
    candidate,
    capture,
    compare,
    facts,
    fixture,
    history,
    lint,
    matrix,
    opa,
    propose,
    schema,
    shadow,
    trial,
    versions,
)

app = typer.Typer(
    no_args_is_help=True, help="Policy versions: publish, activate, go back, show what they are."
)
app.command()(versions.publish)
app.command()(versions.activate)
app.command()(versions.rollback)
app.command("list")(history.list_)
app.command()(history.show)
app.command()(history.diff)
app.command()(history.changelog)
app.command("opa-config")(opa.opa_config)
app.command()(candidate.candidate)
app.command()(capture.capture)
app.command()(compare.compare)
app.command()(facts.facts)
app.command()(fixture.fixture)
app.command()(lint.lint)
app.command()(matrix.matrix)
app.command()(propose.propose)
app.command()(schema.schema)
app.command("test")(trial.try_source)
app.command("shadow-report")(shadow.report)
