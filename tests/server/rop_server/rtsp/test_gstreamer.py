"""GStreamer as a player: the access units it writes are the camera's."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rop_wire.media import FrameKind
from rop_wire.nal import Codec, is_parameter_set, nal_type, parse_adts, split_nal_units

UID = "95270000000TEST1"
_NAMES = {Codec.H264: ("h264", 9), Codec.H265: ("h265", 35)}


# Every kind, mode and codec; the transports take turns.
CASES = [
    (kind, mode, codec, ("tcp", "udp")[(number + number // 2) % 2])
    for number, (mode, kind, codec) in enumerate(
        product(("TLS", "encryptTCP", "TCP"), ("live", "recording"), Codec)
    )
]
LIVE_PICTURES = 30


async def record(url: str, transport: str, codec: Codec, target: Path, pictures: int = -1) -> None:
    """Write the video of an address to a file, to its end or so many pictures."""
    name, _ = _NAMES[codec]
    await launch(
        f"rtspsrc location={url} protocols={transport} latency=100 ! rtp{name}depay ! {name}parse ! "
        f"video/x-{name},stream-format=byte-stream,alignment=au ! identity eos-after={pictures} ! "
        f"filesink location={target}"
    )
    assert target.exists() and target.stat().st_size


async def launch(line: str) -> None:
    """Run a pipeline to its end. The status tells nothing: its PAUSE and TEARDOWN race after the end."""
    process = await asyncio.create_subprocess_exec(
        *("gst-launch-1.0", *line.split()), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Got EOS from element" in out.decode(), out.decode()


@pytest.mark.parametrize(("kind", "mode", "codec", "transport"), CASES)
async def test_what_is_stored_is_what_was_sent(
    place: Any,
    film_of: Any,
    film_camera: Any,
    players: Any,
    tmp_path: Path,
    kind: str,
    mode: str,
    codec: Codec,
    transport: str,
) -> None:
    """Of a recording everything, of a live stream a run of pictures."""
    film = film_of(codec)
    camera = await film_camera(film)
    camera.pace = 0.01
    place.config.raw["deviceStream"]["encryptMode"] = mode
    recording = kind == "recording"
    sessions = place.sessions
    url, _ = await (sessions.replay(UID, 0, "RecM01.mp4") if recording else sessions.live(UID, 0, "mainStream"))
    target = tmp_path / "film"
    await record(url, transport, codec, target, -1 if recording else LIVE_PICTURES)
    delimiter = _NAMES[codec][1]

    def pictures(raw: bytes) -> list[bytes]:
        """Without delimiters and parameter sets, which GStreamer repeats as it likes."""
        units = split_nal_units(raw)
        return [each for each in units if not is_parameter_set(codec, each) and nal_type(codec, each) != delimiter]

    sent, stored = pictures(b"".join(each.payload for each in film.frames if each.is_video)), target.read_bytes()
    if recording:
        assert pictures(stored) == sent
    else:
        assert len(pictures(stored)) >= LIVE_PICTURES - 1
        assert players.within(pictures(stored), sent)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_sound_that_is_stored_is_what_was_sent(
    place: Any, film_of: Any, film_camera: Any, tmp_path: Path, transport: str
) -> None:
    film = film_of(Codec.H264)
    camera = await film_camera(film)
    camera.pace = 0.01
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    target = tmp_path / "sound"
    await launch(
        f"rtspsrc location={url} protocols={transport} latency=100 ! application/x-rtp,media=audio ! "
        f"rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=adts ! filesink location={target}"
    )
    sent = b"".join(each.payload for each in film.frames if each.kind is FrameKind.AUDIO)
    assert [each.data for each in parse_adts(target.read_bytes())] == [each.data for each in parse_adts(sent)]
