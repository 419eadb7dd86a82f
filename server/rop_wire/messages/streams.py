"""Live, replay, recordings, calendar, snapshot.

Source: ROP v1.0 wire specification, device-protocol 10.5 to 10.9. Record times are zone-less wall clock of the
device (discrepancies B30).
"""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import ProtocolError
from rop_wire.messages.document import Message

FILES_PER_PAGE = 40
SNAPSHOT_MORE = 200
SNAPSHOT_LAST = 201
_TIME = ("attr001", "attr002", "attr003", "attr004", "attr005", "attr006")


def time_tree(moment: datetime) -> dict[str, int]:
    """The time structure T: year, month, day, hour, minute, second."""
    parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    return dict(zip(_TIME, parts, strict=True))


def time_in(node: Any, name: str) -> datetime:
    """A time structure below `node`. Raises ProtocolError when it is not a time."""
    parts = [xml.integer(node, name, part) for part in _TIME]
    try:
        return datetime(*(part if part is not None else -1 for part in parts))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise ProtocolError(f"{name} is not a time") from None


def _need_integer(node: Any, name: str) -> int:
    found = xml.integer(node, name)
    if found is None:
        raise ProtocolError(f"{name} is missing or not a number")
    return found


@dataclass(frozen=True, slots=True)
class LiveStart(Message):
    """Start live. `handle` is also the packet's request id; `mode` TLS, encryptTCP or TCP."""

    command: ClassVar[Command] = Command.LIVE_START
    channel: int
    handle: int
    stream_type: str
    mode: str
    port: int

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr001": self.channel,
            "attr002": self.handle,
            "attr003": self.stream_type,
            "attr004": self.mode,
            "attr008": self.port,
        }
        return xml.build({"Param002": told})

    @classmethod
    def decode(cls, payload: bytes) -> "LiveStart":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param002")
        return cls(
            _need_integer(told, "attr001"),
            _need_integer(told, "attr002"),
            xml.text(told, "attr003") or "",
            xml.text(told, "attr004") or "",
            _need_integer(told, "attr008"),
        )


@dataclass(frozen=True, slots=True)
class LiveStop(Message):
    """Stop live."""

    command: ClassVar[Command] = Command.LIVE_STOP
    channel: int
    handle: int

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param002": {"attr001": self.channel, "attr002": self.handle}})

    @classmethod
    def decode(cls, payload: bytes) -> "LiveStop":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param002")
        return cls(_need_integer(told, "attr001"), _need_integer(told, "attr002"))


@dataclass(frozen=True, slots=True)
class StreamOfChannel(Message):
    """A channel and one of its stream types."""

    channel: int
    stream_type: str


@dataclass(frozen=True, slots=True)
class KeyFrameRequest(StreamOfChannel):
    """Ask for a key frame."""

    command: ClassVar[Command] = Command.KEY_FRAME

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param003": {"attr001": self.channel, "attr002": self.stream_type}})

    @classmethod
    def decode(cls, payload: bytes) -> "KeyFrameRequest":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param003")
        return cls(_need_integer(told, "attr001"), xml.text(told, "attr002") or "")


@dataclass(frozen=True, slots=True)
class Snapshot(StreamOfChannel):
    """Ask for a picture; data packets with the same request id follow the answer."""

    command: ClassVar[Command] = Command.SNAPSHOT

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param004": {"attr001": self.channel, "attr005": self.stream_type}})

    @classmethod
    def decode(cls, payload: bytes) -> "Snapshot":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param004")
        return cls(_need_integer(told, "attr001"), xml.text(told, "attr005") or "")


@dataclass(frozen=True, slots=True)
class ReplayStart(Message):
    """Start replaying a recording."""

    command: ClassVar[Command] = Command.REPLAY_START
    channel: int
    file_name: str
    handle: int
    mode: str
    port: int

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr001": self.channel,
            "attr007": self.file_name,
            "attr004": self.handle,
            "attr009": self.mode,
            "attr017": self.port,
        }
        return xml.build({"Param006": {"attr001": told}})

    @classmethod
    def decode(cls, payload: bytes) -> "ReplayStart":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param006", "attr001")
        return cls(
            _need_integer(told, "attr001"),
            xml.text(told, "attr007") or "",
            _need_integer(told, "attr004"),
            xml.text(told, "attr009") or "",
            _need_integer(told, "attr017"),
        )


@dataclass(frozen=True, slots=True)
class ReplayStop(Message):
    """Stop replaying a recording."""

    command: ClassVar[Command] = Command.REPLAY_STOP
    channel: int
    file_name: str
    handle: int

    def encode(self) -> bytes:
        """The payload."""
        told = {"attr001": self.channel, "attr007": self.file_name, "attr004": self.handle}
        return xml.build({"Param006": {"attr001": told}})

    @classmethod
    def decode(cls, payload: bytes) -> "ReplayStop":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param006", "attr001")
        return cls(_need_integer(told, "attr001"), xml.text(told, "attr007") or "", _need_integer(told, "attr004"))


