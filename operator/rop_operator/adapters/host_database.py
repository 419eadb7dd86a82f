"""The agent's own memory in SQLite: accepted documents, their status, events, and a few values that must stay."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rop_operator.api.facts import Document, Ref

VERSION = 1
MAX_EVENTS = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  uid TEXT NOT NULL, generation INTEGER NOT NULL, version INTEGER NOT NULL,
  file TEXT NOT NULL, spec TEXT NOT NULL, status TEXT NOT NULL,
  labels TEXT NOT NULL, annotations TEXT NOT NULL, finalizers TEXT NOT NULL,
  created TEXT NOT NULL, deleting TEXT,
  PRIMARY KEY (kind, namespace, name)
);
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  type TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
  count INTEGER NOT NULL, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
  UNIQUE (kind, namespace, name, type, reason, message)
);
"""


class StateError(Exception):
    """The state directory cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document with the file it came from."""

    document: Document
    file: str


def timestamp(moment: datetime) -> str:
    """RFC 3339 UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class HostDatabase:
    """STATE/agent.db. Every call is one durable transaction. StateError when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        try:
            path.touch(0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{path}: {error}") from error
        self._check_version(path)

    def _check_version(self, path: Path) -> None:
        found = int(self.value("schema", str(VERSION)))
        if found > VERSION:
            raise StateError(f"{path}: written by a newer version (schema {found}, this program knows {VERSION})")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def value(self, name: str, default: str) -> str:
        """A value that stays; `default` is stored when there is none yet."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return str(row[0])
        self.set_value(name, default)
        return default

    def set_value(self, name: str, value: str) -> None:
        """Store a value."""
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def load(self) -> list[Row]:
        """Every document."""
        rows = self._db.execute(
            "SELECT kind, namespace, name, uid, generation, version, file, spec, status, labels, annotations,"
            " finalizers, created, deleting FROM objects ORDER BY kind, namespace, name"
        )
        return [_row(row) for row in rows]

    def put(self, document: Document, file: str) -> None:
        """Insert or replace a document."""
        self._db.execute(
            "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                document.ref.kind,
                document.ref.namespace,
                document.ref.name,
                document.uid,
                document.generation,
                int(document.resource_version),
                file,
                _json(document.spec),
                _json(document.status),
                _json(document.labels),
                _json(document.annotations),
                json.dumps(list(document.finalizers)),
                timestamp(document.created) if document.created else "",
                timestamp(document.deleting) if document.deleting else None,
            ),
        )

    def remove(self, ref: Ref) -> None:
        """Forget a document."""
        self._db.execute(
            "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?",
            (ref.kind, ref.namespace, ref.name),
        )

    def add_event(self, ref: Ref, type_: str, reason: str, message: str, at: datetime) -> None:
        """Record an event; the same again only counts. The oldest go when there are too many."""
        now = timestamp(at)
        self._db.execute(
            "INSERT INTO events (kind, namespace, name, type, reason, message, count, first_seen, last_seen)"
            " VALUES (?,?,?,?,?,?,1,?,?) ON CONFLICT"
            " DO UPDATE SET count = count + 1, last_seen = excluded.last_seen",
            (ref.kind, ref.namespace, ref.name, type_, reason, message, now, now),
        )
        self._db.execute(
            "DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ? AND last_seen < ?", (MAX_EVENTS, now)
        )

    def events(self, kind: str | None, namespace: str | None, name: str | None) -> list[dict[str, Any]]:
        """Events, oldest first."""
        rows = self._db.execute(
            "SELECT kind, namespace, name, type, reason, message, count, first_seen, last_seen FROM events"
            " WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR namespace = ?2) AND (?3 IS NULL OR name = ?3)"
            " ORDER BY last_seen, id",
            (kind, namespace, name),
        )
        members = ("type", "reason", "message", "count", "firstSeen", "lastSeen")
        return [{"ref": f"{row[0]}/{row[1]}/{row[2]}", **dict(zip(members, row[3:], strict=True))} for row in rows]


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"), sort_keys=True, default=str)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _row(row: tuple[Any, ...]) -> Row:
    document = Document(
        ref=Ref(row[0], row[1], row[2]),
        uid=row[3],
        generation=row[4],
        spec=json.loads(row[7]),
        status=json.loads(row[8]),
        annotations=json.loads(row[10]),
        labels=json.loads(row[9]),
        finalizers=tuple(json.loads(row[11])),
        created=_moment(row[12]),
        deleting=_moment(row[13]),
        resource_version=str(row[5]),
    )
    return Row(document, row[6])
