"""Where the store of what was signed may be: a file, PostgreSQL, S3; and no secret in the settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from authz.config import Follower


@pytest.mark.parametrize(
    "store",
    [
        "checkpoints.sqlite",
        "/var/lib/elsewhere/checkpoints.sqlite",
        "postgresql://aegis@db.example/aegis?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://aegis@127.0.0.1:5433/aegis",
        "postgresql://aegis@/aegis?host=/run/postgresql",
        "postgresql://aegis@/aegis",
        "s3://checkpoints-of-ours",
        "s3://checkpoints-of-ours/some/prefix/",
    ],
)
def test_a_store_may_be_there(store: str) -> None:
    assert Follower(checkpoint_store=store).checkpoint_store == store


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("", "not the name of a file"),
        ("a\nb", "not the name of a file"),
        ("mysql://aegis@db/aegis", "not a file, postgresql:// or s3://"),
        ("postgresql://aegis:secret@127.0.0.1/aegis", "name a file in PGPASSFILE"),
        ("postgresql://aegis@127.0.0.1/aegis?password=secret", "name a file in PGPASSFILE"),
        ("postgresql://aegis@127.0.0.1/", "not postgresql://USER@HOST/DATABASE"),
        ("postgresql://aegis@127.0.0.1/a/b", "not postgresql://USER@HOST/DATABASE"),
        ("postgresql://aegis@db.example/aegis", "needs sslmode=verify-full"),
        ("postgresql://aegis@db.example/aegis?sslmode=require", "needs sslmode=verify-full"),
        ("postgresql://aegis@127.0.0.1/aegis?host=db.example", "needs sslmode=verify-full"),
        ("postgresql://aegis@127.0.0.1:99999/aegis", "Port out of range"),
        ("s3://B", "not s3://BUCKET/PREFIX"),
        ("s3://bucket/a b", "not s3://BUCKET/PREFIX"),
        ("s3://bucket/a?versionId=1", "not s3://BUCKET/PREFIX"),
        ("s3://key:secret@bucket/a", "not s3://BUCKET/PREFIX"),
    ],
)
def test_another_place_is_refused_and_why_is_said(store: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Follower(checkpoint_store=store)
