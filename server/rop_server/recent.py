"""The last lines of the log, for whoever cannot read where they go."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

LINES = 2_000
LONGEST = 8_192
ORDER = ("debug", "info", "warning", "error")


class RecentLines:
    """Numbered lines; the oldest go first, and very long ones are not kept."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=lines)
        self._last = 0

    def add(self, line: str) -> None:
        """Keep a line, a JSON object."""
        self._last += 1
        if len(line) <= LONGEST:
            self._lines.append((self._last, line))

    def page(
        self, limit: int, after: int | None = None, level: str = "debug", uid: str | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        """The number of the last line, and the last `limit` lines, oldest first: those behind number `after`, of
        this level or a worse one, of one device, as far as these are named. A number of another process is none.
        """
        last = self._last
        begin = after if after is not None and after <= last else 0
        wanted = ORDER[ORDER.index(level) :]
        found: list[dict[str, Any]] = []
        for number, line in reversed(self._lines.copy()):
            if number <= begin or len(found) == limit:
                break
            if uid is not None and uid not in line:
                continue
            told = json.loads(line)
            if told["level"] in wanted and uid in (None, told.get("uid")):
                found.append(told)
        return last, found[::-1]
