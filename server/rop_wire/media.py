"""Media byte streams of cameras: info block, frames, core packets that carry them.

Source: ROP v1.0 wire specification, device-protocol 11. Headers are checked, and a stream that lost its step is
found again (discrepancies C4.8); a frame has at most 8 MiB (C4.20).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.nal import START_CODE, Codec
from rop_wire.packet import REQUEST, Packet

INFO_LENGTH = 32
INFO_MINIMUM = 31
VIDEO_HEADER = 24
SHORT_HEADER = 8
MAX_FRAME = 8 * 1024 * 1024
MAX_EXTRA = 4096
PIECE_LENGTH = 32768

_INFO = struct.Struct("<4sIII2B6B6B2B")
_VIDEO = struct.Struct("<4s4sIIQ")
_AUDIO = struct.Struct("<4sHH")
_END = b"0\xff" + bytes(6)
_CODEC_WORDS = {Codec.H264: b"H264", Codec.H265: b"H265"}
_WORD_CODECS = {word: codec for codec, word in _CODEC_WORDS.items()}
# Where a lost stream can be found again: the marks the family's cameras write.
_MARK = re.compile(rb"0[01]dcH26[45]|05wb|0\xff\x00\x00\x00\x00\x00\x00", re.DOTALL)
_MARK_LENGTH = 8


class FrameKind(IntEnum):
    """The byte at offset 1 of a frame header."""

    KEY = 0x30
    PREDICTED = 0x31
    AUDIO = 0x35
    END = 0xFF


_MARKS = {FrameKind.KEY: b"00dc", FrameKind.PREDICTED: b"01dc", FrameKind.AUDIO: b"05wb"}
_EXTENSION_WORDS = {FrameKind.KEY: "I", FrameKind.PREDICTED: "P", FrameKind.AUDIO: "A", FrameKind.END: "EOF"}


def _moment(at: datetime | None) -> tuple[int, ...]:
    if at is None:
        return (0,) * 6
    return (at.year - 1900, at.month, at.day, at.hour, at.minute, at.second)


def _told_moment(parts: bytes) -> datetime | None:
    """The time in six bytes; None when they are no time (the fields are optional)."""
    if not any(parts):
        return None
    try:
        return datetime(1900 + parts[0], *parts[1:])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class InfoBlock:
    """Payload of a start response. `frame_rate` in frames per second; `start`, `end` where a camera tells them."""

    frame_rate: int
    codec: Codec
    width: int = 0
    height: int = 0
    start: datetime | None = None
    end: datetime | None = None

    def encode(self) -> bytes:
        """32 bytes."""
        try:
            return _INFO.pack(
                b"1001",
                INFO_LENGTH,
                self.width,
                self.height,
                0,
                self.frame_rate,
                *_moment(self.start),
                *_moment(self.end),
                self.codec,
                0,
            )
        except struct.error:
            raise EncodeError("a field of the info block is out of its range") from None

    @classmethod
    def decode(cls, payload: bytes) -> "InfoBlock":
        """The block; size of the picture is not read. ProtocolError below 31 bytes or for another codec (C4.6)."""
        if len(payload) < INFO_MINIMUM:
            raise ProtocolError(f"info block of {len(payload)} bytes")
        try:
            codec = Codec(payload[30])
        except ValueError:
            raise ProtocolError(f"unknown video codec {payload[30]}") from None
        start, end = _told_moment(payload[18:24]), _told_moment(payload[24:30])
        return cls(payload[17], codec, start=start, end=end)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `payload`: access unit in Annex B, one ADTS frame, or nothing for the end of the file.

    `timestamp` in microseconds (video only); `extra`: bytes before the payload, on key frames often the capture
    time; `codec` None when the header does not tell.
    """

    kind: FrameKind
    payload: bytes = b""
    timestamp: int | None = None
    codec: Codec | None = None
    extra: bytes = b""

    @property
    def capture_time(self) -> int | None:
        """Epoch seconds told by the camera."""
        return int.from_bytes(self.extra, "little") if len(self.extra) == 4 else None

    @property
    def is_video(self) -> bool:
        """Whether it is a key or predicted frame."""
        return self.kind in (FrameKind.KEY, FrameKind.PREDICTED)

    def encode(self) -> bytes:
        """Header, payload and padding. Raises EncodeError for a frame too long."""
        if self.kind is FrameKind.END:
            return _END
        padding = bytes(-len(self.payload) % 8)
        if self.kind is FrameKind.AUDIO:
            if len(self.payload) > 0xFFFF:
                raise EncodeError("audio frame too long")
            head = _AUDIO.pack(_MARKS[self.kind], len(self.payload), len(self.payload))
            return head + self.payload + padding
        if len(self.payload) > MAX_FRAME or len(self.extra) > MAX_EXTRA:
            raise EncodeError("video frame too long")
        word = _CODEC_WORDS[self.codec if self.codec is not None else Codec.H264]
        time = (self.timestamp or 0) & (2**64 - 1)
        head = _VIDEO.pack(_MARKS[self.kind], word, len(self.payload), len(self.extra), time)
        return head + self.extra + self.payload + padding

    def packets(self, handle: int, replay: bool = False, status: int | None = None) -> Iterator[Packet]:
        """The core packets that carry the frame; the first has an extension that names its kind.

        `status`: 200 for live; for a replay the sequence of the last seek, 0 before any.
        """
        data = self.encode()
        command = Command.REPLAY_START if replay else Command.LIVE_START
        code = (0 if replay else 200) if status is None else status
        extension = xml.build({"frame_type": _EXTENSION_WORDS[self.kind]}, "Extension")
        for start in range(0, len(data), PIECE_LENGTH):
            yield Packet(REQUEST, command, handle, code, data[start : start + PIECE_LENGTH], extension)
            extension = b""


