"""Labels of cameras, told by the manager, so that a token can name a group of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from rop_server.state.database import transaction

NONE: Mapping[str, str] = {}


class Labels:
    """The table of labels, in memory for reading."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        rows = connection.execute("SELECT uid, labels FROM label")
        self._labels: dict[str, Mapping[str, str]] = {uid: json.loads(text) for uid, text in rows}

    def __len__(self) -> int:
        return len(self._labels)

    def of(self, uid: str) -> Mapping[str, str]:
        """The labels of a camera."""
        return self._labels.get(uid, NONE)

    def replace(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Put these in place of all; on disk when it returns."""
        with transaction(self._db):
            self._db.execute("DELETE FROM label")
            rows = [(uid, json.dumps(dict(told))) for uid, told in labels.items() if told]
            self._db.executemany("INSERT INTO label VALUES (?, ?)", rows)
        self._labels = {uid: dict(told) for uid, told in labels.items() if told}
