"""Device ports, play sessions and the RTSP server on loopback, and a camera that sends films."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from rop_data.config import Config, generate
from rop_server.media.sessions import PlaySessions, Wiring
from rop_server.rtsp.listener import RtspService
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, MediaMode
from rop_wire.media import PIECE_LENGTH, Frame, FrameKind
from rop_wire.nal import Codec
from rop_wire.packet import Packet

HERE = Path(__file__).parent
UID = "95270000000TEST1"
CHANNELS = messages.Support((*(messages.Channel(number, 7) for number in range(2)), messages.Channel(5, 1)))


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"rop_server_rtsp_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


net = _load("net", HERE.parent / "net" / "conftest.py")
films = _load("film", HERE / "film.py")
authority = net.authority
settings = net.settings
site = net.site
new_camera = net.new_camera


async def until(condition: Callable[[], Any], limit: float = 20.0) -> None:
    """Turn the loop until the condition holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    """Poll a condition with a deadline."""
    return until


class Place:
    """Everything between cameras and players."""

    def __init__(self, site: Any) -> None:
        self.site = site
        raw = generate({"ROP_HOSTNAME": "127.0.0.1", "RTSP_PLAY_URL_PREFIX": "rtsp://127.0.0.1:1"})
        raw["ports"]["streamTLS"] = site.ports["streamTLS"]
        raw["ports"]["streamTCP"] = site.ports["streamTCP"]
        self.config = Config(raw)
        self.relay = site.net.relay
        wiring = Wiring(site.devices, self.relay, lambda: self.config, site.clock, site.hub.hold_awake)
        self.sessions = PlaySessions(wiring)
        self.rtsp = RtspService(self.sessions, site.clock)
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        await self.rtsp.start(socket.create_server(("127.0.0.1", 0)))
        self.config.raw["rtsp"]["playURLPrefix"] = f"rtsp://127.0.0.1:{self.rtsp.port}"
        self._tick()

    def _tick(self) -> None:
        self.sessions.tick()
        self.rtsp.tick()
        self._ticking = asyncio.get_running_loop().call_later(0.05, self._tick)

    async def stop(self) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        self.rtsp.stop_listening()
        await self.sessions.close()
        self.rtsp.close()
        await until(lambda: not self.rtsp.connections)


@pytest_asyncio.fixture
async def place(site: Any) -> AsyncIterator[Place]:
    """The server's media part."""
    made = Place(site)
    await made.start()
    yield made
    await made.stop()


class StreamLink:
    """A media connection of a camera in any mode."""

    def __init__(self, mode: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.mode = MediaMode(mode)
        self.reader = reader
        self.writer = writer
        self.channel: DeviceChannel | None = None

    async def hello(self, access_key: str, secret: str) -> None:
        """Encrypted TCP."""
        self.channel = DeviceChannel(access_key, secret, bytes(range(32)))
        self.writer.write(self.channel.hello())
        while not self.channel.established:
            data = await asyncio.wait_for(self.reader.read(65536), 8)
            assert data, "the server closed"
            self.channel.feed(data)

    async def handshake(self, uid: str) -> bytes:
        """458; the bytes of the answer."""
        packet = Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake(uid, family="powered").encode())
        self.writer.write(packet.encode() if self.channel is None else self.channel.encode(packet))
        data = await asyncio.wait_for(self.reader.read(65536), 8)
        assert data, "the server closed"
        if self.channel is None:
            return data
        return b"".join(each.payload for each in self.channel.feed(data))

    def send(self, packet: Packet, offset: int = 0, key: bool = True) -> None:
        """A media packet, with as much of it in clear as the mode wants."""
        if self.channel is None:
            self.writer.write(packet.encode())
        else:
            self.writer.write(self.channel.encode(packet, clear_from=self.mode.clear_from(offset, key)))


