"""Media of any bytes, split anywhere: frames, RTP, RTCP; round trips, bounded memory and work."""

import contextlib
import time
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rop_wire import rtcp
from rop_wire.errors import ProtocolError
from rop_wire.media import MAX_EXTRA, MAX_FRAME, VIDEO_HEADER, Frame, FrameKind, FrameParser, InfoBlock
from rop_wire.nal import AdtsFrame, Codec, join_nal_units, parse_adts, split_nal_units
from rop_wire.packet import PacketReader
from rop_wire.rtp import (
    RtpPacket,
    Track,
    VideoAssembler,
    audio_frames,
    audio_payload,
    sequence_delta,
    timestamp_delta,
    video_payloads,
)

CUTS = st.lists(st.integers(0, 8000), max_size=12)
ACCESS_UNITS = st.binary(min_size=1, max_size=200).map(lambda body: b"\x00\x00\x00\x01" + body)
VIDEO = st.builds(
    Frame,
    kind=st.sampled_from([FrameKind.KEY, FrameKind.PREDICTED]),
    payload=ACCESS_UNITS,
    timestamp=st.integers(0, 2**64 - 1),
    codec=st.sampled_from(Codec),
    extra=st.binary(max_size=8),
)
AUDIO = st.binary(max_size=100).map(lambda raw: Frame(FrameKind.AUDIO, AdtsFrame(2, 16_000, 1, raw).encode()))
FRAMES = st.lists(VIDEO | AUDIO | st.just(Frame(FrameKind.END)), max_size=6)
MARKS = st.sampled_from(
    [b"00dcH264", b"01dcH265", b"05wb", b"01wb", b"1001", b"0\xff" + bytes(6), b"00dcH264\xff\xff\xff\x7f"]
)
RUBBISH = st.lists(st.binary(max_size=60) | MARKS, max_size=8).map(b"".join)
# NAL units as encoders write them: no start code inside, no zero at the end, no type of RTP's own.
UNITS = st.lists(
    st.builds(
        lambda head, body: bytes([head, 1]) + body.replace(b"\0", b"\1") + b"\x80",
        st.sampled_from([0x02, 0x26, 0x40, 0x42, 0x44]),
        st.one_of(st.binary(max_size=60), st.binary(min_size=1400, max_size=5000)),
    ),
    min_size=1,
    max_size=4,
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[start:end] for start, end in pairwise(places))


@given(FRAMES, CUTS)
def test_frames_come_out_as_they_went_in(frames: list[Frame], cuts: list[int]) -> None:
    parser, found = FrameParser(), []
    for part in pieces(b"".join(each.encode() for each in frames), cuts):
        found += parser.feed(part)
    assert found == frames
    assert (parser.buffered, parser.skipped) == (0, 0)


@given(VIDEO, st.integers(0, 2**32 - 1), st.booleans())
def test_frames_travel_in_core_packets(frame: Frame, handle: int, replay: bool) -> None:
    parser, reader, found = FrameParser(), PacketReader(), []
    for packet in frame.packets(handle, replay):
        for each in reader.feed(packet.encode()):
            assert (each.request_id, each.command) == (handle, 5 if replay else 3)
            found += parser.feed(each.payload)
    assert found == [frame]


@given(RUBBISH, CUTS)
def test_any_media_bytes(data: bytes, cuts: list[int]) -> None:
    whole, parted = FrameParser(), FrameParser()
    expected = whole.feed(data)
    found = [frame for part in pieces(data, cuts) for frame in parted.feed(part)]
    assert found == expected
    assert (parted.buffered, parted.skipped) == (whole.buffered, whole.skipped)
    assert parted.buffered <= len(data)


@given(st.binary(max_size=60).filter(lambda data: b"0" not in data), VIDEO, CUTS)
def test_a_lost_stream_is_found_again(rubbish: bytes, frame: Frame, cuts: list[int]) -> None:
    parser, found = FrameParser(), []
    # A header that cannot be: what follows it is rubbish until the next mark.
    for part in pieces(b"\x7f\x7f" + rubbish + bytes(8) + frame.encode(), cuts):
        found += parser.feed(part)
    assert found[-1:] == [frame]
    assert parser.buffered == 0


def test_a_header_that_promises_much_holds_one_frame_at_most() -> None:
    parser = FrameParser()
    too_long = b"00dcH264" + (MAX_FRAME + 1).to_bytes(4, "little") + bytes(12)
    parser.feed(too_long + bytes(1000))
    assert parser.buffered < VIDEO_HEADER
    parser.feed(b"00dcH264" + b"\xff" * 8 + bytes(8) + bytes(1 << 20))
    assert parser.buffered < VIDEO_HEADER
    longest = Frame(FrameKind.KEY, b"\0\0\0\1" + bytes(MAX_FRAME - 4), 0, Codec.H264, bytes(MAX_EXTRA))
    assert parser.feed(longest.encode()[:-1]) == []
    assert parser.buffered < VIDEO_HEADER + MAX_EXTRA + MAX_FRAME + 8
    assert len(parser.feed(longest.encode()[-1:])) == 1


def test_headers_inside_headers_cost_no_more_than_their_bytes() -> None:
    """Each header promises 8 MiB and no payload begins as one must: none may be waited for or copied."""
    parser = FrameParser()
    header = b"00dcH264" + MAX_FRAME.to_bytes(4, "little") + bytes(4) + b"\xee" * 8
    begin = time.process_time()
    for _ in range(10):
        assert parser.feed(header * 40_000) == []
        assert parser.buffered < 1 << 16
    assert time.process_time() - begin < 20


@given(st.binary(max_size=64))
def test_any_info_block(payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert InfoBlock.decode(payload).codec in Codec


@given(st.integers(0, 255), st.sampled_from(Codec), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_info_blocks_survive(rate: int, codec: Codec, width: int, height: int) -> None:
    block = InfoBlock(rate, codec, width, height)
    assert len(block.encode()) == 32
    assert InfoBlock.decode(block.encode()) == InfoBlock(rate, codec)


@given(UNITS)
def test_access_units_survive(units: list[bytes]) -> None:
    assert split_nal_units(join_nal_units(units)) == units
    short = b"".join(b"\x00\x00\x01" + unit for unit in units)
    assert split_nal_units(short) == units


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_elementary_bytes(data: bytes, payload: bytes) -> None:
    assert all(b"\0\0\1" not in unit and unit for unit in split_nal_units(data))
    with contextlib.suppress(ProtocolError):
        assert sum(len(frame.data) for frame in parse_adts(data)) <= len(data)
    with contextlib.suppress(ProtocolError):
        audio_frames(data)
    with contextlib.suppress(ProtocolError):
        rtcp.packet_kinds(data)
    frame = AdtsFrame(2, 16_000, 1, payload)
    assert parse_adts(frame.encode() * 2) == [frame, frame]
    assert audio_frames(audio_payload(payload)) == [payload]


@given(st.binary(max_size=80))
def test_any_rtp_packet(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        packet = RtpPacket.decode(data)
        assert RtpPacket.decode(packet.encode()) == packet


@given(st.lists(UNITS, min_size=1, max_size=5), st.sampled_from(Codec), st.integers(0, 65535), st.data())
def test_access_units_arrive_whole_or_not_at_all(
    sent: list[list[bytes]], codec: Codec, first: int, data: st.DataObject
) -> None:
    track = Track(96, 7, first)
    packets = [p for at, units in enumerate(sent) for p in track.wrap(video_payloads(codec, units), at * 3000)]
    assert all(len(each.encode()) <= 1460 for each in packets)
    assert [each.sequence for each in packets] == [(first + at) % 65536 for at in range(len(packets))]
    assert [each.marker for each in packets].count(True) == len(sent)
    complete = VideoAssembler(codec)
    assert [units for p in packets if (units := complete.feed(p)) is not None] == sent
    assert (complete.lost, complete.buffered) == (0, 0)
    # Without some packets (the first is there): what arrives is as it was sent, in order.
    gone = data.draw(st.sets(st.integers(1, len(packets)), max_size=4))
    assembler = VideoAssembler(codec)
    kept = (p for at, p in enumerate(packets) if at not in gone)
    arrived = [units for p in kept if (units := assembler.feed(p)) is not None]
    following = iter(sent)
    assert all(units in following for units in arrived)


def test_a_gap_over_the_border_of_access_units_drops_both() -> None:
    """The end of one and the beginning of the next are missing: the rest of the next is not passed off as all."""
    track = Track(96, 7, 65534)
    every = [track.wrap([b"\x42\x01" + bytes([at, part]) for part in range(3)], at * 3000) for at in range(3)]
    assembler = VideoAssembler(Codec.H264)
    kept = [*every[0][:2], *every[1][1:], *every[2]]
    arrived = [units for packet in kept if (units := assembler.feed(packet)) is not None]
    assert arrived == [[b"\x42\x01\x02" + bytes([part]) for part in range(3)]]
    assert assembler.lost == 2


BYTE = st.integers(0, 255)
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda head, flags, body: bytes([head, flags]) + body, *[st.integers(0, 255)] * 2, st.binary(max_size=30)
    ),
)


@given(
    st.lists(
        st.builds(
            RtpPacket, st.just(96), st.integers(0, 20), st.integers(0, 3), st.just(1), PAYLOADS, st.booleans()
        )
    ),
    st.sampled_from(Codec),
)
def test_any_packets_in_any_order(packets: list[RtpPacket], codec: Codec) -> None:
    assembler = VideoAssembler(codec, max_unit=64)
    for packet in packets:
        units = assembler.feed(packet)
        assert units is None or sum(map(len, units)) <= 64
        assert assembler.buffered <= 64


@given(
    st.integers(0, 65535), st.integers(-32768, 32767), st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1)
)
def test_distances_wrap(sequence: int, step: int, timestamp: int, ticks: int) -> None:
    assert sequence_delta((sequence + step) % 2**16, sequence) == step
    assert timestamp_delta((timestamp + ticks) % 2**32, timestamp) == ticks
