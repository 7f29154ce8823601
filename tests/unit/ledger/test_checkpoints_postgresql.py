"""The store of what was ever signed in PostgreSQL: what only a server can suffer, or be told."""

from __future__ import annotations

import uuid
from contextlib import closing

import pytest
from sqlalchemy import text

from authz.errors import EvidenceUnavailable
from authz.ledger.checkpoints_postgresql import PostgresqlCheckpoints
from tests.postgresql import Postgresql

LOG = "aegis.test/worker-0/20260101T000000Z-0000000000000000"
ROOT = b"\x01" * 32


@pytest.fixture
def url(postgresql_server: Postgresql) -> str:
    return postgresql_server.url(f"t{uuid.uuid4().hex}")


def test_a_reader_cannot_move_anything_nor_make_a_table(url: str) -> None:
    with closing(PostgresqlCheckpoints(url, read_only=True)) as reader:
        assert (reader.latest(LOG), reader.logs("")) == (None, [])
    with closing(PostgresqlCheckpoints(url)) as store:
        store.advance(LOG, 5, ROOT, expected=0)
    with closing(PostgresqlCheckpoints(url, read_only=True)) as reader:
        with pytest.raises(EvidenceUnavailable, match="read-only transaction"):
            reader.advance(LOG, 6, ROOT, expected=5)
        assert reader.latest(LOG) == (5, ROOT)


def test_a_commit_is_waited_for_whatever_the_database_says(url: str) -> None:
    with closing(PostgresqlCheckpoints(url)) as store:
        with store._connected() as connection:
            name = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        with closing(PostgresqlCheckpoints(url)) as later, later._connected() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_a_role_that_may_not_change_rows_is_named_and_nothing_moves(url: str) -> None:
    with closing(PostgresqlCheckpoints(url)) as store:
        store.advance(LOG, 5, ROOT, expected=0)
        role = f"r{uuid.uuid4().hex}"
        with store._connected() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
            connection.execute(text(f"GRANT SELECT ON aegis_checkpoints TO {role}"))
        with closing(PostgresqlCheckpoints(url.replace("//aegis@", f"//{role}@"))) as other:
            with pytest.raises(EvidenceUnavailable, match="permission denied for table aegis_checkpoints"):
                other.advance(LOG, 6, ROOT, expected=5)
            assert other.latest(LOG) == (5, ROOT)


def test_a_database_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(EvidenceUnavailable, match=r'checkpoint store local/nowhere: .*"nowhere" does not'):
        PostgresqlCheckpoints(url.replace(url.partition("@/")[2].partition("?")[0], "nowhere"))


def test_after_a_server_was_away_the_same_store_goes_on(url: str, postgresql_server: Postgresql) -> None:
    with closing(PostgresqlCheckpoints(url)) as store:
        store.advance(LOG, 5, ROOT, expected=0)
        postgresql_server.stop()
        try:
            with pytest.raises(EvidenceUnavailable, match="checkpoint store local/"):
                store.advance(LOG, 6, ROOT, expected=5)
        finally:
            postgresql_server.start()
        assert store.advance(LOG, 6, ROOT, expected=5)
