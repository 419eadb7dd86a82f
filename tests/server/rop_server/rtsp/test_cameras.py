"""Media connections of cameras: who may send, what ends, what does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rop_server.core.facade import CallError
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import Codec, split_nal_units
from rop_wire.packet import Packet
from rop_wire.play_url import play_url

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"


async def closed(link: Any, limit: float = 5) -> bool:
    """Whether the server ends the connection."""
    try:
        while await asyncio.wait_for(link.reader.read(65536), limit):
            pass
    except OSError:
        pass
    return True


async def raw_link(place: Any, camera: Any, mode: str = "TLS") -> Any:
    """A media connection with its handshake."""
    port = place.site.ports["streamTLS" if mode == "TLS" else "streamTCP"]
    return await camera.connect(mode, port)


@pytest.mark.parametrize("mode", ["TLS", "TCP"])
@pytest.mark.parametrize("command", [0, 33, 460])
async def test_any_other_command_ends_it(
    place: Any, film_of: Any, film_camera: Any, mode: str, command: int
) -> None:
    camera = await film_camera(film_of())
    link = await raw_link(place, camera, mode)
    link.send(Packet(0, command, 9, 200, b""))
    assert await closed(link)


@pytest.mark.parametrize("mode", ["TLS", "TCP"])
async def test_handshake_of_another_device_is_refused(
    place: Any, film_of: Any, film_camera: Any, mode: str
) -> None:
    """The UID is bound to the certificate and to the access key (C2.5)."""
    camera = await film_camera(film_of())
    link = await raw_link(place, camera, mode)
    link.send(Packet(0, Command.HANDSHAKE, 2, 200, messages.Handshake(OTHER).encode()), 0, True)
    assert await closed(link)


async def test_handshake_answers(place: Any, film_of: Any, film_camera: Any) -> None:
    """Nothing on 61006, the heartbeat interval on 61007."""
    camera = await film_camera(film_of())
    tls = await raw_link(place, camera, "TLS")
    assert len(await tls.handshake(UID)) == 24
    tcp = await raw_link(place, camera, "encryptTCP")
    told = messages.HandshakeReply.decode(await tcp.handshake(UID))
    assert told.heartbeat_interval_ms == 20_000


async def test_denied_device(place: Any, film_of: Any, film_camera: Any) -> None:
    camera = await film_camera(film_of())
    place.site.facts.denied.add(UID)
    with pytest.raises((AssertionError, OSError)):
        await raw_link(place, camera, "TLS")
    with pytest.raises((AssertionError, OSError)):
        await raw_link(place, camera, "TCP")
    assert {each[1] for each in place.site.facts.of("refused")} == {"streamTLS", "streamTCP"}


async def test_silent_connection_ends(place: Any, film_of: Any, film_camera: Any) -> None:
    """40 s without data; before the handshake on 61007 it is 10 s."""
    camera = await film_camera(film_of())
    links = [await raw_link(place, camera, mode) for mode in ("TLS", "TCP")]
    bare = await asyncio.open_connection("127.0.0.1", place.site.ports["streamTCP"])
    place.site.time.shift += 11
    assert await bare[0].read() == b""
    bare[1].close()
    place.site.time.shift += 30
    for link in links:
        assert await closed(link)


async def test_media_for_an_unknown_handle_are_dropped(
    place: Any, film_of: Any, film_camera: Any, until: Any
) -> None:
    camera = await film_camera(film_of())
    link = await raw_link(place, camera)
    for packet in camera.film.frames[0].packets(4711):
        link.send(packet)
    await until(lambda: place.relay.unknown > 0)
    assert not len(place.relay)
    assert not link.writer.is_closing()


async def test_streams_end_with_their_own_connection_only(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """The vendor's server ended every stream of the device (C4.9)."""
    camera = await film_camera(film_of())
    first, _ = await place.sessions.live(UID, 0, "mainStream")
    second, _ = await place.sessions.live(UID, 0, "subStream")
    one = await viewer(first)
    await one.play()
    kept = camera.link
    camera.link = None  # the next stream comes on a connection of its own
    two = await viewer(second)
    await two.play()
    await until(lambda: two.packets and one.packets)
    kept.writer.transport.abort()
    await asyncio.wait_for(one.ended.wait(), 5)
    seen = len(two.packets[0])
    await until(lambda: len(two.packets[0]) > seen + 50)
    assert not two.ended.is_set()
    again, _ = await place.sessions.live(UID, 0, "mainStream")
    assert again != first, "the ended session's address is not given again"


