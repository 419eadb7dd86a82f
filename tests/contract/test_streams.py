"""The media of virtual cameras through a real server, to a real player."""

import datetime
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_wire.nal import split_nal_units

UID = "95270000STREAM01"


def frames_of(url: str, seconds: float, *more: str, at: int = 0) -> list[str]:
    """Hashes of what ffmpeg decodes of an address within some seconds."""
    seek = ["-ss", str(at)] if at else []
    command = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        *seek,
        "-i",
        url,
        "-t",
        str(seconds),
        *more,
    ]
    done = subprocess.run(
        [*command, "-f", "framemd5", "-"], capture_output=True, text=True, check=False, timeout=60
    )
    rows = [line.split(",") for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert rows, done.stderr
    return [row[-1].strip() for row in rows]


def hashes_of(file: Any) -> list[str]:
    """What the camera's own film decodes to."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(file), "-f", "framemd5", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


def live(site: Any, uid: str, stream_type: str = "subStream") -> str:
    body = {"streamType": stream_type, "channel": 0}
    status, told = site.call("POST", f"/v1.0/devices/{uid}/live/play-session", body)
    assert status == 200, told
    return at_site(site, told["playURL"])


def at_site(site: Any, url: str) -> str:
    """The address with the port that this test's server listens on."""
    return url.replace(":61008/", f":{site.ports['clientRtsp']}/", 1)


@pytest.mark.parametrize(
    ("mode", "traits"), [("TLS", ()), ("encryptTCP", ("--h265",)), ("TCP", ()), ("TLS", ("--battery", "--h265"))]
)
def test_live(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], mode: str, traits: tuple[str, ...]
) -> None:
    """A player decodes, picture by picture, what the camera's film holds, in every mode."""
    if mode != "TLS":
        site.restart(deviceStream__encryptMode=mode)
        site.open_enrolment()
    camera = joined(UID, *traits)
    seen = frames_of(live(site, UID), 2, "-map", "0:v")
    known = hashes_of(next(camera.folder.glob("media/subStream.*")))
    assert len(seen) >= 25
    assert set(seen) <= set(known)
    (started,) = camera.events("stream")
    assert (started["type"], started["mode"]) == ("subStream", mode)
    poll("the stream ends with its last viewer", lambda: camera.events("stream-ended"))


def test_a_given_film_arrives_bit_by_bit(site: Any, joined: Callable[..., Any], tmp_path: Path) -> None:
    """What a player stores of the main stream are the pictures of the file."""
    film, stored = tmp_path / "film.mp4", tmp_path / "stored.h264"
    make = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240:rate=12:duration=2",
        "-c:v",
        "libx264",
        "-bf",
        "0",
        "-g",
        "8",
    ]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *make, str(film)], check=True, timeout=60)
    camera = joined(UID, "--media", str(film))
    copy = ["-rtsp_transport", "tcp", "-i", live(site, UID, "mainStream"), "-t", "3", "-c", "copy", str(stored)]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *copy], check=True, timeout=60)
    (started,) = camera.events("stream")
    assert "encoded" not in started
    raw = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(film), "-c", "copy", "-f", "h264", "-"]
    known = split_nal_units(subprocess.run(raw, capture_output=True, check=True, timeout=60).stdout)
    seen = split_nal_units(stored.read_bytes())
    assert len(seen) > 20 and set(seen) <= set(known)
    assert {unit for unit in known if len(unit) > 40} <= set(seen), "all pictures of the loop were seen"


def test_two_streams_with_sound(site: Any, joined: Callable[..., Any]) -> None:
    joined(UID)
    for stream_type in ("mainStream", "externStream"):
        seen = frames_of(live(site, UID, stream_type), 1.5, "-map", "0:a")
        assert len(seen) >= 15


def records(site: Any, day: datetime.date, token: str = "") -> Any:
    query = f"record_date={day}&start_at=00:00:00&end_at=23:59:59&channel=0&stream_type=subStream"
    status, told = site.call(
        "GET", f"/v1.0/devices/{UID}/records?{query}" + (f"&next_token={token}" if token else "")
    )
    assert status == 200, told
    return told


def test_recordings(site: Any, joined: Callable[..., Any]) -> None:
    """A day of several pages, and its place in the calendar."""
    joined(UID)
    day = datetime.datetime.now().date() - datetime.timedelta(days=1)
    pages, token = [], ""
    while not pages or token:
        page = records(site, day, token)
        pages.append(page["items"])
        token = page.get("nextToken", "")
    assert [len(page) for page in pages] == [40, 40, 16]
    assert len({item["fileName"] for page in pages for item in page}) == 96
    _, told = site.call("GET", f"/v1.0/devices/{UID}/records/calendar?year={day.year}&month={day.month}&channel=0")
    assert {"channel": 0, "date": day.day} in told["items"]


def replay(site: Any) -> str:
    """The address of the first recording of yesterday."""
    day = datetime.datetime.now().date() - datetime.timedelta(days=1)
    name = records(site, day)["items"][0]["fileName"]
    body = {"fileName": name, "channel": 0}
    status, session = site.call("POST", f"/v1.0/devices/{UID}/records/play-session", body)
    assert status == 200, session
    return at_site(site, session["playURL"])


def test_replay(site: Any, joined: Callable[..., Any], poll: Callable[..., Any]) -> None:
    """A recording, from its first picture to its end."""
    camera = joined(UID)
    seen = frames_of(replay(site), 60, "-map", "0:v")
    known = hashes_of(camera.folder / "media" / "subStream.h264")
    assert len(seen) == 90
    assert seen == (known * 2)[:90]
    poll("the replay ends", lambda: camera.events("stream-ended"))


def test_replay_from_the_middle(site: Any, joined: Callable[..., Any]) -> None:
    """The player's wish to begin at 5 s reaches the camera, which goes there."""
    camera = joined(UID)
    seen = frames_of(replay(site), 60, "-map", "0:v", at=5)
    known = hashes_of(camera.folder / "media" / "subStream.h264")
    (told,) = camera.events("seek")
    assert told["sequence"] == 1024
    assert seen[-15:] == (known * 2)[75:90]


@pytest.mark.parametrize("fault", ["stream-drop=1", "stream-silent=1", "stream-garbage=1"])
def test_a_stream_that_breaks_can_be_had_again(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], fault: str
) -> None:
    if fault.startswith("stream-silent"):
        site.restart(timeout__streamTimeout=2000)
        site.open_enrolment()
    camera = joined(UID, "--fault", fault)
    assert 8 <= len(frames_of(live(site, UID), 20, "-map", "0:v")) <= 30
    camera.ctl("clear-faults")
    poll("the stream ends", lambda: camera.events("stream-ended"))
    assert len(frames_of(live(site, UID), 2, "-map", "0:v")) >= 25


def test_picture(site: Any, joined: Callable[..., Any]) -> None:
    joined(UID)
    path = f"/v1.0/devices/{UID}/snap/snapshot.jpg?channel=0&stream_type=mainStream"
    with urllib.request.urlopen(f"http://127.0.0.1:{site.ports['clientHttp']}{path}", timeout=20) as answer:
        picture = answer.read()
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", "-"]
    told = subprocess.run(probe, input=picture, capture_output=True, check=True, timeout=20)
    assert told.stdout.decode().strip() == "mjpeg,1280,720"
