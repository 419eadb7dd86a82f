"""Films for the tests, made by ffmpeg: access units and sound as a camera sends them, and what they decode to."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import Codec, is_random_access, join_nal_units, nal_type, parse_adts, split_nal_units

RATE = 20
_H265_AUD, _H264_AUD = 35, 9
_ENCODERS = {
    Codec.H264: ("libx264", "-x264-params", "aud=1:keyint=20:min-keyint=20:scenecut=0:bframes=0:log-level=none"),
    Codec.H265: ("libx265", "-x265-params", "aud=1:keyint=20:min-keyint=20:scenecut=0:bframes=0:log-level=none"),
}
_FORMATS = {Codec.H264: "h264", Codec.H265: "hevc"}


@dataclass(frozen=True)
class Film:
    """Frames in sending order; `pictures` and `sounds`: hashes of what ffmpeg decodes."""

    codec: Codec
    frames: list[Frame]
    pictures: list[str]
    sounds: list[str] = field(default_factory=list)

    @property
    def info(self) -> InfoBlock:
        """The start response."""
        return InfoBlock(RATE, self.codec)

    @property
    def heard(self) -> list[str]:
        """Hashes of the sounds that are sent: those that begin before the pictures end."""
        return self.sounds[: sum(each.kind is FrameKind.AUDIO for each in self.frames)]

    def again(self, times: int) -> list[Frame]:
        """The frames several times over, with a time that goes on."""
        step = len([each for each in self.frames if each.is_video]) * 1_000_000 // RATE
        return [
            replace(each, timestamp=each.timestamp + turn * step) if each.timestamp is not None else each
            for turn in range(times)
            for each in self.frames
        ]


def run(*words: str, data: bytes = b"") -> bytes:
    """A quiet ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-nostdin" if not data else "-y", *words]
    done = subprocess.run(command, input=data or None, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def hashes(text: str, stream: int = 0) -> list[str]:
    """The MD5 of every frame of a stream in framemd5's output."""
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return [row[-1].strip() for row in rows if int(row[0]) == stream]


def access_units(codec: Codec, raw: bytes) -> list[bytes]:
    """Split at the access unit delimiters, which are kept."""
    mark = _H264_AUD if codec is Codec.H264 else _H265_AUD
    units: list[list[bytes]] = []
    for unit in split_nal_units(raw):
        if nal_type(codec, unit) == mark or not units:
            units.append([])
        units[-1].append(unit)
    return [join_nal_units(each) for each in units]


def plain(codec: Codec, unit: bytes) -> bytes:
    """Without delimiters and SEI: the layout the family's cameras send."""
    other = {_H264_AUD, 6} if codec is Codec.H264 else {_H265_AUD, 39, 40}
    return join_nal_units(each for each in split_nal_units(unit) if nal_type(codec, each) not in other)


def short_codes(unit: bytes) -> bytes:
    """With start codes of three bytes after the first."""
    return b"\x00" + b"".join(b"\x00\x00\x01" + each for each in split_nal_units(unit))


def make(folder: Path, codec: Codec, *, seconds: float = 2, sound: bool = True, layout: str = "plain") -> Film:
    """A film of ffmpeg's test source. `layout`: `plain`, `full` (AUD, SEI, several slices), `short` codes."""
    encoder, name, parameters = _ENCODERS[codec]
    if layout == "full":
        parameters += ":slices=3"
    source = f"testsrc2=size=320x240:rate={RATE}:duration={seconds}"
    raw = run(
        *("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", encoder, "-preset", "ultrafast"),
        *(name, parameters, "-b:v", "800k", "-f", _FORMATS[codec], "-"),
    )
    units = access_units(codec, raw)
    if layout == "plain":
        units = [plain(codec, each) for each in units]
    elif layout == "short":
        units = [short_codes(each) for each in units]
    voices: list[bytes] = []
    if sound:
        tone = f"sine=frequency=440:sample_rate=16000:duration={seconds}"
        adts = run("-f", "lavfi", "-i", tone, "-ac", "1", "-c:a", "aac", "-b:a", "32k", "-f", "adts", "-")
        voices = [each.encode() for each in parse_adts(adts)]
    told = run("-f", _FORMATS[codec], "-i", "-", "-f", "framemd5", "-", data=b"".join(units)).decode()
    heard = run("-f", "aac", "-i", "-", "-f", "framemd5", "-", data=b"".join(voices)).decode() if sound else ""
    return Film(codec, _frames(codec, units, voices), hashes(told), hashes(heard))


def _frames(codec: Codec, units: list[bytes], voices: list[bytes]) -> list[Frame]:
    frames = []
    heard = 0
    for number, unit in enumerate(units):
        key = any(is_random_access(codec, each) for each in split_nal_units(unit))
        kind = FrameKind.KEY if key else FrameKind.PREDICTED
        extra = (1_700_000_000 + number // RATE).to_bytes(4, "little") if key else b""
        frames.append(Frame(kind, unit, 5_000_000 + number * 1_000_000 // RATE, codec, extra))
        while heard < len(voices) and heard * 1024 / 16000 <= (number + 1) / RATE:
            frames.append(Frame(FrameKind.AUDIO, voices[heard]))
            heard += 1
    return frames


async def watch(url: str, transport: str, *words: str, limit: float = 40) -> str:
    """What ffmpeg decodes of an address, as framemd5 text. A recording is watched to its end."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", url, *words),
        *("-fps_mode", "passthrough", "-f", "framemd5", "-"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert out, err.decode()
    return out.decode() + "".join(f"#err {line}\n" for line in err.decode().splitlines())


async def probe(url: str, transport: str, limit: float = 40) -> dict[str, str]:
    """What ffprobe says of an address: `video.codec_name`, `audio.sample_rate`, ..."""
    process = await asyncio.create_subprocess_exec(
        *("ffprobe", "-v", "error", "-rtsp_transport", transport, "-show_streams", "-of", "default", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), limit)
    assert process.returncode == 0, err.decode()
    told: dict[str, str] = {}
    for section in re.findall(r"\[STREAM\](.*?)\[/STREAM\]", out.decode(), re.DOTALL):
        pairs = dict(line.split("=", 1) for line in section.strip().splitlines() if "=" in line)
        told |= {f"{pairs['codec_type']}.{name}": value for name, value in pairs.items()}
    return told


def within(part: list[Any], whole: list[Any]) -> bool:
    """Whether `part` is a run of `whole` repeated."""
    endless = whole * (len(part) // len(whole) + 2)
    return any(endless[start : start + len(part)] == part for start in range(len(whole)))
