"""Media connections at the wire: what is sent where, what ends what, what a server must not do there."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rop_sim.faults import Faults
from rop_sim.files import DeviceLog
from rop_sim.film import Films, make_film
from rop_sim.identity import Identity, IdentityStore
from rop_sim.recordings import Shelf, made_up
from rop_sim.streams import Streams
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import HELLO_LENGTH, ServerChannel, access_key, secret_access_key, uid_hash
from rop_wire.errors import ProtocolError
from rop_wire.media import Frame, FrameKind, FrameParser, InfoBlock
from rop_wire.nal import Codec
from rop_wire.packet import REQUEST, Packet

UID = "S1MTEST000000001"
INDEX, KEY = "indexindexindex1", "k" * 32
SHELF = Shelf(made_up(2, datetime(2026, 5, 5, 12)))
HANDSHAKE = messages.Handshake(UID, "powered", "Model", "v1", "wire").encode()


@dataclass
class Receiver:
    """The server's end of 61007. `marks`: the encrypted marks of outer packets, by their number of bytes."""

    current: str = INDEX
    greets: bool = True
    asks: Packet | None = None
    port: int = 0
    connections: int = 0
    open: int = 0
    marks: Counter[int] = field(default_factory=Counter)
    frames: dict[int, list[Frame]] = field(default_factory=dict)
    statuses: dict[int, set[int]] = field(default_factory=dict)
    _parsers: dict[int, FrameParser] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        channel = ServerChannel({INDEX: KEY}, self.current, b"n" * 32, clear_allowed=True)
        raw = bytearray()
        with suppress(OSError, ProtocolError):
            while data := await reader.read(65536):
                raw += data
                packets = channel.feed(data)
                writer.write(channel.outgoing())
                for packet in packets:
                    self._take(packet, channel, writer)
        self.open -= 1
        self._count(bytes(raw[HELLO_LENGTH:]))
        writer.close()

    def _take(self, packet: Packet, channel: ServerChannel, writer: asyncio.StreamWriter) -> None:
        if packet.command == Command.HANDSHAKE:
            if self.greets:
                writer.write(channel.encode(packet.reply(payload=messages.HandshakeReply(20_000).encode())))
            if self.asks:
                writer.write(channel.encode(self.asks))
            return
        parser = self._parsers.setdefault(packet.request_id, FrameParser())
        self.frames.setdefault(packet.request_id, []).extend(parser.feed(packet.payload))
        self.statuses.setdefault(packet.request_id, set()).add(packet.status)
        assert parser.skipped == 0

    def _count(self, outer: bytes) -> None:
        at = 0
        while at + 12 <= len(outer):
            _, mark, length, _ = struct.unpack_from("<HHII", outer, at)
            self.marks[mark] += length - 32
            at += 12 + length


@dataclass
class Scene:
    """Streams of a camera towards a receiver."""

    streams: Streams
    receiver: Receiver
    faults: Faults
    folder: Path
    violations: list[str] = field(default_factory=list)
    stale: list[bool] = field(default_factory=list)

    async def live(self, handle: int, mode: str = "TCP", stream_type: str = "externStream") -> Packet:
        payload = messages.LiveStart(0, handle, stream_type, mode, self.receiver.port).encode()
        return await self.streams.answer(Packet(REQUEST, Command.LIVE_START, handle, payload=payload))

    async def replay(self, handle: int, name: str) -> Packet:
        payload = messages.ReplayStart(0, name, handle, "TCP", self.receiver.port).encode()
        return await self.streams.answer(Packet(REQUEST, Command.REPLAY_START, handle, payload=payload))

    async def tell(self, message: Any) -> int:
        packet = Packet(REQUEST, message.command, 9_999, payload=message.encode())
        return (await self.streams.answer(packet)).status

    def frames(self, handle: int) -> list[Frame]:
        return self.receiver.frames.get(handle, [])


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    receiver, faults = Receiver(), Faults()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    secret = secret_access_key(KEY, uid_hash(UID))
    identity = Identity("127.0.0.1", 0, 0, 0, "", "", "", "", access_key(INDEX, UID), secret)
    films = Films(Codec.H264, None, tmp_path / "media")
    store, log = IdentityStore(tmp_path / "identity"), DeviceLog(None)
    streams = Streams(store, lambda: identity, lambda: HANDSHAKE, films, SHELF, faults, log)
    one = Scene(streams, receiver, faults, tmp_path)
    streams.on_violation = one.violations.append
    streams.on_stale = lambda: one.stale.append(True)
    yield one
    streams.stop_all()
    server.close()