class FilmCamera:
    """Answers the stream commands and sends a film."""

    def __init__(self, camera: Any, film: Any) -> None:
        self.camera = camera
        self.film = film
        self.frames: list[Frame] = film.frames
        self.loops = True
        self.pace = 0.004
        self.piece = PIECE_LENGTH
        self.link: StreamLink | None = None
        self.asked: list[Packet] = []
        self.sending: dict[int, asyncio.Task[None]] = {}
        self.signaling: Any = None
        self.info = film.info
        self.marks = True
        self.refuses: set[int] = set()
        self.seeks: dict[int, messages.ReplaySeek] = {}

    def commands(self) -> list[int]:
        """Commands that arrived, in order."""
        return [int(each.command) for each in self.asked]

    async def online(self) -> None:
        """Signaling."""
        self.signaling = await self.camera.signaling()
        self.signaling.answers[Command.SUPPORT] = CHANNELS.encode()
        self.signaling._take = self._take

    def _take(self, packet: Packet) -> None:
        if not packet.is_request:
            self.signaling.inbox.put_nowait(packet)
            return
        self.asked.append(packet)
        payload = b""
        match packet.command:
            case Command.SUPPORT:
                payload = CHANNELS.encode()
            case Command.LIVE_START | Command.REPLAY_START:
                payload = self.info.encode()
                self._start(packet)
            case Command.LIVE_STOP:
                self._stop(messages.LiveStop.decode(packet.payload).handle)
            case Command.REPLAY_STOP:
                self._stop(messages.ReplayStop.decode(packet.payload).handle)
            case Command.REPLAY_SEEK if packet.command not in self.refuses:
                told = messages.ReplaySeek.decode(packet.payload)
                self.seeks[told.handle] = told
            case Command.FILE_INFO:
                asked = messages.FileInfo.decode(packet.payload)
                known = asked.channel if asked.file_name.startswith("Rec") else None
                payload = messages.FileInfoReply(known).encode()
        status = 400 if packet.command in self.refuses else 200
        self.signaling.send(packet.reply(status=status, payload=payload))

    def _start(self, packet: Packet) -> None:
        replay = packet.command == Command.REPLAY_START
        decode = messages.ReplayStart.decode if replay else messages.LiveStart.decode
        told: Any = decode(packet.payload)
        assert told.handle == packet.request_id
        self.sending[told.handle] = asyncio.create_task(self._send(told, replay))

    def _stop(self, handle: int) -> None:
        task = self.sending.pop(handle, None)
        if task is not None:
            task.cancel()

    async def connect(self, mode: str, port: int) -> StreamLink:
        """A media connection with hello and handshake."""
        tls = {"ssl": self.camera.context, "server_hostname": "127.0.0.1"} if mode == "TLS" else {}
        link = StreamLink(mode, *await asyncio.open_connection("127.0.0.1", port, **tls))
        if mode != "TLS":
            await link.hello(self.camera.keys.access_key, self.camera.keys.secret_access_key)
        await link.handshake(self.camera.uid)
        return link

    async def _send(self, told: Any, replay: bool) -> None:
        if self.link is None or self.link.writer.is_closing() or self.link.mode.value != told.mode:
            self.link = await self.connect(told.mode, told.port)
        turn = 0
        while True:
            await self._send_once(told.handle, replay, turn)
            turn += 1
            if replay or not self.loops:
                break
        if replay:
            for packet in Frame(FrameKind.END).packets(told.handle, True):
                self.link.send(packet)

    async def _send_once(self, handle: int, replay: bool, turn: int) -> None:
        frames, status = list(self.film.again(turn + 1)[turn * len(self.frames) :]), 0 if replay else 200
        if not turn:
            frames = list(self.frames)
        position = 0
        while position < len(frames):
            seek = self.seeks.pop(handle, None)
            if seek is not None:
                status = seek.sequence if self.marks else 0
                assert self.info.start is not None
                wanted = int((seek.to - self.info.start).total_seconds())
                position = [n for n, each in enumerate(frames) if each.kind is FrameKind.KEY][wanted]
            self.send_frame(frames[position], handle, replay, status)
            assert self.link is not None
            await self.link.writer.drain()
            await asyncio.sleep(self.pace)
            position += 1

    def send_frame(self, frame: Frame, handle: int, replay: bool, status: int) -> None:
        """One frame in packets of `piece` bytes."""
        assert self.link is not None
        data = frame.encode()
        command = Command.REPLAY_START if replay else Command.LIVE_START
        for start in range(0, len(data), self.piece):
            packet = Packet(0, command, handle, status, data[start : start + self.piece])
            self.link.send(packet, start, frame.kind is FrameKind.KEY)

    async def close(self) -> None:
        """End everything."""
        for task in self.sending.values():
            task.cancel()
        await asyncio.gather(*self.sending.values(), return_exceptions=True)
        if self.link is not None:
            self.link.writer.close()


@pytest.fixture(scope="session")
def film_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Makes films, each once."""
    assert shutil.which("ffmpeg"), "the media tests need ffmpeg: apt-get install ffmpeg"
    made: dict[Any, Any] = {}

    def film(codec: Codec = Codec.H264, **words: Any) -> Any:
        key = (codec, *sorted(words.items()))
        if key not in made:
            made[key] = films.make(tmp_path_factory.mktemp("film"), codec, **words)
        return made[key]

    return film


@pytest.fixture
def players() -> ModuleType:
    """ffmpeg as a player."""
    return films


@pytest_asyncio.fixture
async def film_camera(new_camera: Any) -> AsyncIterator[Callable[..., Awaitable[FilmCamera]]]:
    """Makes a camera with a film: `await film_camera(film)`."""
    made: list[FilmCamera] = []

    async def make(film: Any, uid: str = UID) -> FilmCamera:
        camera = FilmCamera(await new_camera(uid), film)
        made.append(camera)
        await camera.online()
        return camera

    yield make
    for camera in made:
        await camera.close()


viewers = _load("viewer", HERE / "viewer.py")


@pytest_asyncio.fixture
async def viewer() -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Makes a player that looks at everything: `await viewer(url)`."""
    made: list[Any] = []

    async def make(url: str) -> Any:
        made.append(await viewers.TestViewer.connect(url))
        return made[-1]

    yield make
    for each in made:
        await each.close()
