"""The programs ffmpeg and ffprobe: what a file holds, and bytes made of it."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rop_wire.nal import Codec

SAMPLE_RATE = 16000
FASTEST = 60
_SECONDS = 60
_CODECS = {"h264": Codec.H264, "hevc": Codec.H265}


class FilmError(Exception):
    """There are no pictures: ffmpeg is missing or cannot read the file."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds. `rate`: pictures per second; `reorders`: they are not stored in the order they are shown;
    `sound`: it is AAC-LC, 16 kHz, mono. Source of the demands: device-protocol 11.5 and 11.6.
    """

    codec: Codec | None
    width: int
    height: int
    rate: Fraction
    reorders: bool
    sound: bool

    def unfit(self, codec: Codec) -> str | None:
        """Why a camera of this codec cannot send the pictures as they are, None when it can."""
        if self.codec is not codec:
            return f"the file is not {codec.name}"
        if self.reorders:
            return "the file has B pictures"
        if not 1 <= self.rate <= FASTEST or abs(self.rate - round(self.rate)) > Fraction(1, 20):
            return f"{float(self.rate):g} pictures per second"
        return None


def run(arguments: Sequence[str], program: str = "ffmpeg") -> bytes:
    """What a program writes to its output. Raises FilmError."""
    path = shutil.which(program)
    if path is None:
        raise FilmError(f"{program} is not installed")
    command = [path, "-v", "error", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise FilmError(f"{program}: {type(failure).__name__}") from None
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["failed"])[-1]
        raise FilmError(f"{program}: {last}")
    return done.stdout


def content(path: Path) -> Content:
    """What a file holds. Raises FilmError."""
    told = json.loads(run(["-show_streams", "-of", "json", str(path)], "ffprobe"))
    streams = {each.get("codec_type"): each for each in reversed(told.get("streams", []))}
    video, audio = streams.get("video"), streams.get("audio", {})
    if video is None:
        raise FilmError("no pictures in the file")
    return Content(
        _CODECS.get(video.get("codec_name", "")),
        int(video.get("width", 0)),
        int(video.get("height", 0)),
        _fraction(video.get("avg_frame_rate", "0/0")),
        bool(video.get("has_b_frames", 0)),
        (audio.get("codec_name"), audio.get("profile"), audio.get("sample_rate"), audio.get("channels"))
        == ("aac", "LC", str(SAMPLE_RATE), 1),
    )


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)