Until = Callable[..., Awaitable[Any]]


async def test_live_begins_with_a_key_frame_and_is_the_film(scene: Scene, until: Until) -> None:
    answer = await scene.live(7)
    info = InfoBlock.decode(answer.payload)
    assert (answer.status, info.frame_rate, info.codec) == (200, 15, Codec.H264)
    await until("pictures", lambda: len(scene.frames(7)) > 20)
    film = make_film(Codec.H264, "externStream", None, scene.folder / "media")
    pictures = [frame for frame in scene.frames(7) if frame.is_video]
    assert pictures[0].kind is FrameKind.KEY
    assert pictures[0].capture_time is not None
    assert [each.payload for each in pictures] == [each.data for each in film.pictures[: len(pictures)]]
    times = [each.timestamp or 0 for each in pictures]
    assert times == [i * 1_000_000 // 15 for i in range(len(times))]
    assert [f.payload for f in scene.frames(7) if f.kind is FrameKind.AUDIO][:5] == list(film.sounds[:5])
    assert scene.receiver.statuses[7] == {200}


@pytest.mark.parametrize(("mode", "clear"), [("TCP", True), ("encryptTCP", True)])
async def test_parts_in_clear(scene: Scene, until: Until, mode: str, clear: bool) -> None:
    """`TCP` leaves media in clear, `encryptTCP` hides the head of every frame; both hide the handshake."""
    await scene.live(7, mode)
    await until("pictures", lambda: len(scene.frames(7)) > 10)
    frames = len(scene.frames(7))
    assert await scene.tell(messages.LiveStop(0, 7)) == 200
    await until("the connection ends", lambda: scene.receiver.open == 0)
    hidden = scene.receiver.marks[1]
    assert (scene.receiver.marks[0] > 0) is clear
    least, most = (frames * 128, 10**9) if mode == "encryptTCP" else (1, 2_000)
    assert least < hidden < most


async def test_streams_share_one_connection_until_the_last_ends(scene: Scene, until: Until) -> None:
    await scene.live(7)
    await scene.live(8, stream_type="subStream")
    await until("pictures of both", lambda: scene.frames(7) and scene.frames(8))
    assert scene.receiver.connections == 1
    await scene.tell(messages.LiveStop(0, 7))
    count = len(scene.frames(8))
    await until("the other goes on", lambda: len(scene.frames(8)) > count + 5)
    await scene.tell(messages.LiveStop(0, 8))
    await until("the connection ends", lambda: scene.receiver.open == 0)


async def test_key_frame_at_once(scene: Scene, until: Until) -> None:
    await scene.live(7)
    await until("three pictures", lambda: sum(f.is_video for f in scene.frames(7)) >= 3)
    assert await scene.tell(messages.KeyFrameRequest(0, "externStream")) == 200
    await until("a key frame", lambda: sum(f.kind is FrameKind.KEY for f in scene.frames(7)) >= 2)
    pictures = [frame for frame in scene.frames(7) if frame.is_video]
    second = [i for i, frame in enumerate(pictures) if frame.kind is FrameKind.KEY][1]
    assert second < 12, "a film of its own has a key frame every 15 pictures"


async def test_replay_seeks_and_ends(scene: Scene, until: Until) -> None:
    """After a seek the packets carry its sequence; at the end comes the end-of-file frame; a seek goes back."""
    recording = SHELF.recordings[0]
    assert (await scene.replay(9, recording.file_name)).status == 200
    await until("pictures", lambda: scene.frames(9))
    assert scene.receiver.statuses[9] == {0}
    for sequence, ends in ((1024, 1), (2048, 2)):
        to = recording.end.replace(second=recording.end.second - 1)
        assert await scene.tell(messages.ReplaySeek(0, 9, sequence, to)) == 200
        await until("the end", lambda n=ends: sum(f.kind is FrameKind.END for f in scene.frames(9)) == n)
    assert scene.receiver.statuses[9] == {0, 1024, 2048}
    times = [frame.timestamp or 0 for frame in scene.frames(9) if frame.is_video]
    assert times == sorted(times)
    assert await scene.tell(messages.ReplayStop(0, recording.file_name, 9)) == 200
    await until("the connection ends", lambda: scene.receiver.open == 0)


async def test_refusals(scene: Scene) -> None:
    assert (await scene.replay(9, "/record/none.rec")).status == 400
    assert (await scene.live(7, stream_type="otherStream")).status == 400
    assert (await scene.live(7, mode="UDP")).status == 400
    assert await scene.tell(messages.ReplaySeek(0, 9, 1024, datetime(2026, 1, 1))) == 400
    assert await scene.tell(messages.LiveStop(0, 12345)) == 200
    assert scene.streams.playing == {}


async def test_stale_key(scene: Scene, until: Until) -> None:
    scene.receiver.current = "indexindexindex2"
    await scene.live(7)
    await until("it registers again", lambda: scene.stale)
    assert scene.streams.playing == {}


async def test_a_server_must_not_ask_on_a_media_connection(scene: Scene, until: Until) -> None:
    scene.receiver.asks = Packet(REQUEST, Command.GET_GENERAL, 1)
    await scene.live(7)
    await until("told", lambda: scene.violations)
    assert scene.violations == ["command 104 on a media connection"]
    await until("the stream ends", lambda: not scene.streams.playing)


@pytest.mark.parametrize("fault", ["stream-drop=0.3", "stream-garbage=0.3"])
async def test_faults_end_the_connection(scene: Scene, until: Until, fault: str) -> None:
    scene.faults.set(fault)
    await scene.live(7)
    await until("pictures", lambda: scene.frames(7))
    if "drop" in fault:
        await until("the connection ends", lambda: scene.receiver.open == 0)


async def test_fault_silence_keeps_the_connection(scene: Scene, until: Until) -> None:
    scene.faults.set("stream-silent=0.3")
    await scene.live(7)
    await until("pictures", lambda: scene.frames(7))
    playing = scene.streams.playing[7].task
    assert playing is not None
    await asyncio.wait_for(playing, 5)
    assert scene.receiver.open == 1


async def test_fault_refusal_of_a_stream(scene: Scene) -> None:
    scene.faults.set("stream-refuse=404")
    answer = await scene.live(7)
    assert (answer.status, answer.payload) == (404, b"")
    assert scene.streams.playing == {}


async def test_fault_stream_without_a_connection(scene: Scene) -> None:
    scene.faults.set("stream-never")
    assert (await scene.live(7)).status == 200
    task = scene.streams.playing[7].task
    assert task is not None
    await asyncio.wait_for(task, 10)
    assert scene.receiver.connections == 0


async def test_fault_end_of_a_recording_is_not_told(scene: Scene, until: Until) -> None:
    scene.faults.set("stream-no-end")
    recording = SHELF.recordings[0]
    await scene.replay(9, recording.file_name)
    await until("pictures", lambda: scene.frames(9))
    assert await scene.tell(messages.ReplaySeek(0, 9, 1024, recording.end)) == 200
    await until("it is at the end", lambda: scene.streams.playing[9].position >= 15 * 6)
    assert await scene.tell(messages.ReplaySeek(0, 9, 2048, recording.start)) == 200
    await until("it plays again", lambda: 2048 in scene.receiver.statuses[9])
    assert [each for each in scene.frames(9) if each.kind is FrameKind.END] == []


async def test_fault_without_sound(scene: Scene, until: Until) -> None:
    scene.faults.set("stream-no-sound")
    await scene.live(7)
    await until("pictures", lambda: len(scene.frames(7)) > 20)
    assert {each.kind for each in scene.frames(7)} == {FrameKind.KEY, FrameKind.PREDICTED}
