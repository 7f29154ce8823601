"""Opens the store of what was ever signed that the settings name: a file, PostgreSQL or S3.

In: the settings. Out: Checkpoints. Called by the follower, which moves it, and by whoever opens a ledger,
which reads it. The libraries of the two that are elsewhere are loaded only where they are used.
"""

from __future__ import annotations

from authz.config import Settings
from authz.config_checkpoints import POSTGRESQL, S3
from authz.ledger.checkpoints import Checkpoints, CheckpointStore


def open_store(settings: Settings, *, read_only: bool = False) -> Checkpoints | None:
    """None only if it is to be read and nothing was ever signed. Raises EvidenceUnavailable, ConfigError."""
    told = settings.follower
    scheme, _, rest = told.checkpoint_store.partition("://")
    if rest and scheme == POSTGRESQL:
        from authz.ledger.checkpoints_postgresql import PostgresqlCheckpoints

        return PostgresqlCheckpoints(told.checkpoint_store, read_only=read_only)
    if rest and scheme == S3:
        from authz.ledger.checkpoints_s3 import S3Checkpoints

        return S3Checkpoints(told.checkpoint_store, told.checkpoint_s3, settings.state)
    path = settings.state / told.checkpoint_store
    if read_only and not path.exists():
        return None
    return CheckpointStore(path, read_only=read_only)


def open_to_sign(settings: Settings) -> Checkpoints:
    """The store of whoever signs. Raises as `open_store`."""
    store = open_store(settings)
    assert store is not None
    return store
