"""GStreamer as a player: the access units it writes are the camera's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rop_wire.nal import Codec, is_parameter_set, nal_type, split_nal_units

UID = "95270000000TEST1"
_NAMES = {Codec.H264: ("h264", 9), Codec.H265: ("h265", 35)}


async def record(url: str, transport: str, codec: Codec, target: Path) -> None:
    """Write the video of an address to a file, to its end."""
    name, _ = _NAMES[codec]
    line = (
        f"rtspsrc location={url} protocols={transport} latency=100 ! rtp{name}depay ! {name}parse ! "
        f"video/x-{name},stream-format=byte-stream,alignment=au ! filesink location={target}"
    )
    process = await asyncio.create_subprocess_exec(
        *("gst-launch-1.0", "-q", *line.split()), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert target.exists() and target.stat().st_size, out.decode()


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_recording(
    place: Any, film_of: Any, film_camera: Any, tmp_path: Path, codec: Codec, transport: str
) -> None:
    film = film_of(codec)
    camera = await film_camera(film)
    camera.pace = 0.01
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    target = tmp_path / "film"
    await record(url, transport, codec, target)
    delimiter = _NAMES[codec][1]

    def pictures(raw: bytes) -> list[bytes]:
        """Without delimiters and parameter sets, which GStreamer repeats as it likes."""
        units = split_nal_units(raw)
        return [each for each in units if not is_parameter_set(codec, each) and nal_type(codec, each) != delimiter]

    sent = b"".join(each.payload for each in film.frames if each.is_video)
    assert pictures(target.read_bytes()) == pictures(sent)
