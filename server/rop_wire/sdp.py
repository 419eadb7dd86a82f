"""Session descriptions of the streams.

Sources: ROP v1.0 wire specification, client-api 3.3; RFC 8866, RFC 6184 section 8, RFC 7798 section 7, RFC 3640.
Parameter sets are the camera's own, audio is told only if there is some, lines end with CRLF (discrepancies C4.4).
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from rop_wire.errors import ProtocolError
from rop_wire.nal import H265_PPS, H265_SPS, H265_VPS, Codec, nal_type
from rop_wire.rtp import AUDIO_PAYLOAD_TYPE, VIDEO_CLOCK, VIDEO_PAYLOAD_TYPE

VIDEO_TRACK = "track1"
AUDIO_TRACK = "track2"
SESSION_NAME = "ROP Streaming Media"
MAX_SDP = 65536
_H265_PARAMETERS = {H265_VPS: "sprop-vps", H265_SPS: "sprop-sps", H265_PPS: "sprop-pps"}
_H264_SPS_MINIMUM = 4


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """AAC. `config`: AudioSpecificConfig, `1408` in hex is AAC-LC, 16 kHz, mono."""

    sample_rate: int = 16_000
    channels: int = 1
    config: bytes = b"\x14\x08"


def describe(
    codec: Codec,
    frame_rate: int,
    parameter_sets: Sequence[bytes] = (),
    audio: AudioFormat | None = None,
    *,
    session: int = 1,
    seekable_seconds: float | None = None,
) -> bytes:
    """The description of one video track and, when `audio` is given, one audio track.

    `parameter_sets`: NAL units of the camera, empty while unknown (they come in-band as well). `session`: a number
    that differs per stream. `seekable_seconds`: length of a recording.
    """
    lines = [
        "v=0",
        f"o=- {session} {session} IN IP4 0.0.0.0",
        f"s={SESSION_NAME}",
        "t=0 0",
        f"a=tool:{SESSION_NAME}",
        "a=control:*",
    ]
    if seekable_seconds is not None:
        lines.append(f"a=range:npt=0-{seekable_seconds:.3f}")
    lines += _video(codec, frame_rate, parameter_sets)
    if audio is not None:
        lines += _audio(audio)
    return ("\r\n".join(lines) + "\r\n").encode()


def _video(codec: Codec, frame_rate: int, parameter_sets: Sequence[bytes]) -> list[str]:
    lines = [
        f"m=video 0 RTP/AVP {VIDEO_PAYLOAD_TYPE}",
        "c=IN IP4 0.0.0.0",
        f"a=rtpmap:{VIDEO_PAYLOAD_TYPE} {codec.name}/{VIDEO_CLOCK}",
    ]
    known = [each for each in parameter_sets if each]
    parameters = _h264(known) if codec is Codec.H264 else _h265(known)
    if parameters:
        lines.append(f"a=fmtp:{VIDEO_PAYLOAD_TYPE} {';'.join(parameters)}")
    if frame_rate:
        lines.append(f"a=framerate:{frame_rate}.000000")
    return [*lines, f"a=control:{VIDEO_TRACK}"]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _h264(parameter_sets: Sequence[bytes]) -> list[str]:
    parameters = ["packetization-mode=1"]
    sps = next((each for each in parameter_sets if each[0] & 0x1F == 7), b"")
    if len(sps) >= _H264_SPS_MINIMUM:
        parameters.append(f"profile-level-id={sps[1:4].hex().upper()}")
        parameters.append(f"sprop-parameter-sets={','.join(map(_base64, parameter_sets))}")
    return parameters


def _h265(parameter_sets: Sequence[bytes]) -> list[str]:
    parameters = []
    for number, name in _H265_PARAMETERS.items():
        units = [each for each in parameter_sets if nal_type(Codec.H265, each) == number]
        if units:
            parameters.append(f"{name}={','.join(map(_base64, units))}")
    return parameters


def _audio(audio: AudioFormat) -> list[str]:
    return [
        f"m=audio 0 RTP/AVP {AUDIO_PAYLOAD_TYPE}",
        "c=IN IP4 0.0.0.0",
        f"a=rtpmap:{AUDIO_PAYLOAD_TYPE} MPEG4-GENERIC/{audio.sample_rate}/{audio.channels}",
        f"a=fmtp:{AUDIO_PAYLOAD_TYPE} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;"
        f"indexdeltalength=3;config={audio.config.hex().upper()}",
        f"a=control:{AUDIO_TRACK}",
    ]


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One track as a viewer reads it. `encoding` in capitals, e.g. `H264`, `MPEG4-GENERIC`."""

    kind: str
    payload_type: int
    encoding: str
    clock_rate: int
    control: str
    parameters: dict[str, str] = field(default_factory=dict)

    def parameter_sets(self) -> tuple[bytes, ...]:
        """The parameter sets in the description. Raises ProtocolError when they are not base64."""
        names = ("sprop-parameter-sets", *_H265_PARAMETERS.values())
        texts = [text for name in names if (value := self.parameters.get(name)) for text in value.split(",")]
        try:
            return tuple(base64.b64decode(text, validate=True) for text in texts)
        except (binascii.Error, ValueError):
            raise ProtocolError("parameter sets are not base64") from None


def parse_description(data: bytes) -> list[MediaDescription]:
    """The tracks of a description, line ends of either kind. Raises ProtocolError."""
    if len(data) > MAX_SDP:
        raise ProtocolError("session description too long")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise ProtocolError("session description is not UTF-8") from None
    if not lines or lines[0] != "v=0":
        raise ProtocolError("not a session description")
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            sections.append([line[2:]])
        elif sections:
            sections[-1].append(line)
    return [_track(section) for section in sections]


def _track(section: list[str]) -> MediaDescription:
    words = section[0].split()
    attributes: dict[str, str] = {}
    for line in section[1:]:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            attributes.setdefault(name, value)
    try:
        payload_type = int(words[3])
        encoding, clock, *_ = attributes["rtpmap"].partition(" ")[2].split("/")
        rate = int(clock)
    except (IndexError, KeyError, ValueError):
        raise ProtocolError("media description without a format") from None
    told = attributes.get("fmtp", "").partition(" ")[2]
    pairs = (each.strip().partition("=") for each in told.split(";") if each.strip())
    parameters = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return MediaDescription(
        words[0], payload_type, encoding.upper(), rate, attributes.get("control", ""), parameters
    )
