"""Makes retention out of the settings, for the follower and for `aegis prune`."""

from __future__ import annotations

from functools import partial

from authz.config import Settings
from authz.followers.durable import Durable
from authz.followers.own_keys import OwnKeys
from authz.followers.retention.archived import Archive
from authz.followers.retention.holds import Holds
from authz.followers.retention.prune import Pruning
from authz.ledger.disclosures.vault import vault_of
from authz.ledger.outbox import Outbox


def pruning(settings: Settings, outbox: Outbox, *, dry_run: bool = False) -> Pruning:
    """Raises KeyUnusable, ConfigError for files that cannot be used."""
    durable = Durable(settings.ledger_directory.parent, settings.deployment, OwnKeys.of(settings))
    retention = settings.retention
    key = settings.path(settings.disclosures.key)
    return Pruning(
        retention,
        settings.state / "retention",
        durable.extents,
        Holds(settings.state / "holds", partial(outbox.put, "hold")).covering,
        outbox,
        vault=vault_of(settings) if key.exists() else None,
        archive=archive_of(settings),
        dry_run=dry_run,
    )


def archive_of(settings: Settings) -> Archive | None:
    """None if there is none. Raises ConfigError for a credentials file that cannot be used."""
    if not settings.retention.archive.bucket:
        return None
    from authz.followers.retention.archive import S3Archive  # here, so that nobody else loads boto3

    return S3Archive(settings.retention.archive, settings.state)
