"""Any order of what players and cameras do with 61008, against a model of sessions.

Real connections and requests; the camera is in memory and the clock is the test's. What has to hold: every request
is answered with the model's status; every player gets every picture of its stream from its PLAY on, no other's; an
address lives as long as it may; the camera is told to start once and to stop once.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rop_data.config import Config, generate
from rop_server.core.hub import Clock
from rop_server.media import play
from rop_server.media.relay import Relay
from rop_server.media.sessions import PlaySessions, Wiring
from rop_server.rtsp import connection
from rop_server.rtsp.listener import RtspService
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import Codec
from rop_wire.rtp import RtpPacket
from rop_wire.rtsp import Interleaved, MessageReader, Request, Response

UID = "95270000000TEST1"
PICTURE = b"\0\0\0\1\x67\1\2\3\0\0\0\1\x68\1\0\0\0\1\x65\x88abc"
UNUSED = UNWATCHED = SILENT = UNPROVED = 30.0
IDLE = 60.0
LIMIT = 20.0
Result = TypeVar("Result")


class Camera:
    """`MediaDevices` in memory: answers every command and counts it by stream."""

    def __init__(self) -> None:
        self.handle = 100
        self.asked: Counter[tuple[int, int]] = Counter()

    async def allot(self, _uid: str) -> int:
        self.handle += 1
        return self.handle

    async def support(self, _uid: str) -> messages.Support:
        return messages.Support((messages.Channel(0, 7), messages.Channel(1, 7)))

    async def call(self, _uid: str, request: Any, **_words: Any) -> bytes:
        await asyncio.sleep(0)
        self.asked[int(request.command), getattr(request, "handle", 0)] += 1
        match request.command:
            case Command.FILE_INFO:
                return messages.FileInfoReply(request.channel).encode()
            case Command.LIVE_START | Command.REPLAY_START:
                return InfoBlock(15, Codec.H264).encode()
        return b""


@dataclass(eq=False)
class Address:
    """A play address and what the model knows of the session behind it."""

    url: str
    handle: int
    live: bool
    key: int
    made_at: float
    players: list[Player] = field(default_factory=list)
    started: bool = False
    played: bool = False
    over: bool = False
    media_at: float = 0.0
    unwatched_at: float = 0.0
    pictures: int = 0
    kept: int = 0


@dataclass(eq=False)
class Player:
    """A player's connection. `due`: pictures that it must have got by now."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    began: float
    active_at: float
    messages: MessageReader = field(default_factory=MessageReader)
    address: Address | None = None
    tracks: set[int] = field(default_factory=set)
    playing: bool = False
    paused: bool = False
    due: int = 0
    number: int = 0
    got: int = 0
    closed: bool = False
    fed: bool = False

    def expect(self, pictures: int) -> None:
        """So many more pictures are on their way."""
        self.due += pictures
        self.fed = self.fed or pictures > 0

    async def ask(self, method: str, url: str, *headers: tuple[str, str]) -> int:
        """A request; the status of its answer. What came before it is counted."""
        self.number += 1
        self.writer.write(Request(method, url, (("CSeq", str(self.number)), *headers)).encode())
        answers: list[Response] = []
        while not answers:
            data = await self.reader.read(65536)
            assert data, "closed instead of an answer"
            for message in self.messages.feed(data):
                self.take(message)
                answers += [message] if isinstance(message, Response) else []
        assert [each.sequence for each in answers] == [str(self.number)]
        return answers[0].status

    def take(self, message: Any) -> None:
        """A packet: the last one of a picture has the marker."""
        if isinstance(message, Interleaved) and message.channel == 0:
            self.got += RtpPacket.decode(message.data).marker

    async def to_the_end(self) -> None:
        """Read until the server has closed."""
        try:
            while data := await self.reader.read(65536):
                for message in self.messages.feed(data):
                    self.take(message)
        except ConnectionError:
            pass


