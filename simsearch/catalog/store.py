"""Opens the catalog's file: its version, its migrations, and SQLite's complaints turned into our errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import StaticPool

from simsearch.catalog.schema import REVISION
from simsearch.errors import (
    CollectionCorruptError,
    CollectionError,
    CollectionLockedError,
    CollectionNotFoundError,
    CollectionTooNewError,
    CollectionWriteError,
)

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 30.0


class Store:
    """One SQLite file behind one connection, which belongs to the thread that made it."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Opens an existing catalog, migrating it where an older simsearch wrote it and `write` allows it.

        Raises CollectionNotFoundError, CollectionCorruptError or CollectionTooNewError.
        """
        if not path.is_file():
            raise CollectionNotFoundError(f"{path} is missing; run `simsearch index FOLDER` to fill the collection")
        self.path = path
        self.write = write
        self._engine = _engine(path, write=write)
        self._connection: Connection | None = None
        self._check_version()

    @classmethod
    def create(cls, path: Path) -> Store:
        """An empty catalog at the newest revision. A half-made one, left by a kill, is finished."""
        engine = _engine(path, write=True)
        with engine.connect() as connection:
            _migrate(connection)
        engine.dispose()
        return cls(path, write=True)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The connection, inside one transaction: a reader's snapshot, or a writer's all-or-nothing. Nests."""
        if self._connection is not None:
            yield self._connection
            return
        with self._own_errors(), self._engine.begin() as connection:
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None

    def checkpoint(self) -> None:
        """Folds the write-ahead log into the file, so that a read-only copy of the folder is whole.

        As far as readers of older snapshots allow: they are not waited for.
        """
        with self._own_errors():
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA busy_timeout = 0")
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.cursor().execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_TIMEOUT_S)}")
                raw.close()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turns what the driver itself raises, where it is asked directly, into our errors."""
        try:
            yield
        except sqlite3.Error as error:
            ours = _ours(error, self.path)
            if ours is error:
                raise
            raise ours from error

    def close(self) -> None:
        """Lets go of the file."""
        self._engine.dispose()

    def _check_version(self) -> None:
        with self.transaction() as db:
            known = db.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").scalar()
            found = db.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if known else None
        if found == REVISION:
            return
        if found is not None and found > REVISION:
            raise CollectionTooNewError(
                f"{self.path} has schema {found}, written by a newer simsearch; this one knows {REVISION}: "
                "upgrade it with pip install -U simsearch"
            )
        if not self.write:
            raise CollectionWriteError(
                f"{self.path} has the older schema {found or 'none'}; run `simsearch index` to bring it to {REVISION}"
            )
        with self._engine.connect() as connection:
            _migrate(connection)


def _migrate(connection: Connection) -> None:
    from alembic import command  # a fifth of a second, paid only when a schema changes
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _engine(path: Path, *, write: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        return _connect_to_write(path) if write else _connect_to_read(path)

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    begin = "BEGIN IMMEDIATE" if write else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    event.listen(engine, "handle_error", lambda context: _translate(context, path), retval=True)
    return engine


def _connect_to_write(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error as error:
        connection.close()
        raise _ours(error, path) from error
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    A WAL database wants to make two files beside it even to be read. Where the folder does not allow that and no log
    waits to be read, the file is complete by itself and is opened as immutable.
    """
    uri = path.resolve().as_uri()
    try:
        connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        log = path.with_name(path.name + "-wal")
        if "locked" in str(error) or (log.exists() and log.stat().st_size):
            raise _ours(error, path) from error
        connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    except sqlite3.DatabaseError as error:
        raise _ours(error, path) from error
    return connection


def _translate(context: ExceptionContext, path: Path) -> Exception | None:
    """What SQLAlchemy is to raise in place of the driver's error; None for an error of its own."""
    original = context.original_exception
    if not isinstance(original, sqlite3.Error):
        return None
    ours = _ours(original, path)
    return None if ours is original else ours


def _ours(error: sqlite3.Error, path: Path) -> Exception:
    """The error of ours that says what SQLite meant, or SQLite's own where it is a fault of the program."""
    said = str(error)
    table: tuple[tuple[str, Any], ...] = (
        ("not a database|malformed|corrupt", CollectionCorruptError(
            f"{path} is damaged ({said}); nothing was changed. Restore it from a backup, or move the folder "
            f"{path.parent} aside and run `simsearch index` again")),
        ("disk is full|disk I/O error", CollectionWriteError(
            f"{path} cannot be written ({said}); free some space and run `simsearch index` again: what was "
            "committed is kept")),
        ("readonly|read-only|unable to open", CollectionWriteError(
            f"{path} cannot be opened or written ({said}); check the permissions of {path.parent}, and whether its "
            "disk is mounted read-only")),
        ("no such module", CollectionError(
            f"{path} keeps the words of its works in FTS5, and the SQLite {sqlite3.sqlite_version} of this Python was "
            f"built without it ({said}); use a Python whose SQLite has it")),
        ("locked|busy", CollectionLockedError(f"{path} is in use by another process ({said}); try again in a moment")),
    )  # fmt: skip
    return next((ours for pattern, ours in table if re.search(pattern, said)), error)
