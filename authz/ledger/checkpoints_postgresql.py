"""The store of what was ever signed as rows of a PostgreSQL table, shared by machines.

    aegis_checkpoints(log TEXT PRIMARY KEY, size BIGINT, root BYTEA)     a row only grows; it never goes away

In: a URL without a password (libpq takes that from PGPASSFILE). Out: Checkpoints. Each change is one
statement, committed and on disk before it is answered, whatever the server's default. The follower's role
needs SELECT, INSERT and UPDATE (and CREATE once), a worker's only SELECT. A standby that takes over must have
every commit: with asynchronous replication it may have forgotten a size, and then two could be signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    exc,
    func,
    inspect,
    make_url,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from authz.errors import EvidenceUnavailable
from authz.ledger.checkpoints import agree, check_growth

TIMEOUT_S: Final = 5  # for a connection, and for a statement

_metadata = MetaData()
CHECKPOINTS: Final = Table(
    "aegis_checkpoints",
    _metadata,
    Column("log", Text(collation="C"), primary_key=True),  # `C`: names of epochs in the order of their times
    Column("size", BigInteger, CheckConstraint("size > 0"), nullable=False),
    Column("root", LargeBinary, CheckConstraint("length(root) = 32"), nullable=False),
)


class PostgresqlCheckpoints:
    """Open until `close`. Raises EvidenceUnavailable, with host and database, whenever the server does not
    do its work.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        parsed = make_url(url)
        self._name = f"{parsed.host or 'local'}/{parsed.database}"
        options = f"-c statement_timeout={TIMEOUT_S * 1000} -c synchronous_commit=on"
        if read_only:
            options += " -c default_transaction_read_only=on"
        self._engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            pool_timeout=TIMEOUT_S,
            pool_pre_ping=True,
            connect_args={"connect_timeout": TIMEOUT_S, "options": options},
        )
        try:
            with self._connected() as connection:
                self._there = inspect(connection).has_table(CHECKPOINTS.name)
                if not self._there and not read_only:
                    _metadata.create_all(connection)
                    self._there = True
        except BaseException:
            self._engine.dispose()
            raise

    def advance(self, log: str, size: int, root: bytes, *, expected: int) -> bool:
        """As `checkpoints.Checkpoints.advance`."""
        check_growth(log, size, expected)
        new = {"log": log, "size": size, "root": root}
        statement = (
            CHECKPOINTS.update()
            .where(CHECKPOINTS.c.log == log, CHECKPOINTS.c.size == expected, CHECKPOINTS.c.size < size)
            .values(size=size, root=root)
            if expected
            else insert(CHECKPOINTS).values(new).on_conflict_do_nothing()
        )
        with self._connected() as connection:
            moved = connection.execute(statement).rowcount == 1
        return moved or agree(log, size, root, self.latest(log))

    def latest(self, log: str) -> tuple[int, bytes] | None:
        """Size and root last signed for `log`, None if it never was."""
        if not self._there:
            return None
        query = select(CHECKPOINTS.c.size, CHECKPOINTS.c.root).where(CHECKPOINTS.c.log == log)
        with self._connected() as connection:
            row = connection.execute(query).one_or_none()
        return (row.size, bytes(row.root)) if row else None

    def logs(self, prefix: str) -> list[str]:
        """The logs whose names start with `prefix`, in the order of their names."""
        if not self._there:
            return []
        query = (
            select(CHECKPOINTS.c.log)
            .where(func.starts_with(CHECKPOINTS.c.log, prefix))
            .order_by(CHECKPOINTS.c.log)
        )
        with self._connected() as connection:
            return list(connection.scalars(query))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            # The driver's own words, on one line; its text never has the password.
            said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
            what = said.splitlines()[0]
            raise EvidenceUnavailable(f"checkpoint store {self._name}: {what}") from None
