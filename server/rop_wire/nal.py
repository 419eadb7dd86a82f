"""Access units of H.264 and H.265 and frames of AAC: finding their parts.

Sources: ROP v1.0 wire specification, device-protocol 11.5, 11.6; ITU-T H.264 and H.265 annex B; ISO/IEC 13818-7.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from rop_wire.errors import ProtocolError

START_CODE = b"\x00\x00\x00\x01"
_SHORT_START_CODE = b"\x00\x00\x01"

H264_IDR, H264_SPS, H264_PPS = 5, 7, 8
H265_VPS, H265_SPS, H265_PPS = 32, 33, 34
_H265_IRAP = range(16, 24)

ADTS_HEADER = 7
_ADTS_CRC = 2
SAMPLES_PER_AAC_FRAME = 1024
_SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


class Codec(IntEnum):
    """Video codecs by their number in the info block."""

    H264 = 0
    H265 = 1


def split_nal_units(data: bytes) -> list[bytes]:
    """The NAL units of an Annex-B byte stream with start codes of 3 or 4 bytes (discrepancies C4.1).

    Empty units are left out. Zeros before a start code belong to it; bytes before the first one are dropped.
    """
    units: list[bytes] = []
    mark = data.find(_SHORT_START_CODE)
    while mark >= 0:
        start = mark + 3
        mark = data.find(_SHORT_START_CODE, start)
        unit = data[start:] if mark < 0 else data[start:mark].rstrip(b"\x00")
        if unit:
            units.append(unit)
    return units


def join_nal_units(units: Iterable[bytes]) -> bytes:
    """The Annex-B byte stream with 4-byte start codes."""
    return b"".join(START_CODE + unit for unit in units)


def nal_type(codec: Codec, unit: bytes) -> int:
    """The type in the header of a NAL unit."""
    return unit[0] & 0x1F if codec is Codec.H264 else unit[0] >> 1 & 0x3F


def is_parameter_set(codec: Codec, unit: bytes) -> bool:
    """Whether the NAL unit is an SPS, PPS or VPS."""
    sets = (H264_SPS, H264_PPS) if codec is Codec.H264 else (H265_VPS, H265_SPS, H265_PPS)
    return nal_type(codec, unit) in sets


def is_random_access(codec: Codec, unit: bytes) -> bool:
    """Whether decoding can begin at this slice."""
    kind = nal_type(codec, unit)
    return kind == H264_IDR if codec is Codec.H264 else kind in _H265_IRAP


def parameter_sets(codec: Codec, units: Iterable[bytes]) -> tuple[bytes, ...]:
    """The parameter sets of an access unit, in the order they came."""
    return tuple(unit for unit in units if is_parameter_set(codec, unit))


@dataclass(frozen=True, slots=True)
class AdtsFrame:
    """One AAC frame. `object_type` 2 is AAC-LC; `sample_rate` in Hz; `data`: the frame without its ADTS header."""

    object_type: int
    sample_rate: int
    channels: int
    data: bytes

    @property
    def config(self) -> bytes:
        """AudioSpecificConfig, 2 bytes (`1408` in hex: AAC-LC, 16 kHz, mono)."""
        rate = _SAMPLE_RATES.index(self.sample_rate)
        return (self.object_type << 11 | rate << 7 | self.channels << 3).to_bytes(2, "big")

    def encode(self) -> bytes:
        """The ADTS frame without CRC."""
        length = ADTS_HEADER + len(self.data)
        rate = _SAMPLE_RATES.index(self.sample_rate)
        bits = 0xFFF1 << 40 | (self.object_type - 1) << 38 | rate << 34 | self.channels << 30
        bits |= length << 13 | 0x7FF << 2
        return bits.to_bytes(ADTS_HEADER, "big") + self.data


def parse_adts(data: bytes) -> list[AdtsFrame]:
    """The AAC frames in an audio payload (cameras send one). Raises ProtocolError.

    A length above what is there means: the rest.
    """
    frames: list[AdtsFrame] = []
    offset = 0
    while offset < len(data):
        head = data[offset : offset + ADTS_HEADER]
        if len(head) < ADTS_HEADER or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            raise ProtocolError("audio is not ADTS")
        rate = head[2] >> 2 & 0x0F
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        skip = ADTS_HEADER + (0 if head[1] & 1 else _ADTS_CRC)
        if rate >= len(_SAMPLE_RATES) or length < skip:
            raise ProtocolError("ADTS header out of range")
        raw = data[offset + skip : offset + length]
        channels = (head[2] & 1) << 2 | head[3] >> 6
        frames.append(AdtsFrame((head[2] >> 6) + 1, _SAMPLE_RATES[rate], channels, raw))
        offset += length
    return frames
