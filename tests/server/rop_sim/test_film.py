"""Films: real encoders, and what a camera makes of their output."""

import subprocess
from pathlib import Path

import pytest

from rop_sim import ffmpeg
from rop_sim.ffmpeg import FilmError
from rop_sim.film import RATE, Films, access_units, make_film, sound_frames
from rop_wire.nal import Codec, join_nal_units, nal_type, split_nal_units

FORMATS = {Codec.H264: "h264", Codec.H265: "hevc"}
LAYOUTS = {Codec.H264: [7, 8, 5], Codec.H265: [32, 33, 34, 20]}


def decoded(data: bytes, kind: str) -> list[str]:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-f", kind, "-i", "-", "-f", "framemd5", "-"]
    command.remove("-nostdin")
    done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60)
    return [line.split(",")[-1].strip() for line in done.stdout.decode().splitlines() if line[:1] != "#"]


@pytest.mark.parametrize("codec", list(Codec))
def test_test_picture(codec: Codec, tmp_path: Path) -> None:
    film = make_film(codec, "externStream", None, tmp_path)
    assert (film.width, film.height, len(film.pictures), film.keys) == (320, 180, 60, (0, 15, 30, 45))
    first = split_nal_units(film.pictures[0].data)
    assert [nal_type(codec, unit) for unit in first] == LAYOUTS[codec]
    assert all(len(split_nal_units(p.data)) == 1 for p in film.pictures if not p.key)
    raw = (tmp_path / f"externStream.{FORMATS[codec]}").read_bytes()
    ours = b"".join(picture.data for picture in film.pictures)
    assert decoded(ours, FORMATS[codec]) == decoded(raw, FORMATS[codec])
    assert abs(len(film.sounds) * 1024 / 16000 - len(film.pictures) / RATE) < 0.1
    assert (film.key_before(64), film.key_after(61), film.key_after(60)) == (60, 75, 60)
    assert film.picture(61) is film.pictures[1]


@pytest.mark.parametrize("codec", list(Codec))
def test_several_slices_and_everything_else_stay_together(codec: Codec, tmp_path: Path) -> None:
    """A stream with delimiters, SEI and three slices a picture: cut, nothing lost."""
    library, slices = ("libx264", "-x264-params") if codec is Codec.H264 else ("libx265", "-x265-params")
    more = ":log-level=none" if codec is Codec.H265 else ""
    path = tmp_path / "film"
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240:rate=10:duration=2",
    ]
    command += ["-c:v", library, "-bf", "0", slices, f"slices=3:aud=1{more}", "-f", FORMATS[codec], str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = access_units(codec, path.read_bytes())
    assert len(found) == 20
    assert b"".join(each.data for each in found).count(b"\0\0\1") == path.read_bytes().count(b"\0\0\1")
    kinds = [nal_type(codec, unit) for unit in split_nal_units(found[1].data)]
    assert len([kind for kind in kinds if kind in (0, 1)]) == 3


def test_given_file(tmp_path: Path) -> None:
    path = tmp_path / "given.mkv"
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "smptebars=size=160x120:rate=25:duration=1",
    ]
    subprocess.run([*command, "-c:v", "libx264", str(path)], check=True, capture_output=True, timeout=60)
    film = make_film(Codec.H264, "externStream", path, tmp_path / "kept")
    assert len(film.pictures) == 15
    assert film.sounds == ()
    assert film.sound(3) is None


