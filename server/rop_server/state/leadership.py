"""Who manages this server, and the fence that keeps a former manager out. Durable before a call returns."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rop_server.state.database import transaction


class NotManager(Exception):
    """The caller does not manage this server. `symbol` is `managed_elsewhere` or `fenced`."""

    def __init__(self, symbol: str, message: str) -> None:
        super().__init__(message)
        self.symbol = symbol


@dataclass(frozen=True, slots=True)
class Manager:
    """The recorded manager; `id` is None when nobody manages the server. The fence only ever grows."""

    id: str | None
    fence: int


class Leadership:
    """The manager and its fence in the table `fact`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        rows = dict(
            connection.execute("SELECT name, value FROM fact WHERE name IN ('manager', 'fence')").fetchall()
        )
        self.current = Manager(rows.get("manager"), int(rows.get("fence", "0")))

    def take(self, manager: str, take_over: bool) -> Manager:
        """Become the manager with a new fence. Raises NotManager when another one is recorded."""
        current = self.current
        if current.id is not None and current.id != manager and not take_over:
            raise NotManager("managed_elsewhere", f"this server is managed by {current.id}")
        return self._record(Manager(manager, current.fence + 1))

    def check(self, manager: str | None, fence: int | None) -> None:
        """Raise NotManager unless this write may happen. Without a recorded manager anyone may write.

        A higher fence of the recorded manager is believed and kept: the file may come from an older backup.
        """
        current = self.current
        if current.id is None:
            return
        if manager != current.id:
            raise NotManager("managed_elsewhere", f"this server is managed by {current.id}")
        if fence is None or fence < current.fence:
            raise NotManager("fenced", f"fence {fence} is behind {current.fence}")
        if fence > current.fence:
            self._record(Manager(current.id, fence))

    def _record(self, manager: Manager) -> Manager:
        rows = [("manager", manager.id), ("fence", str(manager.fence))]
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", rows)
        self.current = manager
        return manager
