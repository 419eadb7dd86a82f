"""Real pictures and sound of a camera: an elementary stream cut into access units and ADTS frames.

A film comes from a file that ffmpeg reads, or from ffmpeg's test source; it is encoded once and kept.
"""

import asyncio
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rop_wire.errors import WireError
from rop_wire.nal import (
    SAMPLES_PER_AAC_FRAME,
    Codec,
    is_parameter_set,
    is_random_access,
    join_nal_units,
    nal_type,
    parse_adts,
    split_nal_units,
)

SAMPLE_RATE = 16000
RATE = 15
TEST_SECONDS = 4
SIZES = {"mainStream": (1280, 720), "subStream": (640, 360), "externStream": (320, 180)}
_ENCODE_SECONDS = 60
_ENCODERS = {
    Codec.H264: ["libx264", "-x264-params", "keyint=15:min-keyint=15:scenecut=0:slices=1"],
    Codec.H265: [
        "libx265",
        "-x265-params",
        "keyint=15:min-keyint=15:scenecut=0:open-gop=0:slices=1:log-level=none",
    ],
}
_FORMATS = {Codec.H264: "h264", Codec.H265: "hevc"}


class FilmError(Exception):
    """There are no pictures: ffmpeg is missing or cannot read the file."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One access unit in Annex B; `key`: decoding can begin here."""

    data: bytes = field(repr=False)
    key: bool


@dataclass(frozen=True, slots=True)
class Film:
    """Pictures at `rate` per second and ADTS frames of 1024 samples at 16 kHz; both begin at time 0."""

    codec: Codec
    width: int
    height: int
    rate: int
    pictures: tuple[Picture, ...]
    sounds: tuple[bytes, ...]
    keys: tuple[int, ...]

    def key_before(self, index: int) -> int:
        """The number of the key picture at or before a picture of the endless film."""
        loop, place = divmod(index, len(self.pictures))
        return loop * len(self.pictures) + self.keys[bisect_right(self.keys, place) - 1]

    def key_after(self, index: int) -> int:
        """The number of the key picture at or after a picture of the endless film."""
        loop, place = divmod(index, len(self.pictures))
        later = next((key for key in self.keys if key >= place), len(self.pictures))
        return loop * len(self.pictures) + later

    def picture(self, index: int) -> Picture:
        """A picture of the endless film."""
        return self.pictures[index % len(self.pictures)]

    def sound(self, index: int) -> bytes | None:
        """An ADTS frame of the endless film, None when it is silent."""
        return self.sounds[index % len(self.sounds)] if self.sounds else None


def _is_slice(codec: Codec, unit: bytes) -> bool:
    kind = nal_type(codec, unit)
    return 1 <= kind <= 5 if codec is Codec.H264 else kind < 32


def _is_first_slice(codec: Codec, unit: bytes) -> bool:
    """Whether first_mb_in_slice is 0, or first_slice_segment_in_pic_flag is set."""
    head = 1 if codec is Codec.H264 else 2
    return len(unit) > head and bool(unit[head] & 0x80)


def access_units(codec: Codec, stream: bytes, everything: bool = True) -> list[Picture]:
    """Cut an Annex-B stream. `everything` False keeps parameter sets and slices only, the layout that every server
    relays (device-protocol 11.5). Pictures before the first key picture are left out.
    """
    units: list[list[bytes]] = []
    sliced = True
    for unit in split_nal_units(stream):
        is_slice = _is_slice(codec, unit)
        if sliced and (not is_slice or _is_first_slice(codec, unit)):
            units.append([])
            sliced = False
        sliced = sliced or is_slice
        if units and (everything or is_slice or is_parameter_set(codec, unit)):
            units[-1].append(unit)
    found = [Picture(join_nal_units(each), any(is_random_access(codec, unit) for unit in each)) for each in units]
    first = next((i for i, picture in enumerate(found) if picture.key), len(found))
    return [picture for picture in found[first:] if picture.data]


def sound_frames(stream: bytes) -> list[bytes]:
    """ADTS frames of AAC-LC, 16 kHz, mono; none when it is something else. Source: device-protocol 11.6."""
    frames = parse_adts(stream)
    if any((each.object_type, each.sample_rate, each.channels) != (2, SAMPLE_RATE, 1) for each in frames):
        return []
    return [each.encode() for each in frames]


