"""The recordings of a camera: what there is, by day and by page. Pure but for the file they live in."""

from datetime import datetime, timedelta
from pathlib import Path

from rop_sim import files
from rop_wire import messages
from rop_wire.messages import FILES_PER_PAGE, Calendar, Files, Recording

BETWEEN = timedelta(minutes=15)
LENGTH = timedelta(seconds=6)


def made_up(count: int, until: datetime, channel: int = 0) -> list[Recording]:
    """`count` recordings of 6 s in both stream types, a quarter of an hour apart, the last before `until`.

    By start time; wall clock of the camera without zone.
    """
    last = until.replace(minute=until.minute // 15 * 15, second=0, microsecond=0) - BETWEEN
    starts = sorted(last - i * BETWEEN for i in range(count))
    return [
        Recording(channel, stream, f"/record/{at:%Y%m%d}/{at:%H%M%S}_{stream}.rec", at, at + LENGTH)
        for at in starts
        for stream in ("mainStream", "subStream")
    ]


class Shelf:
    """Recordings by start time."""

    def __init__(self, recordings: list[Recording] | None = None) -> None:
        self.recordings = sorted(recordings or [], key=lambda each: each.start)

    @classmethod
    def kept(cls, path: Path, count: int, now: datetime) -> "Shelf":
        """Those in the file; made up when there is no file."""
        rows = files.read_json(path)
        if rows is None:
            shelf = cls(made_up(count, now))
            rows = [_row(each) for each in shelf.recordings]
            files.write_json(path, rows)
            return shelf
        return cls([_recording(row) for row in rows])

    def find(self, channel: int, name: str) -> Recording | None:
        """A recording by its name."""
        return next((r for r in self.recordings if (r.channel, r.file_name) == (channel, name)), None)

    def page(self, wanted: messages.FindFiles) -> Files:
        """Up to 40 that begin in the span, and how many there are."""
        found = [
            each
            for each in self.recordings
            if (each.channel, each.stream_type) == (wanted.channel, wanted.stream_type)
            and wanted.start <= each.start <= wanted.end
        ]
        return Files(len(found), tuple(found[:FILES_PER_PAGE]))

    def days(self, wanted: messages.CalendarGet) -> Calendar:
        """Days of a month with recordings."""
        return Calendar({channel: self._days(channel, wanted) for channel in wanted.channels})

    def _days(self, channel: int, wanted: messages.CalendarGet) -> tuple[int, ...]:
        month = wanted.year, wanted.month
        starts = (each.start for each in self.recordings if each.channel == channel)
        return tuple(sorted({at.day for at in starts if (at.year, at.month) == month}))


def _row(each: Recording) -> list[object]:
    return [each.channel, each.stream_type, each.file_name, each.start.isoformat(), each.end.isoformat()]


def _recording(row: list[str]) -> Recording:
    channel, stream, name, start, end = row
    return Recording(int(channel), stream, name, datetime.fromisoformat(start), datetime.fromisoformat(end))
