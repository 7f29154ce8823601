"""The `aegis` command: what each process and each person calls. One module a group; this one lists them."""

from __future__ import annotations

import typer

from authz.cli import (
    agents,
    anchors,
    complete,
    disclosures,
    explain,
    export,
    keys,
    label,
    ledger,
    log,
    outcomes,
    policy,
    proof,
    replay,
    retention,
    serve,
    status,
    tail,
    token,
    up,
    verify,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Egress authorizer for AI agents behind Envoy, with evidence that outsiders can verify.",
)
app.command()(serve.serve)
app.command()(serve.follow)
app.command()(status.status)
app.command()(verify.verify)
app.command()(ledger.show)
app.command()(disclosures.disclose)
app.command()(disclosures.erase)
app.command()(explain.explain)
app.command()(retention.prune)
app.command()(retention.restore)
app.command()(tail.tail)
app.command()(label.label)
app.command()(outcomes.outcomes)
app.command()(complete.complete)
app.command("replay")(replay.replay_)
app.command()(agents.agents)
app.command()(up.up)
app.command()(token.token)
app.add_typer(serve.config, name="config")
app.add_typer(policy.app, name="policy")
app.add_typer(export.app, name="export")
app.add_typer(anchors.app, name="anchors")
app.add_typer(retention.hold, name="hold")
app.add_typer(keys.app, name="keys")
app.add_typer(log.app, name="log")
app.add_typer(proof.app, name="proof")