@dataclass(frozen=True, slots=True)
class ReplaySeek(Message):
    """Go to a time of a recording; `sequence` grows by 1024 from 1024."""

    command: ClassVar[Command] = Command.REPLAY_SEEK
    channel: int
    handle: int
    sequence: int
    to: datetime

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr001": self.channel,
            "attr004": self.handle,
            "attr003": self.sequence,
            "attr002": time_tree(self.to),
        }
        return xml.build({"Param008": told})

    @classmethod
    def decode(cls, payload: bytes) -> "ReplaySeek":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param008")
        channel, handle = _need_integer(told, "attr001"), _need_integer(told, "attr004")
        return cls(channel, handle, _need_integer(told, "attr003"), time_in(told, "attr002"))


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded file."""

    channel: int
    stream_type: str
    file_name: str
    start: datetime
    end: datetime

    def tree(self) -> dict[str, Any]:
        """Its element."""
        return {
            "attr001": self.channel,
            "attr002": self.stream_type,
            "attr007": self.file_name,
            "attr012": time_tree(self.start),
            "attr013": time_tree(self.end),
        }

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Recording":
        """From its element."""
        return cls(
            _need_integer(node, "attr001"),
            xml.text(node, "attr002") or "",
            xml.text(node, "attr007") or "",
            time_in(node, "attr012"),
            time_in(node, "attr013"),
        )


@dataclass(frozen=True, slots=True)
class FindFiles(Message):
    """Ask for recordings between two times."""

    command: ClassVar[Command] = Command.FIND_FILES
    channel: int
    stream_type: str
    start: datetime
    end: datetime

    def encode(self) -> bytes:
        """The payload."""
        told = {
            "attr001": self.channel,
            "attr002": self.stream_type,
            "attr008": "all",
            "attr012": time_tree(self.start),
            "attr013": time_tree(self.end),
        }
        return xml.build({"Param006": {"attr001": told}})

    @classmethod
    def decode(cls, payload: bytes) -> "FindFiles":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param006", "attr001")
        start, end = time_in(told, "attr012"), time_in(told, "attr013")
        return cls(_need_integer(told, "attr001"), xml.text(told, "attr002") or "", start, end)


@dataclass(frozen=True, slots=True)
class Files(Message):
    """Up to 40 recordings; `total` counts all that match, None when the device does not say."""

    command: ClassVar[Command] = Command.FIND_FILES
    total: int | None
    recordings: tuple[Recording, ...] = field(default=())

    def encode(self) -> bytes:
        """The payload."""
        tree: dict[str, Any] = {"attr002": self.total}
        if self.recordings:
            tree["Param006"] = {"attr001": [each.tree() for each in self.recordings]}
        return xml.build(tree)

    @classmethod
    def decode(cls, payload: bytes) -> "Files":
        """Parse the payload."""
        tree = xml.parse(payload)
        found = xml.items(tree, "Param006", "attr001")
        return cls(xml.integer(tree, "attr002"), tuple(Recording.of(each) for each in found))


@dataclass(frozen=True, slots=True)
class FileInfo(Message):
    """Ask whether a recording exists."""

    command: ClassVar[Command] = Command.FILE_INFO
    channel: int
    file_name: str

    def encode(self) -> bytes:
        """The payload."""
        return xml.build({"Param006": {"attr001": {"attr001": self.channel, "attr007": self.file_name}}})

    @classmethod
    def decode(cls, payload: bytes) -> "FileInfo":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param006", "attr001")
        return cls(_need_integer(told, "attr001"), xml.text(told, "attr007") or "")


@dataclass(frozen=True, slots=True)
class FileInfoReply(Message):
    """Whether it exists: the channel, or None."""

    command: ClassVar[Command] = Command.FILE_INFO
    channel: int | None

    def encode(self) -> bytes:
        """The payload."""
        told = {} if self.channel is None else {"Param006": {"attr001": {"attr001": self.channel}}}
        return xml.build(told)

    @classmethod
    def decode(cls, payload: bytes) -> "FileInfoReply":
        """Parse the payload."""
        return cls(xml.integer(xml.parse(payload), "Param006", "attr001", "attr001"))


@dataclass(frozen=True, slots=True)
class CalendarGet(Message):
    """Ask which days of a month have recordings."""

    command: ClassVar[Command] = Command.CALENDAR
    channels: tuple[int, ...]
    year: int
    month: int

    def encode(self) -> bytes:
        """The payload."""
        last = calendar.monthrange(self.year, self.month)[1]
        told = {
            "attr001": time_tree(datetime(self.year, self.month, 1)),
            "attr002": time_tree(datetime(self.year, self.month, last, 23, 59, 59)),
            "attr003": {"attr001": [{"attr003": each, "attr001": each} for each in self.channels]},
        }
        return xml.build({"Param009": told})

    @classmethod
    def decode(cls, payload: bytes) -> "CalendarGet":
        """Parse the payload."""
        told = xml.child(xml.parse(payload), "Param009")
        start = time_in(told, "attr001")
        channels = tuple(_need_integer(each, "attr001") for each in xml.items(told, "attr003", "attr001"))
        return cls(channels, start.year, start.month)


@dataclass(frozen=True, slots=True)
class Calendar(Message):
    """Days of the month (1..31) with recordings, by channel; absent elements mean none (discrepancies C3.10)."""

    command: ClassVar[Command] = Command.CALENDAR
    days: Mapping[int, tuple[int, ...]]

    def encode(self) -> bytes:
        """The payload."""
        entries = []
        for channel, days in self.days.items():
            entry: dict[str, Any] = {"attr001": channel}
            if days:
                entry["attr002"] = {"attr001": [{"attr001": day - 1} for day in days]}
            entries.append(entry)
        return xml.build({"Param009": {"attr003": {"attr001": entries}}})

    @classmethod
    def decode(cls, payload: bytes) -> "Calendar":
        """Parse the payload."""
        days: dict[int, tuple[int, ...]] = {}
        for entry in xml.items(xml.parse(payload), "Param009", "attr003", "attr001"):
            indexes = (xml.integer(each, "attr001") for each in xml.items(entry, "attr002", "attr001"))
            channel = xml.integer(entry, "attr001")
            days[0 if channel is None else channel] = tuple(
                i + 1 for i in indexes if i is not None and 0 <= i < 31
            )
        return cls(days)
