"""Recordings: pause, seek, and what happens to those nobody plays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rop_wire.commands import Command
from rop_wire.nal import Codec, split_nal_units
from rop_wire.rtcp import BYE

UID = "95270000000TEST1"
START = datetime(2026, 3, 1, 12, 0, 0)


def payloads(film: Any) -> list[list[bytes]]:
    """NAL units of each picture of a film."""
    return [split_nal_units(each.payload) for each in film.frames if each.is_video]


async def seekable(film_of: Any, film_camera: Any, seconds: int = 6) -> Any:
    """A camera that tells the times of its recording; a key frame begins every second."""
    camera = await film_camera(film_of(Codec.H264, seconds=seconds, sound=False))
    camera.info = replace(camera.film.info, start=START, end=START + timedelta(seconds=seconds))
    return camera


@pytest.mark.parametrize("marks", [True, False])
async def test_seek_before_and_while_playing(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any, marks: bool
) -> None:
    camera = await seekable(film_of, film_camera, 10)
    camera.pace = 0.02
    camera.marks = marks
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    told = await player.describe()
    assert b"a=range:npt=0-10.000" in told.body
    await player.setup()
    play = await player.ask("PLAY", Range="npt=4-")
    assert (play.header("Range") or "").startswith("npt=4.000-10.000")
    seek = next(each for each in camera.asked if each.command == Command.REPLAY_SEEK)
    assert seek.command == 123
    await until(lambda: len(player.units(Codec.H264)) >= 5)
    assert player.units(Codec.H264)[0] == payloads(camera.film)[80]
    again = await player.ask("PLAY", Range="npt=2-")
    assert (again.header("Range") or "").startswith("npt=2.000-")
    await asyncio.wait_for(player.ended.wait(), 20)
    assert player.units(Codec.H264)[-160:] == payloads(camera.film)[40:]
    times = [each.timestamp for each in player.packets[0]]
    assert times == sorted(times), "the RTP time goes on"


async def test_pause_stops_the_camera_and_goes_on(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    camera = await seekable(film_of, film_camera)
    camera.pace = 0.02
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.play()
    await until(lambda: len(player.units(Codec.H264)) >= 45)
    assert (await player.ask("PAUSE")).status == 200
    assert Command.REPLAY_STOP in camera.commands()
    seen = len(player.units(Codec.H264))
    assert (await player.ask("GET_PARAMETER")).status == 200
    assert len(player.units(Codec.H264)) == seen
    assert (await player.ask("PLAY")).status == 200
    await asyncio.wait_for(player.ended.wait(), 20)
    assert player.units(Codec.H264)[-60:] == payloads(camera.film)[-60:]
    assert camera.commands().count(Command.REPLAY_START) == 2


async def test_player_that_reports_all_the_time_gets_the_last_picture(
    place: Any, film_of: Any, film_camera: Any, viewer: Any
) -> None:
    """A connection that is closed with reports unread is reset by the system, and what was on its way is lost."""
    camera = await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.play()
    report = bytes.fromhex("24010008 80c90001 00000001") * 500
    while not player.ended.is_set():
        player.writer.write(report)
        await asyncio.sleep(0)
    assert player.error is None
    assert player.units(Codec.H264) == payloads(camera.film)
    assert BYE in player.kinds()


async def test_player_may_pause_and_tear_down_what_has_ended(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """GStreamer does so, and takes a refusal or a closed connection for a failure of the whole."""
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.play()
    await until(lambda: BYE in player.kinds())
    assert (await player.ask("PAUSE")).status == 200
    assert (await player.ask("PLAY")).status == 404
    assert (await player.ask("TEARDOWN")).status == 200
    await asyncio.wait_for(player.ended.wait(), 20)


async def test_what_the_recording_cannot(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    """No times told: no seeking, no pausing. Beyond the end: no."""
    plain = await film_camera(film_of(Codec.H264))
    plain.pace = 0.05
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    assert (await player.play(Range="npt=1-")).status == 457
    assert (await player.ask("PLAY", Range="npt=0-")).status == 200
    assert (await player.ask("PAUSE")).status == 455


async def test_recording_too_long_to_keep_is_started_again(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any, monkeypatch: Any
) -> None:
    """Nobody plays after DESCRIBE: memory is bounded, and PLAY still begins with the first picture."""
    from rop_server.media import stream

    monkeypatch.setattr(stream, "CACHE_LIMIT", 60_000)
    camera = await film_camera(film_of(Codec.H264, seconds=4))
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.describe()
    await player.setup()
    await until(lambda: Command.REPLAY_STOP in camera.commands())
    await player.ask("PLAY")
    await asyncio.wait_for(player.ended.wait(), 20)
    assert player.units(Codec.H264) == payloads(camera.film)


async def test_camera_that_cannot_seek(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """The player is told so and goes on watching."""
    camera = await seekable(film_of, film_camera)
    camera.pace = 0.02
    camera.refuses.add(Command.REPLAY_SEEK)
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.play()
    await until(lambda: len(player.units(Codec.H264)) >= 5)
    assert (await player.ask("PLAY", Range="npt=5-")).status == 457
    await asyncio.wait_for(player.ended.wait(), 20)
    assert player.units(Codec.H264)[-20:] == payloads(camera.film)[-20:]


async def test_second_viewer_watches_along(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """It may not move the recording under the first one; a player's usual second 0 is no wish to."""
    camera = await seekable(film_of, film_camera)
    camera.pace = 0.02
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    first, second = await viewer(url), await viewer(url)
    await first.play(Range="npt=0.000-")
    await until(lambda: len(first.units(Codec.H264)) >= 45)
    assert (await second.play(Range="npt=4-")).status == 457
    told = await second.ask("PLAY", Range="npt=0.000-")
    assert told.status == 200
    begin = float((told.header("Range") or "npt=0-")[4:].partition("-")[0])
    assert begin >= 2
    assert (await first.ask("PAUSE")).status == 455
    await asyncio.wait_for(second.ended.wait(), 20)
    assert first.units(Codec.H264) == payloads(camera.film)
    assert second.units(Codec.H264) == payloads(camera.film)[round(begin * 20) :]


async def test_play_while_playing_repeats_nothing(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    camera = await seekable(film_of, film_camera)
    camera.pace = 0.02
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    first, second = await viewer(url), await viewer(url)
    await second.describe()
    await first.play(Range="npt=0.000-")
    for number in (5, 25):
        await until(lambda number=number: len(first.units(Codec.H264)) >= number)
        assert (await first.ask("PLAY", Range="npt=0.000-")).status == 200
    await asyncio.wait_for(first.ended.wait(), 20)
    assert first.units(Codec.H264) == payloads(camera.film)


async def test_unknown_file(place: Any, film_of: Any, film_camera: Any) -> None:
    from rop_server.core.facade import CallError

    await film_camera(film_of(Codec.H264))
    with pytest.raises(CallError) as told:
        await place.sessions.replay(UID, 0, "Nothing.mp4")
    assert told.value.symbol == "file_not_found"
