"""`aegis policy build|activate`: make a version, make it the one that OPA is given.

In: what was typed. Out: the revision. What is done is `followers/releases.py`'s.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from authz import who
from authz.cli.ledger import ConfigFile, State
from authz.cli.policy.common import SIGNING_KEY, Entries, Source, Why, explained, settings_of, warn
from authz.config import Settings
from authz.errors import PolicyRejected
from authz.followers.releases import Releases
from authz.policy.signing import ensure_signing_key
from authz.policy.version import DEFAULT_ENTRY_POINTS

# Names that people can put in order, and that no typing error makes: Semantic Versioning 2.0 without a `+`.
_VERSION: Final = re.compile(
    r"v(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){2}(?:-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?"
)


def build(
    source: Source,
    version: Annotated[str, typer.Option("--version", help="Its name, e.g. v1.3.2 or v1.4.0-rc.1.")],
    state: State = None,
    config: ConfigFile = None,
    entry: Entries = None,
    why: Why = "",
) -> None:
    """Check, analyse, sign and publish SOURCE as a version that never changes."""
    with explained():
        settings = settings_of(state, config)
        if not _VERSION.fullmatch(version):
            raise PolicyRejected(
                f"{version!r}: a version is named vN.N.N, perhaps with a -suffix: v1.4.0-rc.1"
            )
        key = settings.path(SIGNING_KEY)
        if not key.exists():
            typer.echo(
                f"{key}: made; an OPA takes what it signs when told by `aegis policy opa-config`", err=True
            )
        ensure_signing_key(key)
        made = _releases(settings, why).publish(
            source, version=version, signing_key=key, entry_points=entry or DEFAULT_ENTRY_POINTS
        )
        typer.echo(made.revision)
        warn(made.analysis)


def activate(version: str, state: State = None, config: ConfigFile = None, why: Why = "") -> None:
    """Make the published VERSION the one that OPA is given."""
    with explained():
        typer.echo(_releases(settings_of(state, config), why).activate(version))


def _releases(settings: Settings, why: str) -> Releases:
    directory = settings.path(settings.follower.bundle_directory)
    return Releases(directory, settings.outbox, who.runs_this(), why)
