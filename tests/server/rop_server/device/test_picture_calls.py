"""Snapshots and recordings: 61009 in, device packets out. Source: client-api 2.9, 2.10, 2.13."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from rop_wire import messages, xml
from rop_wire.commands import Command
from rop_wire.packet import Packet

UID = "95270000000TEST1"
SNAPSHOT = "{device}/snap/snapshot.jpg?stream_type=mainStream&channel=0"
RECORDS = (
    "{device}/records?record_date=2022-01-31&start_at=00:00:00&end_at=23:59:59&stream_type=subStream&channel=0"
)


async def test_snapshot(client: Any, line: Any, told: Any) -> None:
    answer = await client("GET", SNAPSHOT)
    assert (answer.status, answer.content_type, answer.body) == (200, "image/jpeg", told.JPEG)
    assert messages.Snapshot.decode(told.asked(line, Command.SNAPSHOT)[0].payload) == messages.Snapshot(
        0, "mainStream"
    )
    # Parts with an extension, an empty last part, a device that skips the answer.
    half = len(told.JPEG) // 2

    def unusual(packet: Packet) -> None:
        line.send(packet.reply(status=200, payload=told.JPEG[:half], extension=b"<Extension/>"))
        line.send(packet.reply(status=200, payload=told.JPEG[half:]))
        line.send(packet.reply(status=201))

    line.answers[Command.SNAPSHOT] = unusual
    assert (await client("GET", SNAPSHOT)).body == told.JPEG


async def test_snapshot_parameters(client: Any, line: Any) -> None:
    for query in (
        "",
        "?channel=0",
        "?stream_type=mainStream",
        "?stream_type=main&channel=0",
        "?stream_type=mainStream&channel=32",
        "?stream_type=mainStream&channel=0&channel=0",
        "?stream_type=mainStream&channel=1.0",
        "?stream_type=mainStream&channel=",
    ):
        answer = await client("GET", "{device}/snap/snapshot.jpg" + query)
        assert (answer.status, answer.symbol) == (400, "invalid_parameter"), query


async def test_every_failure_of_a_snapshot_is_one_error(client: Any, line: Any, told: Any) -> None:
    def huge(packet: Packet) -> None:
        line.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
        for _ in range(270):
            line.send(packet.reply(payload=bytes(65_000)))

    answers: list[Any] = [400, lambda packet: line.send(packet.reply(status=500, payload=told.JPEG)), huge]
    answers.append(told.picture(line, [b""]))
    for answer in answers:
        line.answers[Command.SNAPSHOT] = answer
        refused = await client("GET", SNAPSHOT)
        assert (refused.status, refused.symbol) == (400, "snap_error")
    for query in ("stream_type=externStream&channel=0", "stream_type=mainStream&channel=9"):
        assert (await client("GET", "{device}/snap/snapshot.jpg?" + query)).symbol == "snap_error"
    line.answers[Command.SNAPSHOT] = told.picture(line, [told.JPEG])
    assert (await client("GET", SNAPSHOT)).body == told.JPEG


async def test_one_snapshot_of_a_device_at_a_time_and_no_longer_than_its_limit(
    client: Any, line: Any, told: Any, server: Any, until: Any
) -> None:
    await server.control.apply({"timeout.snap": 400})
    held: list[Packet] = []
    line.answers[Command.SNAPSHOT] = held.append
    first = asyncio.create_task(client("GET", SNAPSHOT))
    await until(lambda: held)
    assert (await client("GET", SNAPSHOT)).symbol == "snap_error"
    assert len(held) == 1
    line.send(held[0].reply(payload=messages.EMPTY_DOCUMENT))
    assert (await asyncio.wait_for(first, 5)).symbol == "snap_error"
    # What comes late harms nobody.
    line.send(held[0].reply(status=200, payload=told.JPEG))
    line.send(held[0].reply(status=201))
    line.answers[Command.SNAPSHOT] = told.picture(line, [told.JPEG])
    assert (await client("GET", SNAPSHOT)).body == told.JPEG
    assert len(server.hub.snapshots) == 0


async def test_a_lost_connection_ends_a_snapshot(client: Any, line: Any, until: Any, server: Any) -> None:
    held: list[Packet] = []
    line.answers[Command.SNAPSHOT] = held.append
    call = asyncio.create_task(client("GET", SNAPSHOT))
    await until(lambda: held)
    await line.close()
    assert (await asyncio.wait_for(call, 5)).symbol == "snap_error"
    await until(lambda: server.devices.link(UID) is None)
    offline = await client("GET", SNAPSHOT)
    assert (offline.status, offline.symbol) == (404, "device_offline")


class Shelf:
    """Recordings of a camera, one per minute, and its answer to 459."""

    def __init__(self, line: Any, start: datetime, count: int) -> None:
        self._line = line
        step = timedelta(minutes=1)
        self.files = [
            messages.Recording(
                0, "subStream", f"/mnt/{n}.mp4", start + n * step, start + n * step + timedelta(seconds=59)
            )
            for n in range(count)
        ]

    def __call__(self, packet: Packet) -> None:
        asked = messages.FindFiles.decode(packet.payload)
        found = [each for each in self.files if asked.start <= each.start <= asked.end]
        page = messages.Files(len(found), tuple(found[: messages.FILES_PER_PAGE]))
        self._line.send(packet.reply(payload=page.encode()))


async def test_records_page_by_page_across_the_end_of_a_month(client: Any, line: Any) -> None:
    shelf = line.answers[Command.FIND_FILES] = Shelf(line, datetime(2022, 1, 31, 22, 10), 200)
    listed: list[dict[str, Any]] = []
    totals: list[int] = []
    path = RECORDS
    while True:
        answer = await client("GET", path)
        assert answer.status == 200, answer.body
        listed += answer.document["items"]
        totals.append(answer.document["totalRows"])
        token = answer.document.get("nextToken")
        if token is None:
            break
        path = f"{RECORDS}&next_token={token}"
    today = [each for each in shelf.files if each.start.day == 31]
    assert [each["fileName"] for each in listed] == [each.file_name for each in today]
    assert totals == [110, 110, 110]
    assert listed[0] == {
        "channel": 0,
        "fileName": "/mnt/0.mp4",
        "startTime": "2022-01-31 22:10:00",
        "endTime": "2022-01-31 22:10:59",
        "streamType": "subStream",
    }
    assert list(answer.document) == ["totalRows", "items"]


async def test_no_cursor_leads_behind_the_end_of_the_day(client: Any, line: Any) -> None:
    line.answers[Command.FIND_FILES] = Shelf(line, datetime(2022, 1, 31, 23, 20), 40)
    answer = await client("GET", RECORDS)
    assert len(answer.document["items"]) == 40
    assert "nextToken" not in answer.document


async def test_records_of_the_vector(client: Any, line: Any) -> None:
    start = datetime(2022, 1, 1)
    files = [
        messages.Recording(
            0, "mainStream", f"{n}", start + timedelta(minutes=n), start + timedelta(minutes=n, seconds=45)
        )
        for n in range(40)
    ]
    line.answers[Command.FIND_FILES] = messages.Files(60, tuple(files)).encode()
    answer = await client("GET", RECORDS.replace("2022-01-31", "2022-01-01"))
    assert answer.document["nextToken"] == "eyJuZXh0VGltZSI6IjIwMjItMDEtMDEgMDA6Mzk6NDYiLCJyb3dzIjo0MH0"
    assert (list(answer.document), answer.document["totalRows"]) == (["totalRows", "nextToken", "items"], 60)


async def test_no_records(client: Any, line: Any) -> None:
    line.answers[Command.FIND_FILES] = messages.Files(0).encode()
    assert (await client("GET", RECORDS)).body == b'{"totalRows":0,"items":[]}'
    line.answers[Command.FIND_FILES] = messages.EMPTY_DOCUMENT
    assert (await client("GET", RECORDS)).body == b'{"totalRows":null,"items":[]}'
    line.answers[Command.FIND_FILES] = b""
    assert (await client("GET", RECORDS)).symbol == "cmd_exec_error"
    line.answers[Command.FIND_FILES] = xml.build({"Param006": {"attr001": {"attr001": 0}}})
    assert (await client("GET", RECORDS)).symbol == "server_internal_error"


GOOD = {
    "record_date": "2022-01-31",
    "start_at": "00:00:00",
    "end_at": "10:00:00",
    "stream_type": "mainStream",
    "channel": "0",
}
# A cursor to the very end of the range.
AT_THE_END = "eyJuZXh0VGltZSI6IjIwMjItMDEtMzEgMTA6MDA6MDAiLCJyb3dzIjo0MH0"
BAD: dict[str, list[str | None]] = {
    "record_date": [None, "", "2022-02-30", "31.01.2022", "2022-1-31"],
    "start_at": [None, "24:00:00", "00:00", "10:00:00", "10:00:01"],
    "end_at": [None, "2022-01-31 10:00:00", "00:00:00"],
    "stream_type": [None, "externStream", "mainstream"],
    "channel": [None, "32", "-1", " 1", "1e1", "1.0", ""],
    "next_token": ["", "x", "e30", "a" * 256, AT_THE_END],
}


async def test_record_parameters(client: Any, line: Any, told: Any) -> None:
    for name, values in BAD.items():
        for value in values:
            change = GOOD | {name: value}
            query = "&".join(f"{each}={quote(given)}" for each, given in change.items() if given is not None)
            answer = await client("GET", "{device}/records?" + query)
            assert (answer.status, answer.symbol) == (400, "invalid_parameter"), (name, value)
    assert not told.asked(line, Command.FIND_FILES)


async def test_channels_of_the_query(client: Any, line: Any) -> None:
    line.answers[Command.CALENDAR] = messages.EMPTY_DOCUMENT
    # A bare plus is a blank.
    for channel, status in {"0": 200, "31": 200, "01": 200, "%2B1": 200, "+1": 400}.items():
        answer = await client("GET", f"{{device}}/records/calendar?channel={channel}&year=2024&month=2")
        assert answer.status == status, channel


async def test_calendar(client: Any, line: Any, told: Any) -> None:
    path = "{device}/records/calendar?channel=1&year=2024&month=2"
    line.answers[Command.CALENDAR] = messages.Calendar({1: (1, 3, 29, 31)}).encode()
    answer = await client("GET", path)
    assert answer.body == (
        b'{"totalRows":3,"items":[{"channel":1,"date":1},{"channel":1,"date":3},{"channel":1,"date":29}]}'
    )
    assert messages.CalendarGet.decode(told.asked(line, Command.CALENDAR)[0].payload) == messages.CalendarGet(
        (1,), 2024, 2
    )
    line.answers[Command.CALENDAR] = messages.Calendar({0: (5,), 1: (6,)}).encode()
    assert (await client("GET", path)).document["items"] == [{"channel": 1, "date": 6}]
    line.answers[Command.CALENDAR] = messages.Calendar({1: ()}).encode()
    assert (await client("GET", path)).body == b'{"totalRows":0,"items":[]}'
    for query in (
        "channel=1&year=1999&month=2",
        "channel=1&year=2024&month=13",
        "channel=1&year=2024",
        "year=2024&month=1",
    ):
        assert (await client("GET", "{device}/records/calendar?" + query)).symbol == "invalid_parameter"