class RtspPort(RuleBasedStateMachine):
    """Addresses are made, players come, watch and go, the camera sends, time passes."""

    addresses = Bundle("addresses")
    players = Bundle("players")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.now = 1000.0
        self.camera = Camera()
        raw = generate({"ROP_HOSTNAME": "127.0.0.1", "RTSP_PLAY_URL_PREFIX": "rtsp://127.0.0.1:1"})
        clock = Clock(lambda: self.now, lambda: 1_700_000_000 + self.now)
        self.relay = Relay(clock.monotonic, lambda: SILENT)
        wiring = Wiring(self.camera, self.relay, lambda: Config(raw), clock, lambda *_: None)
        self.sessions = PlaySessions(wiring)
        self.rtsp = RtspService(self.sessions, clock)
        self.run_now(self.rtsp.start(socket.create_server(("127.0.0.1", 0))))
        self.made: list[Address] = []
        self.here: list[Player] = []

    def run_now(self, work: Awaitable[Result]) -> Result:
        return self.loop.run_until_complete(asyncio.wait_for(work, LIMIT))

    def do(self, *calls: Callable[[], object]) -> None:
        """Call something on the loop."""

        async def now() -> None:
            for call in calls:
                call()

        self.run_now(now())

    # -- addresses ----------------------------------------------------------------------------------

    @rule(target=addresses, channel=st.integers(0, 1), live=st.booleans())
    def address(self, channel: int, live: bool) -> Address:
        """The live address of a channel is shared while it lives; every recording has its own."""
        work = self.sessions.live(UID, channel, "mainStream") if live else self.sessions.replay(UID, channel, "f")
        url, _ = self.run_now(work)
        for known in self.made:
            if live and known.live and known.key == channel and not known.over:
                assert known.url == url
                return known
        assert url not in {known.url for known in self.made}
        self.made.append(Address(url, self.camera.handle, live, channel, self.now))
        return self.made[-1]

    # -- players ------------------------------------------------------------------------------------

    @rule(target=players)
    def connect(self) -> Player:
        streams = self.run_now(asyncio.open_connection("127.0.0.1", self.rtsp.port))
        self.here.append(Player(*streams, self.now, self.now))
        return self.here[-1]

    @rule(target=players, address=addresses, tracks=st.sampled_from([(1,), (1, 2), (2,)]))
    def watch(self, address: Address, tracks: tuple[int, ...]) -> Player:
        """The usual way of a player."""
        player = self.connect()
        self.describe(player, address)
        for track in tracks:
            self.setup(player, address, track)
        self.play(player, address)
        return player

    @rule(player=players, address=addresses)
    def describe(self, player: Player, address: Address) -> None:
        if player.closed:
            return
        status = self._ask(player, "DESCRIBE", address.url)
        if player.playing:
            assert status == 455
            return
        assert status == self._open(player, address)

    def _open(self, player: Player, address: Address) -> int:
        if address.over:
            self._leave(player)
            return 404
        if player.address is not address:
            self._leave(player)
            player.address = address
            address.players.append(player)
        if not address.started:
            address.started, address.media_at = True, self.now
        return 200

    @rule(
        player=players,
        address=addresses,
        track=st.sampled_from([1, 1, 2, 9]),
        fits=st.sampled_from([True, True, False]),
    )
    def setup(self, player: Player, address: Address, track: int = 1, fits: bool = True) -> None:
        if player.closed:
            return
        way = f"RTP/AVP/TCP;unicast;interleaved={2 * track - 2}-{2 * track - 1}" if fits else "RAW/RAW/UDP"
        status = self._ask(player, "SETUP", f"{address.url}/track{track}", ("Transport", way))
        if track == 9:
            assert status == 404
        elif player.playing:
            assert status == 455
        elif player.address is None and self._open(player, address) == 404:
            assert status == 404
        elif not fits:
            assert status == 461
        else:
            assert status == 200
            player.tracks.add(track)

    @rule(player=players, address=addresses)
    def play(self, player: Player, address: Address) -> None:
        if player.closed:
            return
        status = self._ask(player, "PLAY", address.url, ("Range", "npt=0.000-"))
        mine = player.address
        if mine is None or not player.tracks:
            assert status == 455
        elif player.playing:
            assert status == 200
        else:
            assert status == 200
            player.expect(mine.kept if 1 in player.tracks and not player.paused else 0)
            player.playing = mine.played = True
            player.paused = False
            mine.kept = min(mine.kept, 1)  # from now on the last picture only

    @rule(player=players)
    def pause(self, player: Player) -> None:
        """A live stream only: the camera tells no length of its recordings."""
        if player.closed:
            return
        live = player.playing and player.address is not None and player.address.live
        assert self._ask(player, "PAUSE", "rtsp://127.0.0.1/x") == (200 if live else 455)
        if live:
            player.playing, player.paused = False, True

    @rule(player=players, address=addresses, track=st.sampled_from([None, 1, 2]))
    def tear_down(self, player: Player, address: Address, track: int | None) -> None:
        """Of one track among several, or of everything."""
        if player.closed:
            return
        assert self._ask(player, "TEARDOWN", address.url + (f"/track{track}" if track else "")) == 200
        if track is not None and len(player.tracks) > 1:
            player.tracks.discard(track)
        else:
            self._leave(player)
            self._closing(player)

    @rule(
        player=players,
        asked=st.sampled_from(
            [
                ("OPTIONS", (), 200),
                ("GET_PARAMETER", (), 200),
                ("ANNOUNCE", (), 405),
                ("RECORD", (), 405),
                ("PURGE", (), 501),
                ("PLAY", (("Session", "other"),), 454),
                ("DESCRIBE", (("Require", "magic"),), 551),
            ]
        ),
    )
    def other(self, player: Player, asked: tuple[str, Any, int]) -> None:
        method, headers, status = asked
        if not player.closed:
            assert self._ask(player, method, "rtsp://127.0.0.1/x", *headers) == status

    @rule(
        player=players, data=st.sampled_from([b"\0\r\n\r\n", b"OPTIONS * RTSP/1.0\r\nContent-Length: x\r\n\r\n"])
    )
    def garbage(self, player: Player, data: bytes) -> None:
        if not player.closed:
            player.writer.write(data)
            self._leave(player)
            self._closing(player)

    @rule(player=players)
    def abort(self, player: Player) -> None:
        if not player.closed:
            player.writer.transport.abort()
            player.closed = True
            self.here.remove(player)
            self._leave(player)
            self.run_now(self._settled())

    # -- the camera ---------------------------------------------------------------------------------

    @rule(address=addresses, count=st.integers(1, 3))
    def pictures(self, address: Address, count: int) -> None:
        """Key pictures of a stream that has started; of another one nobody hears."""
        unknown = self.relay.unknown
        for _ in range(count):
            moment = address.pictures * 66_666
            frame = Frame(FrameKind.KEY, PICTURE, moment, Codec.H264).encode()
            self.do(lambda f=frame: self.relay.received(address, UID, address.handle, not address.live, 200, f))
            if address.over or not address.started:
                continue
            address.pictures += 1
            address.media_at = self.now
            address.kept = 1 if address.live or address.played else address.kept + 1
            for player in address.players:
                player.expect(player.playing and 1 in player.tracks)
        assert self.relay.unknown - unknown == (count if address.over or not address.started else 0)

    @rule(address=addresses)
    def connection_of_the_camera_ends(self, address: Address) -> None:
        self.do(lambda: self.relay.carrier_lost(address), self.rtsp.tick)
        self._fed()
        if address.pictures and not address.over:
            self._over(address)

    # -- time ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 16.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.relay.tick, self.sessions.tick, self.rtsp.tick)
        self._fed()
        for address in self.made:
            unused = not address.started and self.now - address.made_at > UNUSED
            silent = address.started and self.now - address.media_at >= SILENT
            unwatched = address.started and not address.players and self.now - address.unwatched_at >= UNWATCHED
            if not address.over and (unused or silent or unwatched):
                self._over(address)
        for player in list(self.here):
            unproved = player.address is None and self.now - player.began >= UNPROVED
            if unproved or (player.address is not None and self.now - player.active_at >= IDLE):
                self._leave(player)
                self._closing(player)

    def _fed(self) -> None:
        """A tick has seen that pictures went out: their players are there."""
        for player in self.here:
            if player.fed:
                player.fed, player.active_at = False, self.now

    # -- the model ----------------------------------------------------------------------------------

    def _ask(self, player: Player, method: str, url: str, *headers: tuple[str, str]) -> int:
        player.active_at = self.now
        return self.run_now(player.ask(method, url, *headers))

    def _leave(self, player: Player) -> None:
        """The player has nothing to do with its address any more; the last one that leaves takes it along."""
        address, player.address = player.address, None
        player.playing = player.paused = False
        player.tracks.clear()
        if address is not None:
            address.players.remove(player)
            if not address.players and not address.over:
                address.unwatched_at = self.now
                if address.played:
                    address.over = True

    def _over(self, address: Address) -> None:
        """The session has ended: its players are told and closed, those who do not play at the next tick."""
        address.over = True
        for player in list(address.players):
            self._leave(player)
            self._closing(player)

    def _closing(self, player: Player) -> None:
        """The server closes; every picture was sent before."""
        if player.closed:
            return
        player.closed = True
        self.here.remove(player)
        self.run_now(player.to_the_end())
        player.writer.close()
        assert player.got == player.due

    async def _read_due(self, player: Player) -> None:
        while player.got < player.due:
            data = await player.reader.read(65536)
            assert data, "closed before every picture came"
            for message in player.messages.feed(data):
                player.take(message)

    async def _settled(self) -> None:
        while len(self.rtsp.connections) != len(self.here):
            await asyncio.sleep(0)

    # -- what holds always --------------------------------------------------------------------------

    @invariant()
    def every_picture_arrives_once(self) -> None:
        for player in self.here:
            self.run_now(self._read_due(player))
            assert player.got == player.due

    @invariant()
    def sessions_are_those_of_the_model(self) -> None:
        self.run_now(self._settled())
        assert {each.play.request_id for each in self.sessions.sessions} == {
            each.handle for each in self.made if not each.over
        }
        assert {each.handle for each in self.relay.streams} == {
            each.handle for each in self.made if each.started and not each.over
        }

    @invariant()
    def the_camera_is_told_once(self) -> None:
        self.run_now(self._told())
        for each in self.made:
            start, stop = (
                (Command.LIVE_START, Command.LIVE_STOP)
                if each.live
                else (Command.REPLAY_START, Command.REPLAY_STOP)
            )
            assert self.camera.asked[start, each.handle] == each.started
            assert self.camera.asked[stop, each.handle] == (each.started and each.over)

    async def _told(self) -> None:
        while self.sessions._tasks:
            await asyncio.sleep(0)

    def teardown(self) -> None:
        self.rtsp.stop_listening()
        self.run_now(self.sessions.close())
        for player in self.here:
            player.writer.transport.abort()
        self.here.clear()
        self.run_now(self._settled())


def test_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "KEY_FRAME_WAIT", 0.0)
    monkeypatch.setattr(play, "SOUND_WAIT", 0.0)
    monkeypatch.setattr(connection, "FAREWELL", 0.0)
    loop = uvloop.new_event_loop()
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: RtspPort(loop),
            settings=settings(
                max_examples=80,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()
