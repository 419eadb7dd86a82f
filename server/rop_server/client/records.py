"""Recordings: files and the days that have some. All times are the wall clock of the device, without a zone.

Source: ROP v1.0 wire specification, client-api 2.9 and 2.10; discrepancies A9, B18, B19, B30, C2.14, C3.10.
"""

from __future__ import annotations

import calendar
from typing import Any

from rop_server.client import validation
from rop_server.client.calls import ask
from rop_server.client.errors import invalid
from rop_server.client.exchange import Answer, Asked, Calls, encode
from rop_server.core.facade import Devices
from rop_wire import messages
from rop_wire.errors import ProtocolError

RECORDED = ("mainStream", "subStream")


class RecordCalls:
    """What a device has recorded."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {"find_records": self.files, "calendar": self.calendar}

    async def files(self, asked: Asked) -> Answer:
        """Up to 40 recordings between two times, and a cursor to the next ones."""
        uid = validation.uid(asked.path["uid"])
        wanted, rows = _range(asked)
        page = messages.Files.decode(await ask(self._devices, uid, wanted))
        following = messages.PageToken.after(page, rows)
        document: dict[str, Any] = {"totalRows": None if page.total is None else page.total + rows}
        # A cursor behind the end of the range would only be refused when it comes back.
        if following is not None and following.next_time < wanted.end:
            document["nextToken"] = following.encode()
        document["items"] = [_item(each) for each in page.recordings]
        return Answer(encode(document))

    async def calendar(self, asked: Asked) -> Answer:
        """The days of a month with recordings."""
        uid = validation.uid(asked.path["uid"])
        query = asked.query()
        channel = query.whole("channel", 0, validation.MAX_CHANNEL)
        year, month = query.whole("year", 2000, 3000), query.whole("month", 1, 12)
        told = messages.Calendar.decode(
            await ask(self._devices, uid, messages.CalendarGet((channel,), year, month))
        )
        # One channel is asked for; a device that answers with others as well is cut down to it.
        days = {channel: told.days[channel]} if channel in told.days else told.days
        last = calendar.monthrange(year, month)[1]
        items = [{"channel": number, "date": day} for number, each in days.items() for day in each if day <= last]
        return Answer(encode({"totalRows": len(items), "items": items}))


def _range(asked: Asked) -> tuple[messages.FindFiles, int]:
    """The request for one page, and the rows before it."""
    query = asked.query()
    date = query.text("record_date", 1, 255)
    start_at, end_at = query.text("start_at", 1, 16), query.text("end_at", 1, 16)
    stream_type = query.word("stream_type", RECORDED)
    channel = query.whole("channel", 0, validation.MAX_CHANNEL)
    token = query.maybe("next_token", 1, 255)
    rows = 0
    try:
        start = messages.parse_client_time(f"{date} {start_at}")
        end = messages.parse_client_time(f"{date} {end_at}")
        if token is not None:
            page = messages.PageToken.decode(token)
            start, rows = page.next_time, page.rows
    except ProtocolError:
        raise invalid("range") from None
    if start >= end:
        raise invalid("range")
    return messages.FindFiles(channel, stream_type, start, end), rows


def _item(recording: messages.Recording) -> dict[str, Any]:
    return {
        "channel": recording.channel,
        "fileName": recording.file_name,
        "startTime": messages.client_time(recording.start),
        "endTime": messages.client_time(recording.end),
        "streamType": recording.stream_type,
    }