def made_by_a_camera(path: Path, codec: Codec, *more: str, rate: str = "12", sound: str = "16000") -> Path:
    """A film of two seconds; `more` are options of the encoder."""
    pattern = f"testsrc2=size=320x240:rate={rate}:duration=2"
    source = ["-f", "lavfi", "-i", pattern, "-f", "lavfi", "-i", f"sine=sample_rate={sound}:duration=2"]
    quiet = ["-x265-params", "log-level=none"] if codec is Codec.H265 else []
    video = ["-c:v", "libx264" if codec is Codec.H264 else "libx265", "-g", "8", "-bf", "0", *quiet, *more]
    command = ["ffmpeg", "-nostdin", "-v", "error", *source, *video, "-ac", "1", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return path


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("box", ["mp4", "mkv"])
def test_a_file_that_a_camera_could_have_made_is_shown_as_it_is(codec: Codec, box: str, tmp_path: Path) -> None:
    """Every NAL unit and every sound frame of the file, nothing else; the smaller streams are made of it."""
    path = made_by_a_camera(tmp_path / f"film.{box}", codec)
    film = make_film(codec, "mainStream", path, tmp_path / "kept")
    raw = [
        ffmpeg.run(["-i", str(path), "-c", "copy", *more, "-"])
        for more in (["-map", "0:v", "-f", FORMATS[codec]], ["-map", "0:a", "-f", "adts"])
    ]
    assert (film.encoded, film.width, film.height, film.rate, len(film.pictures)) == ("", 320, 240, 12, 24)
    assert split_nal_units(b"".join(each.data for each in film.pictures)) == split_nal_units(raw[0])
    assert raw[1].startswith(b"".join(film.sounds)) and len(film.sounds) > 25
    smaller = make_film(codec, "subStream", path, tmp_path / "kept")
    assert (smaller.width, smaller.height, smaller.encoded) == (640, 360, "subStream is smaller")


@pytest.mark.parametrize(
    ("options", "rate", "reason"),
    [
        (["-bf", "2"], "12", "the file has B pictures"),
        ([], "25/2", "12.5 pictures per second"),
        ([], "120", "120 pictures per second"),
        (["-x264-params", "repeat-headers=0:keyint=8"], "12", ""),
    ],
)
def test_why_a_file_is_encoded(options: list[str], rate: str, reason: str, tmp_path: Path) -> None:
    path = made_by_a_camera(tmp_path / "film.mp4", Codec.H264, *options, rate=rate, sound="48000")
    film = make_film(Codec.H264, "mainStream", path, tmp_path / "kept")
    assert film.encoded == reason
    assert film.sounds, "sound of another kind is encoded on its own"
    other = make_film(Codec.H265, "mainStream", path, tmp_path / "kept")
    assert (other.encoded, other.codec) == ("the file is not H265", Codec.H265)


def test_key_pictures_without_parameter_sets(tmp_path: Path) -> None:
    """In a stream without a container the parameter sets may stand at its beginning only."""
    path = tmp_path / "film.h264"
    film = make_film(Codec.H264, "externStream", None, tmp_path / "test")
    units = [unit for picture in film.pictures for unit in split_nal_units(picture.data)]
    bare = [*units[:3], *(unit for unit in units[3:] if nal_type(Codec.H264, unit) not in (7, 8))]
    path.write_bytes(join_nal_units(bare))
    shown = make_film(Codec.H264, "mainStream", path, tmp_path / "kept")
    assert shown.encoded == "key pictures without parameter sets"


def test_no_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    with pytest.raises(FilmError):
        make_film(Codec.H264, "mainStream", broken, tmp_path / "kept")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FilmError, match="not installed"):
        make_film(Codec.H264, "mainStream", None, tmp_path / "kept")


def test_sound_of_another_kind_is_left_out(tmp_path: Path) -> None:
    made = []
    for rate in ("16000", "48000"):
        command = [
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=duration=1",
            "-ac",
            "1",
            "-ar",
            rate,
        ]
        command += ["-c:a", "aac", "-f", "adts", "-"]
        made.append(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert b"".join(sound_frames(made[0])) == made[0]
    assert sound_frames(made[1]) == []


async def test_photograph(tmp_path: Path) -> None:
    films = Films(Codec.H264, None, tmp_path)
    picture = await films.photograph("subStream")
    assert (picture[:3], picture[-2:]) == (b"\xff\xd8\xff", b"\xff\xd9")
    with pytest.raises(FilmError):
        await films.photograph("nextStream")
    with pytest.raises(FilmError):
        await films.get("nextStream")
