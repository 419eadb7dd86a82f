"""Real pictures and sound of a camera: an elementary stream cut into access units and ADTS frames.

A film comes from a file that ffmpeg reads, or from ffmpeg's test source; what has to be encoded is encoded once
and kept. The main stream of a file that a camera could have made is the file itself, bit by bit.
"""

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from pathlib import Path

from rop_sim import ffmpeg
from rop_sim.ffmpeg import SAMPLE_RATE, FilmError
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

RATE = 15
TEST_SECONDS = 4
MAIN = "mainStream"
SIZES = {MAIN: (1280, 720), "subStream": (640, 360), "externStream": (320, 180)}
_ENCODERS = {
    Codec.H264: ["libx264", "-x264-params", "keyint=15:min-keyint=15:scenecut=0:slices=1"],
    Codec.H265: [
        "libx265",
        "-x265-params",
        "keyint=15:min-keyint=15:scenecut=0:open-gop=0:slices=1:log-level=none",
    ],
}
_FORMATS = {Codec.H264: "h264", Codec.H265: "hevc"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One access unit in Annex B; `key`: decoding can begin here."""

    data: bytes = field(repr=False)
    key: bool


@dataclass(frozen=True, slots=True)
class Film:
    """Pictures at `rate` per second and ADTS frames of 1024 samples at 16 kHz; both begin at time 0.

    `encoded`: why the pictures of a given file are not shown as they are; empty when they are.
    """

    codec: Codec
    width: int
    height: int
    rate: int
    pictures: tuple[Picture, ...]
    sounds: tuple[bytes, ...]
    keys: tuple[int, ...]
    encoded: str = ""

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


def _inputs(source: Path | None, size: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Options for the picture and for the sound of a source."""
    if source is not None:
        return ["-i", str(source)], ["-i", str(source)]
    pattern = f"testsrc2=size={size[0]}x{size[1]}:rate={RATE}:duration={TEST_SECONDS}"
    tone = f"sine=frequency=440:sample_rate={SAMPLE_RATE}:duration={TEST_SECONDS}"
    return ["-f", "lavfi", "-i", pattern], ["-f", "lavfi", "-i", tone]


def make_film(codec: Codec, stream_type: str, source: Path | None, folder: Path) -> Film:
    """A film of a file, or of the test source when it is None; encoded files are kept in the folder. Raises
    FilmError.
    """
    if source is None:
        return _encoded(codec, stream_type, None, folder)
    held = ffmpeg.content(source)
    reason = held.unfit(codec)
    if stream_type != MAIN:
        reason = f"{stream_type} is smaller"
    if reason is None:
        try:
            return _as_it_is(held, codec, source, folder)
        except _Unfit as failure:
            reason = str(failure)
    return replace(_encoded(codec, stream_type, source, folder), encoded=reason)


class _Unfit(Exception):
    """The file cannot be shown as it is; why."""


def _as_it_is(held: ffmpeg.Content, codec: Codec, source: Path, folder: Path) -> Film:
    """The pictures of a file, with everything that stands between them. Raises _Unfit, FilmError."""
    kind = _FORMATS[codec]
    copied = ["-i", str(source), "-map", "0:v:0", "-c", "copy", "-bsf:v", f"{kind}_mp4toannexb", "-f", kind, "-"]
    units = access_units(codec, ffmpeg.run(copied))
    if not units:
        raise _Unfit("no picture to begin with")
    for each in units:
        if each.key and not any(is_parameter_set(codec, unit) for unit in split_nal_units(each.data)):
            raise _Unfit("key pictures without parameter sets")
    return _film(codec, (held.width, held.height), round(held.rate), units, _sounds(source, folder, held.sound))


def _encoded(codec: Codec, stream_type: str, source: Path | None, folder: Path) -> Film:
    width, height = SIZES[stream_type]
    picture_in, _ = _inputs(source, (width, height))
    scale = f"scale={width}:{height},fps={RATE},format=yuv420p"
    video = ["-an", "-vf", scale, "-c:v", *_ENCODERS[codec], "-preset", "ultrafast", "-bf", "0"]
    kind = _FORMATS[codec]
    pictures = _kept(folder / f"{stream_type}.{kind}", [*picture_in, *video, "-f", kind, "-"], source)
    units = access_units(codec, pictures, everything=False)
    if not units:
        raise FilmError("no picture to decode")
    return _film(codec, (width, height), RATE, units, _sounds(source, folder))


def _sounds(source: Path | None, folder: Path, as_it_is: bool = False) -> list[bytes]:
    """ADTS frames; none when the source has no sound."""
    _, sound_in = _inputs(source, (0, 0))
    audio = ["-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "aac", "-profile:a", "aac_low"]
    made = [*sound_in, "-vn", *(["-c:a", "copy"] if as_it_is else audio), "-f", "adts", "-"]
    try:
        return sound_frames(ffmpeg.run(made) if as_it_is else _kept(folder / "sound.adts", made, source))
    except (FilmError, WireError):
        return []


def _film(codec: Codec, size: tuple[int, int], rate: int, units: list[Picture], sounds: list[bytes]) -> Film:
    # The sound is cut where the pictures end, so that both begin again together.
    sounds = sounds[: max(1, len(units) * SAMPLE_RATE // (rate * SAMPLES_PER_AAC_FRAME))]
    keys = tuple(i for i, unit in enumerate(units) if unit.key)
    return Film(codec, *size, rate, tuple(units), tuple(sounds), keys)


def _kept(path: Path, arguments: list[str], source: Path | None) -> bytes:
    """The file, made when it is missing or older than its source."""
    try:
        if source is None or path.stat().st_mtime > source.stat().st_mtime:
            return path.read_bytes()
    except OSError:
        pass  # not made yet
    data = ffmpeg.run(arguments)
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
        return await asyncio.to_thread(ffmpeg.run, [*picture_in, *made])