@dataclass(slots=True)
class _Layout:
    """Where the parts of the frame at the head of the buffer lie. `kind` None: skip it."""

    kind: FrameKind | None
    header: int
    extra: int
    payload: int

    @property
    def total(self) -> int:
        return self.header + self.extra + self.payload + -self.payload % 8


class FrameParser:
    """Collects frames from a byte stream split anywhere; never raises.

    Holds at most one unfinished frame. `skipped` counts bytes that belonged to no frame. Frames of kinds that do
    not belong into the stream (ADPCM, info) are dropped.
    """

    __slots__ = ("_buffer", "_layout", "_lost", "_max_frame", "skipped")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._layout: _Layout | None = None
        self._lost = False
        self.skipped = 0

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Complete frames after these bytes."""
        self._buffer += data
        frames: list[Frame] = []
        while (self._layout is not None or self._read_header()) and self._take(frames):
            pass
        return frames

    def _take(self, frames: list[Frame]) -> bool:
        layout = self._layout
        if layout is None:
            return False
        if not self._plausible(layout):
            self._lose()
            return True
        if len(self._buffer) < layout.total:
            return False
        frame = self._frame(layout)
        if frame is not None:
            frames.append(frame)
        else:
            self.skipped += layout.total
        del self._buffer[: layout.total]
        self._layout = None
        return True

    def _plausible(self, layout: _Layout) -> bool:
        """Whether the head of the payload fits: video begins with a start code, audio with ADTS' sync word."""
        start = layout.header + layout.extra
        head = bytes(self._buffer[start : start + min(4, layout.payload)])
        if layout.kind in (FrameKind.KEY, FrameKind.PREDICTED):
            return START_CODE.startswith(head) or head.startswith(START_CODE[1:])
        if layout.kind is FrameKind.AUDIO:
            return len(head) < 2 or (head[0] == 0xFF and head[1] & 0xF6 == 0xF0)
        return True

    def _frame(self, layout: _Layout) -> Frame | None:
        """The frame; None for one to skip."""
        if layout.kind is None:
            return None
        if layout.kind is FrameKind.END:
            return Frame(FrameKind.END)
        start = layout.header + layout.extra
        payload = bytes(self._buffer[start : start + layout.payload])
        if layout.kind is FrameKind.AUDIO:
            return Frame(FrameKind.AUDIO, payload)
        _, word, _, _, timestamp = _VIDEO.unpack_from(self._buffer)
        extra = bytes(self._buffer[layout.header : start])
        return Frame(layout.kind, payload, timestamp, _WORD_CODECS.get(word), extra)

    def _read_header(self) -> bool:
        """Find the layout of the next frame; False when more bytes are needed."""
        while len(self._buffer) >= SHORT_HEADER:
            if self._lost and not self._search():
                return False
            if len(self._buffer) < SHORT_HEADER or (
                self._buffer[1] in (0x30, 0x31) and len(self._buffer) < VIDEO_HEADER
            ):
                return False
            self._layout = self._layout_here()
            if self._layout is not None:
                return True
            self._lose()
        return False

    def _layout_here(self) -> _Layout | None:
        mark, kind = bytes(self._buffer[:4]), self._buffer[1]
        first, second = struct.unpack_from("<HH", self._buffer, 4)
        if mark in (b"1001", b"1002"):
            return _Layout(None, INFO_LENGTH, 0, 0) if first == INFO_LENGTH and second == 0 else None
        if mark == b"01wb":
            return _Layout(None, SHORT_HEADER, 0, first) if first == second else None
        if kind in (FrameKind.KEY, FrameKind.PREDICTED):
            _, _, payload, extra, _ = _VIDEO.unpack_from(self._buffer)
            if not 0 < payload <= self._max_frame or extra > MAX_EXTRA:
                return None
            return _Layout(FrameKind(kind), VIDEO_HEADER, extra, payload)
        if kind == FrameKind.AUDIO:
            return _Layout(FrameKind.AUDIO, SHORT_HEADER, 0, first) if first == second and first else None
        if kind == FrameKind.END:
            return _Layout(FrameKind.END, SHORT_HEADER, 0, 0) if first == 0 else None
        return None

    def _lose(self) -> None:
        """The bytes at the head are no frame: go on one byte further, looking for a mark."""
        self._lost = True
        self._layout = None
        self.skipped += 1
        del self._buffer[:1]

    def _search(self) -> bool:
        found = _MARK.search(self._buffer)
        # A mark may have begun in the last bytes.
        drop = found.start() if found else max(0, len(self._buffer) - (_MARK_LENGTH - 1))
        self.skipped += drop
        del self._buffer[:drop]
        self._lost = found is None
        return found is not None
