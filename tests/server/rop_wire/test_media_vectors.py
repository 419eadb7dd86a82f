"""The vectors of the groups media, rtp and rtsp. See test_vectors.py."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_wire import nal, play_url, rtp, sdp
from rop_wire.errors import ProtocolError
from rop_wire.media import Frame, FrameKind, FrameParser, InfoBlock
from rop_wire.nal import Codec
from rop_wire.rtp import RtpPacket

FILE = Path(__file__).parents[2] / "vectors" / "vectors.json"
GROUPS = {"media", "rtp", "rtsp"}
VECTORS: dict[str, dict[str, Any]] = {
    each["name"]: each for each in json.loads(FILE.read_text())["vectors"] if each["group"] in GROUPS
}

Check = Callable[[dict[str, Any], dict[str, Any]], None]
CHECKS: dict[str, Check] = {}

SSRC = 0x12345
SPS = bytes.fromhex("6764001facd9405005bb")
PPS = bytes.fromhex("68ebe3cb22c0")


def check(*names: str) -> Callable[[Check], Check]:
    def add(function: Check) -> Check:
        for name in names:
            assert name not in CHECKS
            CHECKS[name] = function
        return function

    return add


def pattern(length: int) -> bytes:
    return bytes((7 * i + 3) % 256 for i in range(length))


# -- media frames ---------------------------------------------------------------------------------


@check("media_i_frame", "media_p_frame", "media_aac_frame", "media_eof")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    raw = bytes.fromhex(given["frame_hex"])
    parser = FrameParser()
    (frame,) = parser.feed(raw)
    (wanted,) = expected["decoded"]
    assert frame.kind == wanted["frameType"]
    assert frame.payload.hex() == wanted["payload_hex"]
    assert frame.timestamp == wanted.get("pts")
    assert frame.encode() == raw
    assert (parser.buffered, parser.skipped) == (0, 0)
    if frame.kind is FrameKind.KEY:
        assert frame.capture_time == 0x12345678
        assert frame.codec is Codec.H264


@check("media_stream_fragmented")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    stream, piece, parser = bytes.fromhex(given["stream_hex"]), given["piece"], FrameParser()
    frames = [
        frame for start in range(0, len(stream), piece) for frame in parser.feed(stream[start : start + piece])
    ]
    assert [frame.kind for frame in frames] == expected["frame_types"]
    assert [frame.timestamp for frame in frames] == expected["pts"]
    assert b"".join(frame.encode() for frame in frames) == stream


@check("media_info")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    raw = bytes.fromhex(given["body_hex"])
    info = InfoBlock.decode(raw)
    assert (info.frame_rate, info.codec) == (expected["frameRate"], expected["encodeType"])
    assert InfoBlock(25, Codec.H265, 2560, 1440).encode() == raw
    with pytest.raises(ProtocolError):
        InfoBlock.decode(raw[:30])


# -- RTP ------------------------------------------------------------------------------------------


def interleaved(packets: list[RtpPacket], channel: int = 0) -> list[str]:
    return [rtp.interleave(channel, packet.encode()).hex() for packet in packets]


def vendor(expected: dict[str, Any]) -> list[RtpPacket]:
    return [RtpPacket.decode(bytes.fromhex(text)[4:]) for text in expected["packets_hex"]]


def ours(codec: Codec, units: list[bytes], sequence: int, milliseconds: float = 0.0) -> list[RtpPacket]:
    clock = rtp.VideoClock(1000)
    clock.timestamp(5_000_000)
    timestamp = clock.timestamp(5_000_000 + int(milliseconds * 1000))
    return rtp.Track(96, SSRC, sequence).wrap(rtp.video_payloads(codec, units), timestamp)


def assembled(codec: Codec, packets: list[RtpPacket]) -> list[bytes]:
    assembler = rtp.VideoAssembler(codec)
    units = [assembler.feed(packet) for packet in packets]
    assert units[:-1] == [None] * (len(packets) - 1)
    assert units[-1] is not None
    assert assembler.lost == 0
    return units[-1]


def unmarked(packets: list[RtpPacket]) -> list[RtpPacket]:
    return [
        RtpPacket(each.payload_type, each.sequence, each.timestamp, each.ssrc, each.payload) for each in packets
    ]


@check("rtp_header_video", "rtp_header_audio")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    kind = 96 if given["frameType"] == "video" else 97
    packet = RtpPacket(kind, given["sequence"], int(given["timeStamp"]), given["ssrc"], b"", given["marker"])
    assert packet.encode().hex() == expected["rtp_hex"]


@check("rtp_interleaved_prefix")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    video, audio = given["lengths"]
    assert rtp.interleave(0, bytes(video))[:4].hex() == expected["video_hex"]
    assert rtp.interleave(2, bytes(audio))[:4].hex() == expected["audio_hex"]


@check("rtp_h264_small_key_frame")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C4.2: the marker stands on the last packet only; all else is the vendor's.
    units = nal.split_nal_units(bytes.fromhex(given["annexb_hex"]))
    packets = ours(Codec.H264, units, given["sequence"], given["ts_ms"])
    assert unmarked(packets) == unmarked(vendor(expected))
    assert [packet.marker for packet in packets] == [False, False, True]
    assert assembled(Codec.H264, packets) == units


@check("rtp_h264_fu_a_key_frame")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    units = [SPS, PPS, b"\x65" + pattern(3000)]
    packets = ours(Codec.H264, units, given["sequence"], given["ts_ms"])
    assert unmarked(packets) == unmarked(vendor(expected))
    # The fragments are the vendor's to the byte; on parameter sets we set no marker (discrepancies C4.2).
    assert interleaved(packets)[2:] == expected["packets_hex"][2:]
    assert [packet.marker for packet in packets] == [False, False, False, False, True]
    assert [packet.sequence for packet in packets] == [65534, 65535, 0, 1, 2]
    assert assembled(Codec.H264, packets) == units


@check("rtp_h264_p_single")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    units = nal.split_nal_units(bytes.fromhex(given["annexb_hex"]))
    packets = ours(Codec.H264, units, given["sequence"], given["ts_ms"])
    assert interleaved(packets) == expected["packets_hex"]


@check("rtp_h264_fu_a_two_pieces")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C4.2: no empty fragment, whatever pieces the frame came in.
    theirs = vendor(expected)
    assert any(len(packet.payload) == 2 for packet in theirs)
    unit = bytes([theirs[0].payload[0] & 0xE0 | theirs[0].payload[1] & 0x1F])
    unit += b"".join(packet.payload[2:] for packet in theirs)
    assert len(unit) == 2000
    packets = ours(Codec.H264, [unit], given["sequence"], given["ts_ms"])
    assert [len(packet.payload) for packet in packets] == [1421, 582]
    assert [packet.marker for packet in packets] == [False, True]
    assert assembled(Codec.H264, packets) == [unit]
    frame = Frame(FrameKind.PREDICTED, nal.join_nal_units([unit]), 0, Codec.H264).encode()
    parser, split = FrameParser(), 24 + given["pieces"][0]
    assert parser.feed(frame[:split]) == []
    (whole,) = parser.feed(frame[split:])
    assert nal.split_nal_units(whole.payload) == [unit]


@check("rtp_h265_key_frame")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C4.2: the marker stands on the last packet only; all else is the vendor's.
    texts = ("40010c01ffff016000", "420101016000", "4401c172b0")
    units = [*map(bytes.fromhex, texts), b"\x26\x01" + pattern(1500)]
    packets = ours(Codec.H265, units, given["sequence"], given["ts_ms"])
    assert unmarked(packets) == unmarked(vendor(expected))
    assert [packet.marker for packet in packets] == [False, False, False, False, True]
    assert nal.split_nal_units(nal.join_nal_units(units)) == [
        unit.rstrip(b"\0") if unit is not units[-1] else unit for unit in units
    ]
    assert assembled(Codec.H265, packets) == units


@check("rtp_aac")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    (frame,) = nal.parse_adts(bytes.fromhex(given["adts_hex"]))
    assert (frame.object_type, frame.sample_rate, frame.channels) == (2, 16000, 1)
    assert frame.config.hex() == "1408"
    track, clock = rtp.Track(97, given["ssrc"], given["sequence"]), rtp.AudioClock(given["base"])
    packets = [
        packet
        for milliseconds in given["videoTs_ms"]
        for packet in track.wrap([rtp.audio_payload(frame.data)], clock.timestamp(milliseconds * 1000))
    ]
    assert interleaved(packets, 2) == expected["packets_hex"]
    assert rtp.audio_frames(packets[0].payload) == [frame.data]


@check("rtp_aac_crc")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    (frame,) = nal.parse_adts(bytes.fromhex(given["adts_hex"]))
    packets = rtp.Track(97, 1, 1).wrap([rtp.audio_payload(frame.data)], 1024)
    assert interleaved(packets, 2) == expected["packets_hex"]


@check("sdp_h264")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C4.4: the camera's own parameter sets, CRLF, everything else the same to a viewer.
    text = sdp.describe(Codec.H264, given["frameRate"], [SPS, PPS], sdp.AudioFormat())
    assert text.count(b"\n") == text.count(b"\r\n") == len(text.splitlines())
    video, audio = sdp.parse_description(text)
    vendor_video, vendor_audio = sdp.parse_description(expected["sdp"].encode())
    assert (video.payload_type, video.encoding, video.clock_rate, video.control) == (96, "H264", 90000, "track1")
    assert (video.kind, video.encoding, video.control) == (
        vendor_video.kind,
        vendor_video.encoding,
        vendor_video.control,
    )
    assert video.parameter_sets() == (SPS, PPS)
    assert video.parameters["profile-level-id"] == "64001F"
    assert (audio.encoding, audio.clock_rate, audio.control) == ("MPEG4-GENERIC", 16000, "track2")
    same = ("streamtype", "mode", "sizelength", "indexlength", "indexdeltalength", "config")
    assert [audio.parameters[name] for name in same] == [vendor_audio.parameters[name] for name in same]
    assert f"a=framerate:{given['frameRate']}.000000" in text.decode().splitlines()


@check("sdp_h265")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C4.4: H.265 parameters for H.265, and no audio where there is none.
    vps, sps, pps = (bytes.fromhex(each) for each in ("40010c01ffff01", "42010101", "4401c172b0"))
    (video,) = sdp.parse_description(sdp.describe(Codec.H265, given["frameRate"], [vps, sps, pps]))
    (vendor_video, _) = sdp.parse_description(expected["sdp"].encode())
    assert video.encoding == vendor_video.encoding == "H265"
    assert "sprop-parameter-sets" in vendor_video.parameters
    assert set(video.parameters) == {"sprop-vps", "sprop-sps", "sprop-pps"}
    assert base64.b64decode(video.parameters["sprop-sps"]) == sps
    (bare,) = sdp.parse_description(sdp.describe(Codec.H265, given["frameRate"]))
    assert bare.parameters == {}


# -- play addresses -------------------------------------------------------------------------------

PLAY_KEY = "SIGNKEYSIGNKEYSIGNKEYSIGNKEY0000"


def play_of(args: dict[str, Any]) -> play_url.Play:
    if args["type"] == "live":
        return play_url.LivePlay(
            args["uid"], args["requestId"], args["streamType"], args["channel"], args["expiredAt"]
        )
    return play_url.RecordPlay(
        args["channel"], args["fileName"], args["uid"], args["requestId"], args["expiredAt"]
    )


@check("play_url_live", "play_url_record")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    play = play_of(given["args"])
    assert json.dumps(play.document(), separators=(",", ":")) == expected["json"]
    url = play_url.play_url(given["prefix"], given["processSignKey"], play)
    assert url == expected["url"]
    assert play_url.open_play_url(url, given["processSignKey"]) == play


@check("play_url_retrieve")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert play_url.open_play_url(given["url"], PLAY_KEY) == play_of(expected["args"])
    with pytest.raises(ProtocolError, match="signature_not_matched"):
        play_url.open_play_url(given["url"], PLAY_KEY[::-1])
    with pytest.raises(ProtocolError, match="signature_not_matched"):
        play_url.open_play_url(given["url"][:-2], PLAY_KEY)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    vector = VECTORS[name]
    assert name in CHECKS, f"vector {name} has no check"
    CHECKS[name](vector["inputs"], vector["expected"])


def test_no_check_without_a_vector() -> None:
    assert set(CHECKS) == set(VECTORS)