def _ffmpeg(arguments: Sequence[str]) -> bytes:
    """Run ffmpeg; what it writes to its output. Raises FilmError."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise FilmError("ffmpeg is not installed")
    command = [program, "-nostdin", "-v", "error", *arguments]
    try:
        run = subprocess.run(command, capture_output=True, check=False, timeout=_ENCODE_SECONDS)  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise FilmError(f"ffmpeg: {type(failure).__name__}") from None
    if run.returncode != 0:
        raise FilmError("ffmpeg: " + (run.stderr.decode(errors="replace").strip().splitlines() or ["failed"])[-1])
    return run.stdout


def _inputs(source: Path | None, size: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Options for the picture and for the sound of a source."""
    if source is not None:
        return ["-i", str(source)], ["-i", str(source)]
    pattern = f"testsrc2=size={size[0]}x{size[1]}:rate={RATE}:duration={TEST_SECONDS}"
    tone = f"sine=frequency=440:sample_rate={SAMPLE_RATE}:duration={TEST_SECONDS}"
    return ["-f", "lavfi", "-i", pattern], ["-f", "lavfi", "-i", tone]


def make_film(codec: Codec, stream_type: str, source: Path | None, folder: Path) -> Film:
    """Encode a film, or take the one kept in the folder. `source` None: the test source. Raises FilmError."""
    width, height = SIZES[stream_type]
    picture_in, sound_in = _inputs(source, (width, height))
    scale = f"scale={width}:{height},fps={RATE},format=yuv420p"
    video = ["-an", "-vf", scale, "-c:v", *_ENCODERS[codec], "-preset", "ultrafast", "-bf", "0"]
    pictures = _kept(
        folder / f"{stream_type}.{_FORMATS[codec]}", [*picture_in, *video, "-f", _FORMATS[codec], "-"], source
    )
    units = access_units(codec, pictures, everything=False)
    if not units:
        raise FilmError("no picture to decode")
    audio = ["-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "aac", "-profile:a", "aac_low"]
    try:
        sounds = sound_frames(_kept(folder / "sound.adts", [*sound_in, *audio, "-f", "adts", "-"], source))
    except (FilmError, WireError):
        sounds = []
    # The sound is cut where the pictures end, so that both begin again together.
    sounds = sounds[: max(1, len(units) * SAMPLE_RATE // (RATE * SAMPLES_PER_AAC_FRAME))]
    keys = tuple(i for i, unit in enumerate(units) if unit.key)
    return Film(codec, width, height, RATE, tuple(units), tuple(sounds), keys)


def _kept(path: Path, arguments: list[str], source: Path | None) -> bytes:
    """The file, made when it is missing or older than its source."""
    try:
        if source is None or path.stat().st_mtime > source.stat().st_mtime:
            return path.read_bytes()
    except OSError:
        pass  # not made yet
    data = _ffmpeg(arguments)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = path.with_name(path.name + ".new")
    staged.write_bytes(data)
    staged.replace(path)
    return data


class Films:
    """The films of a camera's streams, made when first asked for."""

    def __init__(self, codec: Codec, source: Path | None, folder: Path) -> None:
        self.codec = codec
        self._source = source
        self._folder = folder
        self._films: dict[str, Film] = {}
        self._one = asyncio.Lock()

    async def get(self, stream_type: str) -> Film:
        """The film of a stream. Raises FilmError."""
        if stream_type not in SIZES:
            raise FilmError(f"no stream {stream_type!r}")
        async with self._one:
            if stream_type not in self._films:
                made = await asyncio.to_thread(make_film, self.codec, stream_type, self._source, self._folder)
                self._films[stream_type] = made
            return self._films[stream_type]

    async def photograph(self, stream_type: str) -> bytes:
        """A JPEG of the stream's size. Raises FilmError."""
        if stream_type not in SIZES:
            raise FilmError(f"no stream {stream_type!r}")
        picture_in, _ = _inputs(self._source, SIZES[stream_type])
        width, height = SIZES[stream_type]
        scale = f"scale={width}:{height}"
        made = ["-an", "-frames:v", "1", "-vf", scale, "-q:v", "5", "-f", "image2pipe", "-c:v", "mjpeg", "-"]
        return await asyncio.to_thread(_ffmpeg, [*picture_in, *made])
