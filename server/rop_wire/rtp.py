"""RTP: packets, payload formats of H.264, H.265 and AAC in both directions, clocks.

Sources: ROP v1.0 wire specification, client-api 3.4; RFC 3550, RFC 6184, RFC 7798, RFC 3640. Each track has its
own sequence and SSRC, the marker stands on the last packet of an access unit only (discrepancies C4.2, C4.3).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.nal import Codec

VIDEO_PAYLOAD_TYPE = 96
AUDIO_PAYLOAD_TYPE = 97
VIDEO_CLOCK = 90_000
HEADER_LENGTH = 12
# A NAL unit is cut into pieces of this length; with headers a packet stays below 1460 bytes.
PIECE = 1420
MAX_AU = 8191

_HEADER = struct.Struct(">BBHII")
_H264_FU_A, _H264_STAP_A = 28, 24
_H265_FU, _H265_AP = 49, 48
_START, _END = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet. Sequence, timestamp and SSRC are taken modulo their width."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def encode(self) -> bytes:
        """The bytes: version 2, no padding, extension or contributors."""
        return (
            _HEADER.pack(
                0x80,
                (0x80 if self.marker else 0) | (self.payload_type & 0x7F),
                self.sequence & 0xFFFF,
                self.timestamp & 0xFFFFFFFF,
                self.ssrc & 0xFFFFFFFF,
            )
            + self.payload
        )

    @classmethod
    def decode(cls, data: bytes) -> "RtpPacket":
        """Parse a packet; padding, extension and contributors are removed. Raises ProtocolError."""
        if len(data) < HEADER_LENGTH or data[0] >> 6 != 2:
            raise ProtocolError("not an RTP packet")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        start, end = HEADER_LENGTH + 4 * (first & 0x0F), len(data)
        if first & 0x10:
            if end < start + 4:
                raise ProtocolError("RTP extension beyond the packet")
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        if first & 0x20:
            end -= data[-1]
            if data[-1] == 0:
                raise ProtocolError("RTP padding of no bytes")
        if start > end:
            raise ProtocolError("RTP header beyond the packet")
        return cls(second & 0x7F, sequence, timestamp, ssrc, data[start:end], bool(second & 0x80))


def sequence_delta(later: int, earlier: int) -> int:
    """Signed distance of two 16-bit sequence numbers, -32768..32767."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(later: int, earlier: int) -> int:
    """Signed distance of two 32-bit timestamps."""
    return ((later - earlier + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Track:
    """Numbers the packets of one track and counts them for sender reports."""

    __slots__ = ("octets", "packets", "payload_type", "sequence", "ssrc")

    def __init__(self, payload_type: int, ssrc: int, sequence: int) -> None:
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF
        self.packets = 0
        self.octets = 0

    def wrap(self, payloads: Iterable[bytes], timestamp: int) -> list[RtpPacket]:
        """Packets of one access unit; the last one carries the marker."""
        every = list(payloads)
        packets = []
        for number, payload in enumerate(every, 1):
            packets.append(
                RtpPacket(
                    self.payload_type,
                    self.sequence,
                    timestamp & 0xFFFFFFFF,
                    self.ssrc,
                    payload,
                    number == len(every),
                )
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
            self.packets += 1
            self.octets += len(payload)
        return packets

    def pack(self, payloads: Sequence[bytes], timestamp: int) -> list[bytes]:
        """As `wrap`, as bytes: what a relay sends."""
        kind, sequence = self.payload_type & 0x7F, self.sequence
        last = len(payloads) - 1
        packets = []
        for number, payload in enumerate(payloads):
            mark = kind | 0x80 if number == last else kind
            packets.append(_HEADER.pack(0x80, mark, sequence, timestamp & 0xFFFFFFFF, self.ssrc) + payload)
            sequence = (sequence + 1) & 0xFFFF
            self.octets += len(payload)
        self.sequence = sequence
        self.packets += len(packets)
        return packets


def video_payloads(codec: Codec, units: Iterable[bytes]) -> list[bytes]:
    """Payloads of the NAL units of one access unit: single NAL unit packets and fragments."""
    header = 1 if codec is Codec.H264 else 2
    payloads: list[bytes] = []
    for unit in units:
        if len(unit) < header:
            continue
        # With its 4-byte start code a unit that travels alone has at most a piece.
        if len(unit) + 4 <= PIECE:
            payloads.append(unit)
        else:
            payloads += _fragments(codec, unit, header)
    return payloads


def _fragments(codec: Codec, unit: bytes, header: int) -> list[bytes]:
    if codec is Codec.H264:
        indicator = bytes([unit[0] & 0xE0 | _H264_FU_A])
        kind = unit[0] & 0x1F
    else:
        indicator = bytes([unit[0] & 0x81 | _H265_FU << 1, unit[1]])
        kind = unit[0] >> 1 & 0x3F
    pieces = []
    for start in range(0, len(unit), PIECE):
        flags = (_START if start == 0 else 0) | (_END if start + PIECE >= len(unit) else 0)
        body = unit[max(start, header) : start + PIECE]
        pieces.append(indicator + bytes([flags | kind]) + body)
    return pieces


def audio_payload(frame: bytes) -> bytes:
    """Payload of one AAC frame without its ADTS header (AAC-hbr, one AU). Raises EncodeError above 8191 bytes."""
    if len(frame) > MAX_AU:
        raise EncodeError(f"an AAC frame has at most {MAX_AU} bytes")
    return b"\x00\x10" + (len(frame) << 3).to_bytes(2, "big") + frame


def audio_frames(payload: bytes) -> list[bytes]:
    """The AAC frames of a payload (AAC-hbr). Raises ProtocolError."""
    bits = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or bits % 16 or len(payload) < 2 + bits // 8:
        raise ProtocolError("AU headers beyond the packet")
    sizes = [int.from_bytes(payload[at : at + 2], "big") >> 3 for at in range(2, 2 + bits // 8, 2)]
    frames, offset = [], 2 + bits // 8
    for size in sizes:
        if offset + size > len(payload):
            raise ProtocolError("AAC frame beyond the packet")
        frames.append(payload[offset : offset + size])
        offset += size
    return frames


class VideoAssembler:
    """Puts access units together from the packets of one video track.

    Feed packets in arrival order. A gap in the sequence, a broken fragment or a unit above `max_unit` bytes drops
    the access unit it lies in; `lost` counts those.
    """

    __slots__ = ("_broken", "_codec", "_expected", "_fragment", "_max", "_size", "_timestamp", "_units", "lost")

    def __init__(self, codec: Codec, max_unit: int = 8 * 1024 * 1024) -> None:
        self._codec = codec
        self._max = max_unit
        self._expected: int | None = None
        self._timestamp: int | None = None
        self._units: list[bytes] = []
        self._fragment: bytearray | None = None
        self._size = 0
        self._broken = False
        self.lost = 0

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished access unit."""
        return self._size

    def feed(self, packet: RtpPacket) -> list[bytes] | None:
        """The NAL units of an access unit that this packet completes, else None. Never raises."""
        gap = self._expected is not None and packet.sequence != self._expected
        self._expected = (packet.sequence + 1) & 0xFFFF
        if self._timestamp != packet.timestamp:
            if self._units or self._fragment is not None or self._broken:  # the end of the last one is missing
                self.lost += 1
                self._reset()
            self._timestamp = packet.timestamp
        # A gap before a new access unit may have swallowed its beginning, too.
        self._broken = self._broken or gap
        if not self._broken:
            self._size += len(packet.payload)
            try:
                self._take(packet.payload)
            except ProtocolError:
                self._broken = True
            if self._size > self._max:
                self._broken = True
        if self._broken:
            self._units, self._fragment, self._size = [], None, 0
        if not packet.marker:
            return None
        units, broken = self._units, self._broken or self._fragment is not None
        self._reset()
        if broken:
            self.lost += 1
            return None
        return units

    def _reset(self) -> None:
        self._units, self._fragment, self._size, self._broken = [], None, 0, False

    def _take(self, payload: bytes) -> None:
        header = 1 if self._codec is Codec.H264 else 2
        if len(payload) <= header:
            raise ProtocolError("payload without content")
        kind = payload[0] & 0x1F if self._codec is Codec.H264 else payload[0] >> 1 & 0x3F
        fragment, aggregate, known = (
            (_H264_FU_A, _H264_STAP_A, 24) if self._codec is Codec.H264 else (_H265_FU, _H265_AP, 48)
        )
        if kind == fragment:
            self._take_fragment(payload, header)
        elif self._fragment is not None:
            raise ProtocolError("a fragment is not finished")
        elif kind == aggregate:
            self._take_aggregate(payload[header:])
        elif kind < known:
            self._units.append(payload)
        else:
            raise ProtocolError(f"packet type {kind}")

    def _take_fragment(self, payload: bytes, header: int) -> None:
        flags, body = payload[header], payload[header + 1 :]
        if flags & _START:
            if self._codec is Codec.H264:
                start = bytes([payload[0] & 0xE0 | flags & 0x1F])
            else:
                start = bytes([payload[0] & 0x81 | (flags & 0x3F) << 1, payload[1]])
            if self._fragment is not None:
                raise ProtocolError("a fragment is not finished")
            self._fragment = bytearray(start)
        if self._fragment is None:
            raise ProtocolError("fragment without its start")
        self._fragment += body
        if flags & _END:
            self._units.append(bytes(self._fragment))
            self._fragment = None

    def _take_aggregate(self, data: bytes) -> None:
        while data:
            size = int.from_bytes(data[:2], "big")
            if size == 0 or len(data) < 2 + size:
                raise ProtocolError("aggregate beyond the packet")
            self._units.append(data[2 : 2 + size])
            data = data[2 + size :]


class VideoClock:
    """RTP time of video frames from the camera's microseconds.

    The first frame is time 0. Cameras may count in the low 32 bits only, and may go back a little: the result is
    taken modulo 2^32 and never fails (discrepancies C4.7).
    """

    __slots__ = ("_elapsed", "_last", "base")

    def __init__(self, base: int) -> None:
        self.base = base
        self._last: int | None = None
        self._elapsed = 0

    def elapsed(self, microseconds: int) -> int:
        """Microseconds since the first frame; below zero for one that lies before it."""
        if self._last is not None:
            step = microseconds - self._last
            if step < -(2**31) and self._last < 2**32:
                step += 2**32
            self._elapsed += step
        self._last = microseconds
        return self._elapsed

    def timestamp(self, microseconds: int) -> int:
        """The RTP timestamp, fraction cut."""
        return (self.base + self.elapsed(microseconds) * (VIDEO_CLOCK // 1000) // 1000) & 0xFFFFFFFF


class AudioClock:
    """RTP time of AAC frames: a sample counter, set once by the video and again when it falls behind.

    Source: discrepancies C4.5. One tick is one sample; a frame has 1024.
    """

    __slots__ = ("_count", "_rate", "_tolerance", "base")

    def __init__(self, base: int, sample_rate: int = 16_000, tolerance: int = 8) -> None:
        self.base = base
        self._rate = sample_rate
        self._tolerance = tolerance
        self._count: int | None = None

    def timestamp(self, video_elapsed: int) -> int:
        """The RTP timestamp of the next frame. `video_elapsed`: microseconds of the last video frame."""
        due = -(-video_elapsed * self._rate // (1024 * 1_000_000))
        following = 1 if self._count is None else self._count + 1
        behind = due - following > (0 if self._count is None else self._tolerance)
        self._count = due if behind else following
        return (self.base + 1024 * self._count) & 0xFFFFFFFF


def interleave(channel: int, packet: bytes) -> bytes:
    """A packet for the RTSP connection: `$`, channel, length, packet. Raises EncodeError."""
    if not 0 <= channel <= 255 or len(packet) > 0xFFFF:
        raise EncodeError("channel or packet too large to interleave")
    return b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet
