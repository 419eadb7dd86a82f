"""RTSP, descriptions and play addresses: any bytes in any split, round trips, bounded memory."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_wire import nal, play_url, rtp, rtsp, sdp
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.nal import Codec

CUTS = st.lists(st.integers(0, 10_000), max_size=12)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[start:end] for start, end in pairwise(places))


# -- RTSP and descriptions ------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True).filter(
    lambda name: name.lower() != "content-length"
)
VALUES = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), max_size=30)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)
BODIES = st.binary(max_size=100)
REQUESTS = st.builds(
    rtsp.Request, st.sampled_from(rtsp.METHODS), st.just("rtsp://h:1/v1.0/live/a.b/track1"), HEADERS, BODIES
)
RESPONSES = st.builds(rtsp.Response, st.sampled_from(sorted(rtsp.REASONS)), HEADERS, BODIES, st.just("Fine"))
CHANNELS = st.builds(rtsp.Interleaved, st.integers(0, 255), st.binary(max_size=100))
MESSAGES = st.one_of(REQUESTS, RESPONSES, CHANNELS)


def wire(message: rtsp.Message) -> bytes:
    if isinstance(message, rtsp.Interleaved):
        return rtp.interleave(message.channel, message.data)
    return message.encode()


def shown(message: rtsp.Message) -> rtsp.Message:
    """As it is read: the length of the body is a header like any other."""
    if isinstance(message, rtsp.Interleaved) or not message.body:
        return message
    return type(message)(
        *(
            (message.method, message.url)  # type: ignore[arg-type]
            if isinstance(message, rtsp.Request)
            else (message.status,)
        ),
        (*message.headers, ("Content-Length", str(len(message.body)))),
        message.body,
        *(() if isinstance(message, rtsp.Request) else (message.reason,)),
    )


@given(st.lists(MESSAGES, max_size=6), CUTS)
def test_rtsp_round_trip(messages: list[rtsp.Message], cuts: list[int]) -> None:
    reader, found = rtsp.MessageReader(), []
    for part in pieces(b"".join(map(wire, messages)), cuts):
        found += reader.feed(part)
    assert found == [shown(each) for each in messages]
    assert reader.buffered == 0


RTSP_BYTES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        MESSAGES.map(wire),
        st.sampled_from(
            [
                b"PLAY rtsp://x RTSP/1.0\r\nContent-Length: ",
                b"PLAY * RTSP/1.0\ncseq:1\n\n",
                b"4294967295\r\n\r\n",
                b"$\x00\xff\xff",
                b"\r\n",
                b": \r\n",
            ]
        ),
    ),
    max_size=6,
).map(b"".join)


@given(RTSP_BYTES, CUTS)
def test_rtsp_of_any_bytes(data: bytes, cuts: list[int]) -> None:
    reader = rtsp.MessageReader(max_head=200, max_body=100)
    for part in pieces(data, cuts):
        try:
            reader.feed(part)
        except ProtocolError:
            assert reader.buffered == 0
            with pytest.raises(ProtocolError):
                reader.feed(b"")
            return
        assert reader.buffered <= 4 + 0xFFFF


@pytest.mark.parametrize(
    "head",
    [
        b"PLAY rtsp://x RTSP/1.0\r\nContent-Length: x\r\n\r\n",
        b"PLAY rtsp://x RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"PLAY rtsp://x RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n",
        b"PLAY rtsp://x RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PLAY rtsp://x RTSP/1.0\r\nno colon\r\n\r\n",
        b"PLAY rtsp://x HTTP/1.1\r\n\r\n",
        b"A" * 20_000,
    ],
)
def test_rtsp_refuses(head: bytes) -> None:
    # Discrepancies C1.1: a length that is no number ended the vendor's process.
    with pytest.raises(ProtocolError):
        rtsp.MessageReader().feed(head)


def test_rtsp_reads_loosely_and_echoes_the_sequence() -> None:
    (request,) = rtsp.MessageReader().feed(b"SETUP rtsp://h/a/track1 RTSP/1.0\ncseq:7\nTRANSPORT:RTP/AVP;x\n\n")
    assert isinstance(request, rtsp.Request)
    assert (request.path, request.sequence, request.header("transport")) == ("/a/track1", "7", "RTP/AVP;x")
    assert request.reply(461).encode() == b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 7\r\n\r\n"
    assert "rtsp://" not in repr(request)
    with pytest.raises(EncodeError):
        request.reply(200, (("Range", "npt=0-\r\nX: y"),)).encode()


@pytest.mark.parametrize(
    ("value", "transport"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", rtsp.Transport(interleaved=(2, 3))),
        ("rtp/avp;unicast;client_port=5000-5001", rtsp.Transport(client_port=(5000, 5001))),
        ("RTP/AVP;multicast, RTP/AVP/TCP; interleaved=4", rtsp.Transport(interleaved=(4, 5))),
    ],
)
def test_transports(value: str, transport: rtsp.Transport) -> None:
    assert rtsp.Transport.decode(value) == transport
    assert rtsp.Transport.decode(transport.encode()) == transport


@given(st.text(max_size=60))
def test_transports_and_ranges_of_any_text(text: str) -> None:
    for read in (rtsp.Transport.decode, rtsp.range_start):
        try:
            read(text)
        except ProtocolError:
            continue


def test_ranges() -> None:
    assert rtsp.range_start("npt=12.5-") == 12.5
    assert rtsp.range_start("npt=now-") is None
    assert rtsp.range_start(None) is None
    with pytest.raises(ProtocolError):
        rtsp.range_start("clock=19961108T143720Z-")


UNITS = st.lists(st.binary(min_size=3, max_size=60), max_size=6)


@given(st.sampled_from(Codec), UNITS, st.integers(0, 255), st.booleans())
def test_descriptions_round_trip(codec: Codec, units: list[bytes], rate: int, audible: bool) -> None:
    sets = nal.parameter_sets(codec, units)
    text = sdp.describe(codec, rate, sets, sdp.AudioFormat() if audible else None, seekable_seconds=60)
    tracks = sdp.parse_description(text)
    assert [track.kind for track in tracks] == (["video", "audio"] if audible else ["video"])
    told = tracks[0].parameter_sets()
    assert set(told) <= set(sets)
    if codec is Codec.H265:
        assert sorted(told) == sorted(sets)


@given(
    st.one_of(
        st.binary(max_size=80), st.text(max_size=80).map(lambda text: b"v=0\nm=" + text.encode("utf8", "replace"))
    )
)
def test_descriptions_of_any_bytes(data: bytes) -> None:
    try:
        for track in sdp.parse_description(data):
            track.parameter_sets()
    except ProtocolError:
        return


PLAYS = st.one_of(
    st.builds(
        play_url.LivePlay,
        st.just("95270000000TEST1"),
        U32,
        st.sampled_from(["mainStream"]),
        st.integers(0, 31),
        U64,
    ),
    st.builds(
        play_url.RecordPlay,
        st.integers(0, 31),
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=60),
        st.just("95270000000TEST1"),
        U32,
        U64,
    ),
)


@given(PLAYS, st.text(min_size=1, max_size=40), st.data())
def test_play_addresses(play: play_url.Play, url: str, data: st.DataObject) -> None:
    address = play_url.play_url("rtsp://h:61008", "key", play)
    assert play_url.open_play_url(address + "?x=1", "key") == play
    start = address.rindex("/") + 1
    at = data.draw(st.integers(start, len(address) - 1))
    other = data.draw(st.sampled_from("Aa0-_").filter(lambda mark: mark != address[at]))
    for wrong in (url, address[:at] + other + address[at + 1 :], address[:-1]):
        with pytest.raises(ProtocolError, match="signature_not_matched"):
            play_url.open_play_url(wrong, "key")


def test_a_tab_in_a_header_is_a_blank() -> None:
    """What was read can be echoed."""
    (request,) = rtsp.MessageReader().feed(b"OPTIONS * RTSP/1.0\r\nCSeq:\t2\t3\r\n\r\n")
    assert isinstance(request, rtsp.Request) and request.sequence == "2 3"
    assert request.reply().encode() == b"RTSP/1.0 200 OK\r\nCSeq: 2 3\r\n\r\n"
