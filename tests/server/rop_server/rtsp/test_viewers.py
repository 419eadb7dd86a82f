"""RTSP and RTP as a player sees them, byte for byte."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Any

import pytest

from rop_wire.commands import Command
from rop_wire.media import FrameKind
from rop_wire.nal import Codec, parameter_sets, split_nal_units
from rop_wire.rtcp import BYE, SENDER_REPORT

UID = "95270000000TEST1"


def payloads(film: Any) -> list[list[bytes]]:
    """NAL units of each picture of a film."""
    return [split_nal_units(each.payload) for each in film.frames if each.is_video]


async def test_session_from_options_to_teardown(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    camera = await film_camera(film_of(Codec.H264))
    url, life = await place.sessions.live(UID, 0, "mainStream")
    assert life == 30
    player = await viewer(url)
    options = await player.ask("OPTIONS")
    assert "GET_PARAMETER" in (options.header("Public") or "")
    told = await player.describe()
    assert told.header("Content-Type") == "application/sdp"
    assert told.header("Content-Base") == url + "/"
    video, audio = player.description
    sets = parameter_sets(Codec.H264, payloads(camera.film)[0])
    assert video.parameter_sets() == sets
    assert audio.parameters["config"] == "1408"
    first = await player.setup("track1", "0-1")
    assert "interleaved=0-1" in (first.header("Transport") or "")
    assert (first.header("Session") or "").endswith(";timeout=60")
    assert (await player.setup("track2", "4-5")).status == 200
    play = await player.ask("PLAY", Range="npt=0.000-")
    assert play.header("Range") == "npt=0.000-"
    assert "track1;seq=" in (play.header("RTP-Info") or "")
    await until(lambda: len(player.units(Codec.H264)) >= 30 and len(player.packets.get(4, [])) > 20)
    assert player.order.index("media") > player.order.index("response 200")
    seen = player.units(Codec.H264)
    known = payloads(camera.film)
    begin = known.index(seen[0])
    assert begin % 20 == 0, "begins with a key frame"
    assert seen == [known[(begin + step) % len(known)] for step in range(len(seen))]
    info = dict(part.split("=", 1) for part in (play.header("RTP-Info") or "").split(",")[0].split(";"))
    assert (int(info["seq"]), int(info["rtptime"])) == (
        player.packets[0][0].sequence,
        player.packets[0][0].timestamp,
    )
    await until(lambda: SENDER_REPORT in player.kinds(1) and SENDER_REPORT in player.kinds(5))
    assert (await player.ask("TEARDOWN")).status == 200
    await asyncio.wait_for(player.ended.wait(), 5)
    await until(lambda: Command.LIVE_STOP in camera.commands())


async def test_tracks_have_own_numbers_and_markers(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.describe()
    await player.setup("track1", "0-1")
    await player.setup("track2", "2-3")
    await player.ask("PLAY")
    await until(lambda: len(player.packets.get(0, [])) > 100 and len(player.packets.get(2, [])) > 20)
    video, sound = player.packets[0], player.packets[2]
    for track in (video, sound):
        numbers = [each.sequence for each in track]
        assert numbers == [(numbers[0] + step) & 0xFFFF for step in range(len(numbers))]
        assert len({each.ssrc for each in track}) == 1
        assert max(len(each.payload) for each in track) + 12 <= 1460
    assert video[0].ssrc != sound[0].ssrc
    for this, following in itertools.pairwise(video):
        assert this.marker == (this.timestamp != following.timestamp)
    steps = {following.timestamp - this.timestamp for this, following in itertools.pairwise(sound)}
    assert 1024 in steps and all(step % 1024 == 0 for step in steps)


async def test_only_tracks_that_were_set_up(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.describe()
    assert (await player.ask("PLAY")).status == 455
    await player.setup("track2", "6-7")
    await player.ask("PLAY")
    await until(lambda: len(player.packets.get(6, [])) > 20)
    assert set(player.packets) == {6}


async def test_second_viewer_gets_a_picture_at_once(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """From the cached group of pictures: nothing more comes from the camera in between."""
    camera = await film_camera(film_of(Codec.H264))
    camera.loops = False
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    first = await viewer(url)
    await first.play()
    await until(lambda: payloads(camera.film)[-1] in first.units(Codec.H264))
    assert Command.KEY_FRAME in camera.commands()
    second = await viewer(url)
    await second.play()
    await until(lambda: len(second.units(Codec.H264)) == 20)
    assert second.units(Codec.H264) == payloads(camera.film)[20:]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1.0/live/abc.def", 404), ("/", 404), ("/v1.0/live/" + "a" * 5000 + ".b", 404)],
)
async def test_wrong_addresses(place: Any, viewer: Any, path: str, status: int) -> None:
    player = await viewer(f"rtsp://127.0.0.1:{place.rtsp.port}{path}")
    assert (await player.ask("DESCRIBE")).status == status


async def test_refusals(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    assert (await player.ask("ANNOUNCE")).status == 405
    assert (await player.ask("RECORD")).status == 405
    assert (await player.ask("PURGE")).status == 501
    assert (await player.ask("PLAY")).status == 455
    assert (await player.ask("DESCRIBE", Require="implicit-play")).status == 551
    assert (await player.ask("DESCRIBE", Accept="text/html")).status == 406
    await player.describe()
    assert (await player.setup("track9")).status == 404
    assert (await player.ask("SETUP", f"{url}/track1", Transport="RAW/RAW/UDP")).status == 461
    assert (await player.setup()).status == 200
    assert (await player.ask("PLAY", Session="other")).status == 454
    assert (await player.ask("PLAY", Range="clock=1-")).status == 457
    assert (await player.ask("PAUSE")).status == 455
    assert (await player.ask("PLAY")).status == 200
    assert (await player.ask("SETUP", f"{url}/track2", Transport="RTP/AVP/TCP;interleaved=2-3")).status == 455
    assert (await player.ask("GET_PARAMETER")).status == 200


async def test_live_pause_is_this_viewers_alone_and_no_picture_comes_twice(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    camera = await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    pausing, other = await viewer(url), await viewer(url)
    await pausing.play()
    await other.play()
    await until(lambda: len(pausing.units(Codec.H264)) >= 5)
    assert (await pausing.ask("PAUSE")).status == 200
    seen, others = len(pausing.packets[0]), len(other.units(Codec.H264))
    await until(lambda: len(other.units(Codec.H264)) >= others + 30)
    assert len(pausing.packets[0]) == seen
    assert (await pausing.ask("PLAY")).status == 200
    await until(lambda: len(pausing.packets[0]) >= seen + 5)
    numbers = [each.sequence for each in pausing.packets[0]]
    assert len(numbers) == len(set(numbers))
    keys = [split_nal_units(each.payload) for each in camera.film.frames if each.kind is FrameKind.KEY]
    await until(lambda: pausing.units(Codec.H264, since=seen))
    assert pausing.units(Codec.H264, since=seen)[0] in keys
    assert Command.LIVE_STOP not in camera.commands()


async def test_gateway_viewers_use_the_connection(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    """What came through the TLS gateway says so in its addresses."""
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    player.url = url.replace("rtsp://", "rtsps://")
    await player.describe()
    udp = "RTP/AVP;unicast;client_port=5000-5001"
    assert (await player.ask("SETUP", f"{player.url}/track1", Transport=udp)).status == 461
    assert (await player.setup()).status == 200


async def test_udp_goes_to_the_client_from_the_told_port(
    place: Any, film_of: Any, film_camera: Any, viewer: Any
) -> None:
    await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.describe()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        mine.settimeout(5)
        port = mine.getsockname()[1]
        way = f"RTP/AVP;unicast;client_port={port}-{port + 1}"
        told = (await player.ask("SETUP", f"{url}/track1", Transport=way)).header("Transport") or ""
        assert f"client_port={port}-{port + 1}" in told
        await player.ask("PLAY")
        _, sender = await asyncio.to_thread(mine.recvfrom, 2048)
        assert f"server_port={sender[1]}-{sender[1] + 1}" in told
        assert not player.packets


async def test_broken_message_is_answered_and_closed(place: Any, viewer: Any) -> None:
    """A Content-Length that is no number stopped the vendor's server (C1.1)."""
    player = await viewer(f"rtsp://127.0.0.1:{place.rtsp.port}/x")
    player.writer.write(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: many\r\n\r\n")
    assert (await asyncio.wait_for(player.responses.get(), 5)).status == 400
    await asyncio.wait_for(player.ended.wait(), 5)


async def test_end_of_a_recording_is_told(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    camera = await film_camera(film_of(Codec.H264))
    url, _ = await place.sessions.replay(UID, 0, "RecM01.mp4")
    player = await viewer(url)
    await player.play()
    await asyncio.wait_for(player.ended.wait(), 10)
    assert player.units(Codec.H264) == payloads(camera.film)
    assert player.kinds(1)[-1] == BYE
    assert Command.REPLAY_STOP in camera.commands()
    again = await viewer(url)
    assert (await again.ask("DESCRIBE")).status == 404, "the address is dead"


async def test_slow_viewer_loses_whole_groups_alone(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any, monkeypatch: Any
) -> None:
    """The slow one is bounded and goes on with a key frame; the other misses nothing."""
    from rop_server.media import viewer as bounded

    monkeypatch.setattr(bounded, "BACKLOG_LIMIT", 65536)
    camera = await film_camera(film_of(Codec.H264, seconds=4))
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    quick, slow = await viewer(url), await viewer(url)
    for player in (quick, slow):
        await player.describe()
        await player.setup()
    connections = {id(each) for each in place.rtsp.connections}
    slow.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    await slow.ask("PLAY")
    slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
    camera.pace = 0
    await quick.ask("PLAY")
    stream = next(iter(place.relay.streams))
    await until(lambda: stream.dropped > 100, 60)
    stuck = next(each.player for each in place.rtsp.connections if each.player.gaps)
    assert stuck.backlog() < 65536 + 100_000
    camera.pace = 0.05
    slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
    await until(lambda: not stuck.waiting and stuck.backlog() < 65536)
    assert quick.units(Codec.H264)
    assert {id(each) for each in place.rtsp.connections} == connections
    assert place.relay.counts["dropped"] >= 100
