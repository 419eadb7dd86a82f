"""Frames of a camera as RTP packets, made once for every viewer.

Source: ROP v1.0 wire specification, client-api 3.4; discrepancies C4.2, C4.3, C4.5, C4.7.
"""

from __future__ import annotations

import secrets

from rop_wire.errors import WireError
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import AdtsFrame, parameter_sets, parse_adts, split_nal_units
from rop_wire.rtp import (
    AUDIO_PAYLOAD_TYPE,
    VIDEO_CLOCK,
    VIDEO_PAYLOAD_TYPE,
    AudioClock,
    Track,
    VideoClock,
    audio_payload,
    video_payloads,
)
from rop_wire.sdp import AudioFormat

VIDEO, AUDIO = 0, 1
_RANDOM_BASE = 1_000_000
_RANDOM_SEQUENCE = 10_000
_DEFAULT_RATE = 25


class MediaFrame:
    """One frame ready to send: RTP packets of one track, `VIDEO` or `AUDIO`.

    `time`: microseconds since the stream's first frame; `octets`: RTP payload bytes.
    """

    __slots__ = ("_joined", "key", "octets", "packets", "sequence", "time", "timestamp", "track")

    def __init__(
        self, track: int, key: bool, packets: list[bytes], sequence: int, timestamp: int, time: int
    ) -> None:
        self.track = track
        self.key = key
        self.packets = packets
        self.sequence = sequence
        self.timestamp = timestamp
        self.time = time
        self.octets = sum(map(len, packets)) - 12 * len(packets)
        self._joined: tuple[int, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes it takes in memory and, about, on the wire."""
        return self.octets + 16 * len(self.packets)

    def interleaved(self, channel: int) -> bytes:
        """Every packet for a channel of an RTSP connection, one buffer. Kept until `release`."""
        if self._joined is None or self._joined[0] != channel:
            prefix = bytes((0x24, channel))
            parts: list[bytes] = []
            for packet in self.packets:
                parts.append(prefix + len(packet).to_bytes(2, "big"))
                parts.append(packet)
            self._joined = (channel, b"".join(parts))
        return self._joined[1]

    def release(self) -> None:
        """Every viewer has its buffer: forget the joined copy."""
        self._joined = None


class Packetizer:
    """RTP packets of one stream. `info` is the camera's start response.

    The RTP time goes on evenly where a recording jumps (`restart`).
    """

    def __init__(self, info: InfoBlock) -> None:
        self.info = info
        self.parameter_sets: tuple[bytes, ...] = ()
        self.audio: AudioFormat | None = None
        self.bad_audio = 0
        self.video_track = _track(VIDEO_PAYLOAD_TYPE)
        self.audio_track = _track(AUDIO_PAYLOAD_TYPE)
        self._video = VideoClock(secrets.randbelow(_RANDOM_BASE))
        self._audio_base = secrets.randbelow(_RANDOM_BASE)
        self._audio: AudioClock | None = None
        self._audio_rate = 0
        self._started = False
        self._elapsed = 0
        self._offset = 0

    @property
    def elapsed(self) -> int:
        """Media time of the last video frame, microseconds since the first."""
        return self._elapsed

    def timestamp(self, track: int, elapsed: int) -> int:
        """The RTP time of a media time."""
        if track == VIDEO:
            return (self._video.base + elapsed * (VIDEO_CLOCK // 1000) // 1000) & 0xFFFFFFFF
        return (self._audio_base + elapsed * self._audio_rate // 1_000_000) & 0xFFFFFFFF

    def restart(self) -> None:
        """The next frame comes from another place of the recording: time goes on one frame later."""
        if self._started:
            self._offset = self._elapsed + 1_000_000 // (self.info.frame_rate or _DEFAULT_RATE)
            self._video = VideoClock(self._video.base)

    def next_time(self) -> int:
        """The media time the next frame will have after `restart`."""
        return self._offset if self._started else 0

    def pack(self, frame: Frame) -> list[MediaFrame]:
        """What to send for a frame; nothing before the first key frame and for audio that is no AAC."""
        if frame.kind is FrameKind.AUDIO:
            return self._pack_audio(frame.payload) if self._started else []
        key = frame.kind is FrameKind.KEY
        if not (key or self._started):
            return []
        self._started = True
        codec = self.info.codec
        units = split_nal_units(frame.payload)
        if key:
            self.parameter_sets = parameter_sets(codec, units) or self.parameter_sets
        payloads = video_payloads(codec, units)
        if not payloads:
            return []
        self._elapsed = self._offset + self._video.elapsed(frame.timestamp or 0)
        stamp = self.timestamp(VIDEO, self._elapsed)
        first = self.video_track.sequence
        packets = self.video_track.pack(payloads, stamp)
        return [MediaFrame(VIDEO, key, packets, first, stamp, self._elapsed)]

    def _pack_audio(self, payload: bytes) -> list[MediaFrame]:
        try:
            return [self._audio_frame(each) for each in parse_adts(payload)]
        except WireError:
            self.bad_audio += 1
            return []

    def _audio_frame(self, frame: AdtsFrame) -> MediaFrame:
        if self._audio is None:
            self._audio_rate = frame.sample_rate
            self._audio = AudioClock(self._audio_base, frame.sample_rate)
            self.audio = AudioFormat(frame.sample_rate, frame.channels, frame.config)
        stamp = self._audio.timestamp(max(0, self._elapsed))
        first = self.audio_track.sequence
        packets = self.audio_track.pack([audio_payload(frame.data)], stamp)
        return MediaFrame(AUDIO, False, packets, first, stamp, self._elapsed)


def _track(payload_type: int) -> Track:
    return Track(payload_type, secrets.randbits(32), secrets.randbelow(_RANDOM_SEQUENCE))
