"""The SQLite file `state.db`: schema, versions, and two connections of different durability."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rop_data.config import ConfigError

_FIRST = """
CREATE TABLE device (uid TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE certificate (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL, serial TEXT NOT NULL, not_after REAL NOT NULL,
    issuer TEXT NOT NULL, issued_by TEXT NOT NULL, address TEXT, root TEXT, issued_at REAL NOT NULL
);
CREATE INDEX certificate_uid ON certificate (uid);
CREATE TABLE denied (uid TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE claim (uid TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE token (
    name TEXT PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, scope TEXT NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
"""
_GATEWAY = """
CREATE TABLE gateway_token (
    name TEXT PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, grant TEXT NOT NULL,
    created_at REAL NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE label (uid TEXT PRIMARY KEY, labels TEXT NOT NULL) WITHOUT ROWID;
"""
# Entry n leads from format n to n + 1.
_STEPS = (_FIRST, _GATEWAY)
FORMAT_VERSION = len(_STEPS)


class StateTooNew(ConfigError):
    """The file was written by a newer program (exit code 78)."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(path.name, f"of format {FORMAT_VERSION} at most", f"format {version}")


def open_database(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Open (and create) the file, mode 0600. `durable`: a commit is on disk when it returns; otherwise a crash of
    the machine may lose the newest commits, never consistency. Raises StateTooNew and sqlite3.Error.
    """
    if not path.exists():
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    _migrate(connection, path)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing: a failed statement (a full disk, say) leaves no transaction open."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == FORMAT_VERSION:
        return
    if version > FORMAT_VERSION:
        connection.close()
        raise StateTooNew(path, version)
    # One transaction: two programs that open a new file at once must not both create the tables.
    with transaction(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for statement in ";".join(_STEPS[version:]).split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
