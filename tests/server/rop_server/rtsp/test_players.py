"""ffmpeg and ffprobe as players: what they decode is what the camera sent."""

from __future__ import annotations

from typing import Any

import pytest

from rop_wire.nal import Codec

UID = "95270000000TEST1"


@pytest.mark.parametrize("mode", ["TLS", "encryptTCP", "TCP"])
@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_live(
    place: Any, film_of: Any, film_camera: Any, players: Any, mode: str, codec: Codec, transport: str
) -> None:
    film = film_of(codec)
    await film_camera(film)
    place.config.raw["deviceStream"]["encryptMode"] = mode
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    told = await players.watch(url, transport, "-map", "0:v", "-frames:v", "30")
    seen = players.hashes(told)
    assert len(seen) == 30
    assert players.within(seen, film.pictures), told


async def test_probe(place: Any, film_of: Any, film_camera: Any, players: Any) -> None:
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    told = await players.probe(url, "tcp")
    assert told["video.codec_name"] == "h264"
    assert (told["video.width"], told["video.height"]) == ("320", "240")
    assert (told["audio.codec_name"], told["audio.sample_rate"], told["audio.channels"]) == ("aac", "16000", "1")
