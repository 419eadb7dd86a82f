"""The durable queue of alarms: one row for each alarm and sink, in `alarms.db`, until it is delivered or given up.

A row is in the file before the device gets its acknowledgement: it survives the death of the process at once, and
a power cut from the next `sync` (once per second) on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rop_server.state.database import transaction

log = structlog.get_logger("rop.alarms")

DEAD_KEPT = 10_000
DEAD_KEPT_S = 30 * 86_400.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, uid TEXT NOT NULL, id TEXT NOT NULL,
    at REAL NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting_lane ON waiting (sink, uid, number);
CREATE TABLE IF NOT EXISTS dead (
    number INTEGER PRIMARY KEY, sink TEXT NOT NULL, uid TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL,
    body BLOB NOT NULL, reason TEXT NOT NULL, dead_at REAL NOT NULL
);
"""
_COLUMNS = "number, sink, uid, id, at, body"


@dataclass(frozen=True, slots=True)
class Row:
    """An alarm on its way to one sink. `id` is the same at every sink and attempt; `at` is epoch seconds."""

    number: int
    sink: str
    uid: str
    id: str
    at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadRow:
    """An alarm that was given up, and why."""

    row: Row
    reason: str
    dead_at: float


class AlarmQueue:
    """The file. Every method runs on the event loop's thread, except `sync`. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dirty = False
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            # Alarms that cannot be read are lost; serving cameras is worth more than refusing to start.
            log.error("alarm-queue", message="unreadable, a new one is begun", error=str(error))
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                with suppress(FileNotFoundError):
                    path.with_name(name).replace(path.with_name(f"{name}.broken"))
            self._db = _open(path)

    def put(self, sinks: Iterable[str], uid: str, id_: str, at: float, body: bytes) -> None:
        """Add one alarm for each sink."""
        rows = [(sink, uid, id_, at, body) for sink in sinks]
        self._run("INSERT INTO waiting (sink, uid, id, at, body) VALUES (?, ?, ?, ?, ?)", rows)

    def head(self, sink: str, uid: str) -> Row | None:
        """The oldest alarm of a device for a sink."""
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM waiting WHERE sink = ? AND uid = ? ORDER BY number LIMIT 1",  # noqa: S608
            (sink, uid),
        ).fetchone()
        return None if found is None else Row(*found)

    def remove(self, row: Row) -> bool:
        """The alarm is delivered. False when it had left the queue before."""
        self._dirty = True
        return self._db.execute("DELETE FROM waiting WHERE number = ?", (row.number,)).rowcount > 0

    def bury(self, row: Row, reason: str, now: float) -> bool:
        """Give an alarm up: it becomes a dead letter. False when it had left the queue before."""
        self._dirty = True
        with transaction(self._db):
            if self._db.execute("DELETE FROM waiting WHERE number = ?", (row.number,)).rowcount == 0:
                return False
            self._db.execute(
                "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (row.number, row.sink, row.uid, row.id, row.at, row.body, reason, now),
            )
            self._db.execute(
                "DELETE FROM dead WHERE number IN"
                " (SELECT number FROM dead ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (DEAD_KEPT,),
            )
        return True

    def lanes(self) -> list[tuple[str, str, int]]:
        """Sink, UID and number of waiting alarms, in order of the oldest."""
        return self._db.execute(
            "SELECT sink, uid, count(*) FROM waiting GROUP BY sink, uid ORDER BY min(number)"
        ).fetchall()

    def oldest(self, sink: str) -> float | None:
        """When the oldest alarm that waits for a sink was raised."""
        found = self._db.execute(
            "SELECT at FROM waiting WHERE sink = ? ORDER BY number LIMIT 1", (sink,)
        ).fetchone()
        return None if found is None else float(found[0])

    def dead(self, sink: str | None = None, uid: str | None = None, limit: int = 1000) -> list[DeadRow]:
        """Dead letters, newest first."""
        where, values = _filter(sink, uid, None)
        rows = self._db.execute(
            f"SELECT {_COLUMNS}, reason, dead_at FROM dead{where} ORDER BY number DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [DeadRow(Row(*row[:6]), row[6], row[7]) for row in rows]

    def dead_counts(self) -> dict[str, int]:
        """Number of dead letters by sink."""
        return dict(self._db.execute("SELECT sink, count(*) FROM dead GROUP BY sink").fetchall())

    def revive(
        self, sink: str | None, uid: str | None, ids: Iterable[str] | None, sinks: Iterable[str], now: float
    ) -> list[tuple[str, str]]:
        """Put dead letters of living `sinks` back into the queue, in their old order; sink and UID of each.

        Their age counts from `now`, else they would be given up again at once.
        """
        self._dirty = True
        where, values = _filter(sink, uid, None if ids is None else list(ids))
        living = set(sinks)
        with transaction(self._db):
            found = self._db.execute(
                f"SELECT number, sink, uid, id, body FROM dead{where} ORDER BY number",  # noqa: S608
                values,
            ).fetchall()
            back = [row for row in found if row[1] in living]
            self._db.executemany(
                "INSERT INTO waiting (number, sink, uid, id, at, body) VALUES (?, ?, ?, ?, ?, ?)",
                [(number, to, whose, id_, now, body) for number, to, whose, id_, body in back],
            )
            self._db.executemany("DELETE FROM dead WHERE number = ?", [(row[0],) for row in back])
        return [(row[1], row[2]) for row in back]

    def forget_old(self, now: float) -> None:
        """Delete dead letters that nobody asked for in a month."""
        self._run("DELETE FROM dead WHERE dead_at < ?", [(now - DEAD_KEPT_S,)])

    @property
    def dirty(self) -> bool:
        """True when something was written since the last `sync` began."""
        return self._dirty

    def sync(self) -> None:
        """Force what was written onto the disk; to be called in a thread, it can take long."""
        self._dirty = False
        with suppress(FileNotFoundError):
            descriptor = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _run(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        self._dirty = True
        with transaction(self._db):
            self._db.executemany(statement, rows)


def _filter(sink: str | None, uid: str | None, ids: list[str] | None) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for column, value in (("sink", sink), ("uid", uid)):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(value)
    if ids is not None:
        parts.append(f"id IN ({', '.join('?' * len(ids))})")
        values += ids
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=16777216")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
