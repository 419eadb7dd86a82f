"""Limits of time, and callers that go away."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from rop_wire.commands import Command
from rop_wire.nal import Codec

UID = "95270000000TEST1"


async def test_a_connection_must_describe_something(place: Any, viewer: Any) -> None:
    """Asking this and that does not keep it."""
    player = await viewer(f"rtsp://127.0.0.1:{place.rtsp.port}/x")
    await player.ask("OPTIONS")
    place.site.time.shift += 20
    assert (await player.ask("GET_PARAMETER")).status == 200
    place.site.time.shift += 11
    await asyncio.wait_for(player.ended.wait(), 5)


async def test_media_keep_an_interleaved_viewer(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    await film_camera(film_of())
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.play()
    for _ in range(4):
        seen = len(player.packets.get(0, []))
        await until(lambda seen=seen: len(player.packets.get(0, [])) > seen + 20)
        place.site.time.shift += 25
    await until(lambda: len(place.rtsp.connections) == 1)
    assert not player.ended.is_set()


async def test_udp_viewer_must_say_something(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """RTCP or requests keep it; sent packets do not."""
    await film_camera(film_of())
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.describe()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        port = mine.getsockname()[1]
        way = f"RTP/AVP;unicast;client_port={port}-{port + 1}"
        told = (await player.ask("SETUP", f"{url}/track1", Transport=way)).header("Transport") or ""
        await player.ask("PLAY")
        theirs = int(told.split("server_port=")[1].split("-")[1].split(";")[0])
        connection = next(iter(place.rtsp.connections))
        before = connection.active_at
        place.site.time.shift += 25
        mine.sendto(b"\x80\xc9\x00\x01\x00\x00\x00\x01", ("127.0.0.1", theirs))
        await until(lambda: connection.active_at > before + 20)
        for _ in range(3):
            place.site.time.shift += 25
            seen = next(iter(place.relay.streams), None)
            frames = seen.frames if seen is not None else 0
            await until(lambda s=seen, f=frames: player.ended.is_set() or (s is not None and s.frames > f + 5))
        await asyncio.wait_for(player.ended.wait(), 5)
    assert not len(place.relay)


async def test_viewer_that_leaves_while_the_stream_starts(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """The session goes on for the next one, and ends when nobody comes for 30 s."""
    camera = await film_camera(film_of())
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    player.send("DESCRIBE")
    await until(lambda: Command.LIVE_START in camera.commands())
    player.writer.transport.abort()
    await until(lambda: not place.rtsp.connections)
    second = await viewer(url)
    assert (await second.describe()).status == 200
    await second.close()
    await until(lambda: not place.rtsp.connections)
    assert len(place.relay) == 1
    place.site.time.shift += 31
    await until(lambda: Command.LIVE_STOP in camera.commands())
    assert not len(place.relay) and not len(place.sessions)


async def test_viewers_that_describe_together_start_one_stream(
    place: Any, film_of: Any, film_camera: Any, viewer: Any
) -> None:
    camera = await film_camera(film_of())
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    players = [await viewer(url) for _ in range(5)]
    told = await asyncio.gather(*(each.describe() for each in players))
    assert len({each.body for each in told}) == 1
    assert camera.commands().count(Command.LIVE_START) == 1


async def test_teardown_before_play_hurts_nobody(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """C4.16."""
    camera = await film_camera(film_of())
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    watching, leaving = await viewer(url), await viewer(url)
    await watching.play()
    await leaving.describe()
    assert (await leaving.ask("TEARDOWN")).status == 200
    await asyncio.wait_for(leaving.ended.wait(), 5)
    seen = len(watching.units(Codec.H264))
    await until(lambda: len(watching.units(Codec.H264)) > seen + 40)
    assert Command.LIVE_STOP not in camera.commands()


async def test_sleeping_camera_is_woken_for_live_and_kept_awake(
    place: Any, film_of: Any, new_camera: Any, viewer: Any, until: Any
) -> None:
    """A battery camera: woken for the address, not sent to sleep while somebody watches."""
    from rop_wire import messages

    camera = await new_camera(UID)
    keep = await camera.keep_alive()
    keep.answers[Command.WAKE_UP] = messages.EMPTY_DOCUMENT
    asking = asyncio.create_task(place.sessions.live(UID, 0, "mainStream"))
    await until(lambda: any(each.command == Command.WAKE_UP for each in keep.seen))
    signaling = await camera.signaling(hello=False)
    signaling.answers[Command.SUPPORT] = messages.Support((messages.Channel(0, 7),)).encode()
    await signaling.handshake(UID, family="battery")
    url, _ = await asyncio.wait_for(asking, 5)
    assert url.startswith("rtsp://")
    place.site.time.shift += 29
    await signaling.ask(Command.HEARTBEAT)
    assert all(each.command != Command.SLEEP for each in signaling.seen)
