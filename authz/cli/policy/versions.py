"""`aegis policy publish|activate|rollback`: make a version, make it the active one, go back.

In: what was typed. Out: the revision. What is done is `followers/releases.py`'s.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from authz import who
from authz.cli.ledger import ConfigFile, State
from authz.cli.policy.common import (
    SIGNING_KEY,
    Entries,
    Source,
    entries_of,
    explained,
    settings_of,
    warn,
)
from authz.cli.policy.lint import refuse_unsafe
from authz.config import Settings
from authz.errors import PolicyRejected
from authz.followers.bundles import versions_of
from authz.followers.releases import Releases
from authz.policy.checks import Standards
from authz.policy.making import make
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import ensure_signing_key
from authz.policy.work_tree import clean_commit, commit_of

# Names that people can put in order, and that no typing error makes: Semantic Versioning 2.0 without a `+`.
_VERSION: Final = re.compile(
    r"v(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){2}(?:-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?"
)
COMMIT: Final = "git-"  # before the hash: what a version is called by --vcs

Why = Annotated[str, typer.Option(help="The reason, for changelog and control log.")]


def publish(
    source: Source,
    why: Why,
    version: Annotated[str, typer.Option("--version", help="Its name, e.g. v1.3.2 or v1.4.0-rc.1.")] = "",
    vcs: Annotated[bool, typer.Option("--vcs", help="Call it after the git commit that SOURCE is.")] = False,
    author: Annotated[str, typer.Option(help="Who answers for it; else the user who runs this.")] = "",
    coverage: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Percent of lines that tests run; else `publishing.coverage`."),
    ] = None,
    wasm: Annotated[
        bool, typer.Option("--wasm", help="Also compile it to WebAssembly, for `policy.engine: wasm`.")
    ] = False,
    entry: Entries = None,
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Check, test, analyse, sign and publish SOURCE as a version that never changes."""
    with explained():
        settings = settings_of(state, config)
        commit = commit_of(source) if vcs else clean_commit(source)
        name = _name(version, COMMIT + commit if vcs else "")
        releases, tool = _releases(settings, why), OpaTool()
        entries = entries_of(settings, entry)
        made = make(
            source,
            version=name,
            entry_points=entries,
            standards=Standards(
                formatted=True,
                schema=not settings.policy.compat,  # its input has members that ours has not
                coverage=settings.publishing.coverage if coverage is None else coverage,
            ),
            wasm=wasm,
            tool=tool,
        )
        refuse_unsafe(source, entries)
        key = settings.path(SIGNING_KEY)
        if not key.exists():
            typer.echo(
                f"{key}: made; an OPA takes what it signs when told by `aegis policy opa-config`", err=True
            )
        ensure_signing_key(key)
        done = releases.publish(made, signing_key=key, tool=tool, author=author, commit=commit)
        typer.echo(done.entry.revision)
        if not done.new or (done.entry.release.why, done.entry.release.author) != (
            why,
            author or releases.who,
        ):
            said = done.entry.release
            typer.echo(f"published before, by {said.author}: {said.why or 'no reason given'}", err=True)
        warn(made.analysis)


def activate(
    version: str,
    why: Why = "",
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Make the published VERSION the one that OPA is given."""
    with explained():
        typer.echo(_releases(settings_of(state, config), why).activate(version).revision)


def rollback(
    why: Why,
    version: Annotated[str, typer.Argument(help="One that was active before; else the last that was.")] = "",
    state: State = None,
    config: ConfigFile = None,
) -> None:
    """Make active again what was active before the active version; run again, it goes further back."""
    with explained():
        typer.echo(_releases(settings_of(state, config), why).rollback(version).revision)


def _name(version: str, commit: str) -> str:
    if bool(version) == bool(commit):
        raise PolicyRejected("a version needs a name: either --version vN.N.N, or --vcs")
    if version and not _VERSION.fullmatch(version):
        raise PolicyRejected(f"{version!r}: a version is named vN.N.N, perhaps with a -suffix: v1.4.0-rc.1")
    return version or commit


def _releases(settings: Settings, why: str) -> Releases:
    return Releases(versions_of(settings), settings.outbox, who.runs_this(), why)
