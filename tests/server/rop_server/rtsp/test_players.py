"""ffmpeg and ffprobe as players: what they decode is what the camera sent."""

from __future__ import annotations

from typing import Any

import pytest

from rop_wire.commands import Command
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


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("layout", ["full", "short"])
@pytest.mark.parametrize("piece", [40, 32768])
async def test_any_layout(
    place: Any, film_of: Any, film_camera: Any, players: Any, codec: Codec, layout: str, piece: int
) -> None:
    """Delimiters, SEI, several slices, short start codes, packets of 40 bytes: the same pictures."""
    film = film_of(codec, layout=layout, sound=False)
    camera = await film_camera(film)
    camera.piece = piece
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    told = await players.watch(url, "tcp")
    assert players.hashes(told) == film.pictures
    assert "#err" not in told


async def test_silent_camera_has_no_audio_track(place: Any, film_of: Any, film_camera: Any, players: Any) -> None:
    await film_camera(film_of(Codec.H265, sound=False))
    url, _ = await place.sessions.live(UID, 1, "subStream")
    told = await players.probe(url, "tcp")
    assert told["video.codec_name"] == "hevc"
    assert not any(name.startswith("audio.") for name in told)


async def test_two_players_one_stream(
    place: Any, film_of: Any, film_camera: Any, players: Any, until: Any
) -> None:
    """Viewers share the stream; the last one that leaves stops it."""
    import asyncio

    camera = await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    again, _ = await place.sessions.live(UID, 0, "mainStream")
    assert again == url
    told = await asyncio.gather(
        *(players.watch(url, way, "-map", "0:v", "-frames:v", "25") for way in ("tcp", "udp"))
    )
    for each in told:
        assert players.within(players.hashes(each), camera.film.pictures)
    await until(lambda: Command.LIVE_STOP in camera.commands())
    assert camera.commands().count(Command.LIVE_START) == 1
    assert not len(place.relay)
