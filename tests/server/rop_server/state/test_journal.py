"""The event ring, its positions and its waiting polls."""

from __future__ import annotations

import asyncio
import json
import time

from rop_server.state.journal import PAGE, Event, Journal


def test_positions() -> None:
    journal = Journal(capacity=4)
    assert journal.since(1, journal.epoch) == []
    for number in range(1, 7):
        journal.append("config.changed", None, 0.0, b"{}")
        events = journal.since(number, journal.epoch)
        assert events is not None and [event.seq for event in events] == [number]
    assert journal.next == 7
    assert [e.seq for e in journal.since(3, journal.epoch) or ()] == [3, 4, 5, 6]
    assert journal.since(7, journal.epoch) == []
    for lost in (0, 2, 8):
        assert journal.since(lost, journal.epoch) is None
    assert journal.since(3, "other") is None


def test_a_page_is_bounded() -> None:
    journal = Journal()
    for _ in range(PAGE + 5):
        journal.append("config.changed", None, 0.0, b"{}")
    assert len(journal.since(1, journal.epoch) or ()) == PAGE
    assert len(journal.since(PAGE + 1, journal.epoch) or ()) == 5


def test_an_event_encodes_as_json() -> None:
    event = Event(3, "device.alarm", 'odd"uid', 1.5, b'{"status":"MD"}')
    assert json.loads(event.encode()) == {
        "seq": 3,
        "type": "device.alarm",
        "uid": 'odd"uid',
        "at": "1970-01-01T00:00:01.500Z",
        "data": {"status": "MD"},
    }


async def test_a_poll_ends_with_the_first_event_or_in_time() -> None:
    journal = Journal()
    began = time.monotonic()
    await journal.wait(1, 0.05)
    assert time.monotonic() - began >= 0.04
    poll = asyncio.create_task(journal.wait(1, 30))
    await asyncio.sleep(0)
    journal.append("config.changed", None, 0.0, b"{}")
    await asyncio.wait_for(poll, 2)
    await asyncio.wait_for(journal.wait(1, 30), 1)


async def test_closing_ends_every_poll() -> None:
    journal = Journal()
    polls = [asyncio.create_task(journal.wait(1, 30)) for _ in range(3)]
    await asyncio.sleep(0)
    journal.close()
    await asyncio.wait_for(asyncio.gather(*polls), 2)
    await asyncio.wait_for(journal.wait(1, 30), 1)


def test_a_failing_subscriber_harms_nobody() -> None:
    journal = Journal()
    heard: list[int] = []

    def fails(_event: Event) -> None:
        raise RuntimeError("broken")

    journal.subscribe(fails)
    end = journal.subscribe(lambda event: heard.append(event.seq))
    journal.append("config.changed", None, 0.0, b"{}")
    end()
    journal.append("config.changed", None, 0.0, b"{}")
    assert heard == [1]
