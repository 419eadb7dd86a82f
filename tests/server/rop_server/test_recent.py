"""The last lines of the log."""

from __future__ import annotations

import io
import json
from typing import Any

import structlog

from rop_server import logs
from rop_server.recent import LONGEST, RecentLines

UID = "95270000000TEST1"


def line(action: str, level: str = "info", **more: Any) -> str:
    return json.dumps({"date": 1, "level": level, "action": action, **more}, separators=(",", ":"))


def actions(found: tuple[int, list[dict[str, Any]]]) -> list[str]:
    return [each["action"] for each in found[1]]


def test_pages() -> None:
    recent = RecentLines(4)
    for number in range(6):
        recent.add(line(str(number), "warning" if number == 4 else "info", uid=UID if number % 2 else None))
    assert actions(recent.page(10)) == ["2", "3", "4", "5"]
    assert actions(recent.page(2)) == ["4", "5"]
    assert actions(recent.page(10, level="warning")) == ["4"]
    assert actions(recent.page(10, uid=UID)) == ["3", "5"]
    number, _ = recent.page(0)
    assert actions(recent.page(10, after=number)) == []
    recent.add(line("6"))
    assert actions(recent.page(10, after=number)) == ["6"]


def test_a_number_of_another_process_is_none() -> None:
    recent = RecentLines()
    recent.add(line("0"))
    assert actions(recent.page(10, after=500)) == ["0"]


def test_memory_is_bounded_by_the_line_too() -> None:
    recent = RecentLines()
    recent.add(line("x" * LONGEST))
    recent.add(line("short"))
    assert recent.page(10) == (2, [json.loads(line("short"))])


def test_every_line_that_is_written_is_there_and_secrets_are_not() -> None:
    logs.configure(io.StringIO())
    before, _ = logs.recent().page(0)
    structlog.get_logger("rop.test").info("something", uid=UID, token="geheim")
    _, items = logs.recent().page(10, after=before)
    assert [(each["subject"], each["action"], each["token"]) for each in items] == [
        ("rop.test", "something", "***")
    ]
