"""Streams without sockets: what is kept, for whom, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_server.media import relay as relays
from rop_server.media import stream as streams
from rop_server.media import viewer as viewers
from rop_server.media.packets import AUDIO, VIDEO, MediaFrame, Packetizer
from rop_server.media.relay import Relay
from rop_server.media.stream import Stream
from rop_server.media.viewer import Viewer
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import AdtsFrame, Codec, join_nal_units
from rop_wire.rtp import RtpPacket, VideoAssembler

INFO = InfoBlock(25, Codec.H264)
SOUND = AdtsFrame(2, 16000, 1, b"\x01" * 60).encode()


class Eye(Viewer):
    """Collects what it is sent; `stuck` bytes wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[MediaFrame] = []
        self.stuck = 0
        self.reason = ""

    def backlog(self) -> int:
        return self.stuck

    def send(self, frame: MediaFrame) -> None:
        self.seen.append(frame)

    def ended(self, reason: str) -> None:
        self.reason = reason

    def pictures(self) -> list[bytes]:
        """Access units, with their numbers checked."""
        reader = VideoAssembler(Codec.H264)
        found = []
        for frame in self.seen:
            for packet in frame.packets if frame.track == VIDEO else ():
                units = reader.feed(RtpPacket.decode(packet))
                if units is not None:
                    found.append(join_nal_units(units))
        return found


def picture(number: int, key: bool, size: int = 3000) -> Frame:
    """A frame with a recognisable slice."""
    body = join_nal_units([b"\x67\x42\xc0\x14\xda", b"\x68\xce\x3c\x80"]) if key else b""
    body += join_nal_units(
        [(b"\x65" if key else b"\x41") + number.to_bytes(4, "big").hex().encode() + b"\xaa" * size]
    )
    return Frame(FrameKind.KEY if key else FrameKind.PREDICTED, body, number * 40_000, Codec.H264)


def made(recording: bool = False) -> Stream:
    stream = Stream("U", 7, recording, lambda: 0.0, lambda *_: None)
    stream.begin(INFO)
    return stream


def feed(stream: Stream, *frames: Frame, status: int = 200) -> None:
    for frame in frames:
        stream.feed(frame.encode(), status, "carrier")


def test_nothing_before_the_first_key_frame() -> None:
    stream, eye = made(), Eye()
    stream.add(eye)
    feed(stream, picture(0, False), Frame(FrameKind.AUDIO, SOUND), picture(1, True), Frame(FrameKind.AUDIO, SOUND))
    assert [(each.track, each.key) for each in eye.seen] == [(VIDEO, True), (AUDIO, False)]


def test_sound_that_is_no_adts_is_dropped() -> None:
    stream, eye = made(), Eye()
    stream.add(eye)
    feed(stream, picture(0, True))
    packetizer = stream.packetizer
    assert packetizer is not None
    assert packetizer.pack(Frame(FrameKind.AUDIO, b"\xff\xf1\x00")) == []
    assert packetizer.bad_audio == 1


def test_late_viewer_begins_with_the_last_key_frame() -> None:
    stream, eye = made(), Eye()
    frames = [picture(number, number % 5 == 0) for number in range(13)]
    feed(stream, *frames)
    stream.add(eye)
    assert eye.pictures() == [each.payload for each in frames[10:]]


def test_group_too_large_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CACHE_LIMIT", 10_000)
    stream, eye = made(), Eye()
    feed(stream, *(picture(number, number == 0) for number in range(20)))
    assert stream.cached() == []
    stream.add(eye)
    feed(stream, picture(20, False), picture(21, True))
    assert [each.key for each in eye.seen] == [True]


def test_end_of_file_ends_recordings_only() -> None:
    live, eye = made(), Eye()
    live.add(eye)
    feed(live, picture(0, True), Frame(FrameKind.END))
    assert not live.over and not eye.reason
    recording, other = made(True), Eye()
    recording.add(other)
    feed(recording, Frame(FrameKind.END), picture(0, True), Frame(FrameKind.END))
    assert recording.over and other.reason == "end of recording"
    feed(recording, picture(1, True))
    assert len(other.seen) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=80))