async def test_camera_that_falls_silent(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    camera = await film_camera(film_of())
    camera.loops = False
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.play()
    await until(lambda: all(each.done() for each in camera.sending.values()) and player.units(Codec.H264))
    seen: list[int] = []

    def all_arrived() -> bool:
        seen.append(place.relay.counts["received"])
        return len(seen) > 10 and seen[-10] == seen[-1]

    await until(all_arrived)
    place.site.time.shift += 31
    await asyncio.wait_for(player.ended.wait(), 20)
    await until(lambda: Command.LIVE_STOP in camera.commands())


@pytest.mark.parametrize("answer", [b"", b"x" * 30, InfoBlock(20, Codec.H264).encode()[:30] + b"\x07\x00"])
async def test_start_answers_that_are_none(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, answer: bytes
) -> None:
    """Too short, or another codec (C4.6): 404, and nothing is left."""
    camera = await film_camera(film_of())

    class Odd:
        def encode(self) -> bytes:
            return answer

    camera.info = Odd()
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    assert (await player.ask("DESCRIBE")).status == 404
    assert not len(place.relay) and not len(place.sessions)


async def test_sessions(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    camera = await film_camera(film_of())
    with pytest.raises(CallError, match="device_channel_not_found"):
        await place.sessions.live(UID, 7, "mainStream")
    with pytest.raises(CallError, match="device_offline"):
        await place.sessions.live(OTHER, 0, "mainStream")
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    other, _ = await place.sessions.live(UID, 0, "subStream")
    assert other != url
    records = {(await place.sessions.replay(UID, 0, "RecM01.mp4"))[0] for _ in range(3)}
    assert len(records) == 3
    handles = [each.play.request_id for each in place.sessions.sessions]
    assert len(set(handles)) == 5
    forged = play_url(url.rpartition("/v1.0")[0], "x" * 32, place.sessions.sessions[0].play)
    player = await viewer(forged)
    assert (await player.ask("DESCRIBE")).status == 404
    assert Command.LIVE_START not in camera.commands()


async def test_address_must_be_used_in_time(place: Any, film_of: Any, film_camera: Any, viewer: Any) -> None:
    await film_camera(film_of())
    place.config.raw["rtsp"]["playSessionTTL"] = 1
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    deadline = asyncio.get_running_loop().time() + 5
    while len(place.sessions) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    player = await viewer(url)
    assert (await player.ask("DESCRIBE")).status == 404


@pytest.mark.parametrize("limit", [4_000_000, 100_000])
async def test_early_data_wait_for_the_start_response(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any, monkeypatch: Any, limit: int
) -> None:
    """Media before the answer to the start command are not lost (C4.8), nor is a frame of 2 MB."""
    from rop_server.media import stream

    monkeypatch.setattr(stream, "EARLY_LIMIT", limit)
    camera = await film_camera(film_of(sound=False))
    first = camera.film.frames[0]
    filler = b"\x00\x00\x00\x01\x0c" + b"\xff" * 2_000_000 + b"\x80"
    big = Frame(FrameKind.KEY, first.payload + filler, first.timestamp, first.codec)
    camera.link = await raw_link(place, camera)
    answer = camera.signaling.send

    def send(packet: Packet) -> None:
        delay = 0.3 if packet.command == Command.LIVE_START else 0
        asyncio.get_running_loop().call_later(delay, answer, packet)

    camera._start = lambda packet: camera.send_frame(big, packet.request_id, False, 200)
    camera.signaling.send = send
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.play()
    if limit < 1_000_000:  # too much came early: the stream is found again at the next frame
        camera.send_frame(big, place.sessions.sessions[0].play.request_id, False, 200)
    await until(lambda: player.units(Codec.H264))
    assert player.units(Codec.H264)[0] == split_nal_units(big.payload)


async def test_lost_step_is_found_again(
    place: Any, film_of: Any, film_camera: Any, viewer: Any, until: Any
) -> None:
    """Garbage between frames costs those frames, not the stream."""
    camera = await film_camera(film_of(sound=False))
    send = camera.send_frame
    sent = 0

    def dirty(frame: Frame, handle: int, replay: bool, status: int) -> None:
        nonlocal sent
        sent += 1
        if sent == 30:
            camera.link.send(Packet(0, Command.LIVE_START, handle, 200, bytes(range(256)) * 5))
        send(frame, handle, replay, status)

    camera.send_frame = dirty
    url, _ = await place.sessions.live(UID, 0, "mainStream")
    player = await viewer(url)
    await player.play()
    await until(lambda: len(player.units(Codec.H264)) >= 60)
    assert next(iter(place.relay.streams)).skipped >= 1000