def test_what_a_slow_viewer_sees_can_be_decoded(turns: list[tuple[bool, int]]) -> None:
    """Whatever is dropped: after a gap comes a key frame, and groups are without holes."""
    stream, eye = made(), Eye()
    stream.add(eye)
    for number, (key, stuck) in enumerate(turns):
        eye.stuck = stuck * viewers.BACKLOG_LIMIT // 4
        feed(stream, picture(number, key, 10))
    last: MediaFrame | None = None
    for frame in eye.seen:
        if last is None or frame.sequence != (last.sequence + len(last.packets)) & 0xFFFF:
            assert frame.key
        last = frame
    assert eye.waiting or eye.seen


@given(st.binary(max_size=4000), st.lists(st.integers(1, 400), max_size=20))
def test_any_bytes_never_raise(data: bytes, cuts: list[int]) -> None:
    stream, eye = made(True), Eye()
    stream.add(eye)
    good = picture(1, True).encode()
    for piece in [data[start : start + 100] for start in range(0, len(data), 100)]:
        stream.feed(piece, 0, "c")
    for cut in cuts:
        stream.feed(good[:cut], 0, "c")


def test_streams_of_the_relay(manual: Callable[[], Any]) -> None:
    clock = manual()
    relay = Relay(clock, lambda: 30.0)
    ends: list[str] = []
    one = relay.open("A", 1, False, ends.append)
    two = relay.open("A", 2, False, ends.append)
    for stream in (one, two):
        stream.begin(INFO)
    relay.received("left", "A", 1, False, 200, picture(0, True).encode())
    relay.received("right", "A", 2, False, 200, picture(0, True).encode())
    relay.received("left", "A", 3, False, 200, b"x")
    relay.received("left", "B", 1, False, 200, b"x")
    relay.received("left", "A", 1, True, 0, b"x")
    assert relay.unknown == 3
    relay.carrier_lost("left")
    assert ends == ["media connection lost"] and one.over and not two.over
    clock.now += 31
    relay.tick()
    assert ends[1:] == ["no media"] and not len(relay)
    assert relay.counts["frames"] == 2


def test_memory_is_shared_out(manual: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Many streams and viewers: each may keep less."""
    monkeypatch.setattr(relays, "CACHE_TOTAL", 40_000)
    monkeypatch.setattr(relays, "BACKLOG_TOTAL", 40_000)
    relay = Relay(manual(), lambda: 30.0)
    opened = [relay.open("A", number, False, lambda _: None) for number in range(4)]
    eyes = [Eye() for _ in opened]
    for stream, eye in zip(opened, eyes, strict=True):
        stream.begin(INFO)
        stream.add(eye)
    relay.tick()
    feed(opened[0], picture(0, True), picture(1, False), picture(2, False))
    assert len(opened[0].cached()) == 3
    feed(opened[0], picture(3, False), picture(4, False))
    assert opened[0].cached() == []
    eyes[0].stuck = 10_001
    feed(opened[0], picture(5, False))
    assert eyes[0].waiting and opened[0].dropped == 1


@pytest.mark.parametrize("times", [[9_000_000, 8_000_000, 0], [2**32 - 40_000, 0, 40_000], [2**64 - 1, 5, 7]])
def test_time_that_goes_back_hurts_nobody(times: list[int]) -> None:
    """C4.7."""
    stream, eye = made(), Eye()
    stream.add(eye)
    feed(stream, *(replace(picture(number, True), timestamp=time) for number, time in enumerate(times)))
    assert len(eye.pictures()) == len(times)
    assert all(0 <= each.timestamp < 2**32 for each in eye.seen)


def test_frame_beyond_the_limit_is_passed_over() -> None:
    """C4.20: 8 MiB; the next frame is found again."""
    stream, eye = made(), Eye()
    stream.add(eye)
    large = picture(1, True).encode()
    large = large[:8] + (9 * 1024 * 1024).to_bytes(4, "little") + large[12:]
    feed(stream, picture(0, True))
    stream.feed(large, 200, "carrier")
    for _ in range(3):
        stream.feed(b"\xaa" * 30_000, 200, "carrier")
    feed(stream, picture(2, True))
    assert eye.pictures() == [picture(0, True).payload, picture(2, True).payload]


def test_packetizer_goes_on_evenly_over_a_jump() -> None:
    packetizer = Packetizer(INFO)
    (first,) = packetizer.pack(picture(0, True))
    (second,) = packetizer.pack(picture(1, False))
    packetizer.restart()
    (third,) = packetizer.pack(picture(5000, True))
    assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == 3600
    assert (third.timestamp - second.timestamp) & 0xFFFFFFFF == 3600
