"""One RTSP connection: requests in their order, one session, one player.

Source: ROP v1.0 wire specification, client-api 3.2 to 3.5; RFC 2326; discrepancies C1.1, C2.10, C4.14 to C4.16.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from typing import TYPE_CHECKING, cast

import structlog
from structlog.contextvars import bind_contextvars

from rop_server.access.callers import Caller
from rop_server.core.facade import CallError
from rop_server.media.packets import AUDIO, VIDEO, MediaFrame
from rop_server.media.play import PlaySession
from rop_server.media.tickets import Viewing
from rop_server.rtsp.player import Leg, Player
from rop_server.rtsp.proxy import HeaderReader, plain
from rop_server.rtsp.udp import UdpPair
from rop_wire.auth import random_text
from rop_wire.errors import ProtocolError
from rop_wire.rtsp import Interleaved, MessageReader, Request, Response, Transport, range_start
from rop_wire.sdp import AUDIO_TRACK, VIDEO_TRACK

if TYPE_CHECKING:
    from rop_server.rtsp.listener import RtspService

log = structlog.get_logger("rop.rtsp")

PUBLIC = "OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER"
TIMEOUT = 60
QUEUE_LIMIT = 32
LINGER = 5.0
END_LINGER = 30.0
UDP_LINGER = 2.0
FAREWELL = 2.0
"""Seconds for a player to take its leave after the end of a stream: some pause first what has ended."""
"""Seconds between the last picture and the goodbye over UDP: players read RTCP first, and would miss the rest."""
SESSION_ID_LENGTH = 16
_NUMBERS = itertools.count(1)
_TRACKS = {VIDEO_TRACK: VIDEO, AUDIO_TRACK: AUDIO}
_NAMES = {number: name for name, number in _TRACKS.items()}


class RtspConnection(asyncio.Protocol):
    """A player's connection. The connection is the session; its id is told on every response."""

    def __init__(self, service: RtspService) -> None:
        self._service = service
        self.name = f"clientRtsp-{next(_NUMBERS)}"
        self._reader = MessageReader()
        self._queue: deque[Request] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._id = random_text(SESSION_ID_LENGTH)
        self._transport: asyncio.Transport
        self._base = ""
        self._unsent = 0
        self._sent = 0
        self._gateway = False
        self._header: HeaderReader | None = None
        self._remote: str | None = None
        self.caller: Caller | None = None
        """Who asked for the address, when it was handed out through the gateway."""
        self.session: PlaySession | None = None
        self.player: Player
        self.playing = False
        self._paused = False
        self._ended = False
        self.closed = False
        self.began = self.active_at = service.clock.monotonic()

    @property
    def unproved(self) -> bool:
        """Whether it has described no stream and is not about to."""
        return self.session is None and self._worker is None

    # -- the transport ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A player connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.player = Player(self._transport, self._stream_ended)
        self._meet()
        if not self._service.enter(self):
            self.closed = True
            self._transport.abort()

    def _meet(self) -> None:
        """Who is at the other end: a player, or the gateway, which tells first who is behind it."""
        sock = self._transport.get_extra_info("socket")
        if sock is None:
            return
        if sock.family == socket.AF_UNIX:
            self._gateway = True
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = self._transport.get_extra_info("peername")
            self._remote = plain(peer[0]) if peer else None
            self._gateway = self._remote is not None and self._service.is_proxy(self._remote)
        if self._gateway:
            self._header, self._remote = HeaderReader(), None

    def _behind(self, data: bytes) -> bytes:
        """Read the PROXY header; what came after it. Raises ProtocolError."""
        assert self._header is not None
        found = self._header.feed(data)
        if found is None:
            return b""
        self._header, self._remote = None, found.address
        return found.rest

    def data_received(self, data: bytes) -> None:
        """Requests and, between them, interleaved RTCP."""
        if self.closed:
            return
        self.active_at = self._service.clock.monotonic()
        if self._header is not None:
            try:
                data = self._behind(data)
            except ProtocolError:
                self.abort()
                return
        try:
            messages = self._reader.feed(data)
        except ProtocolError:
            self._write(Response(400))
            self.close("protocol")
            return
        for message in messages:
            if isinstance(message, Request):
                self._queue.append(message)
            elif not isinstance(message, Interleaved):
                log.debug("ignored", connection=self.name, message="a response")
        if len(self._queue) > QUEUE_LIMIT:
            self._write(Response(503))
            self.close("too many requests")
        elif self._queue and self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._leave()
        self.closed = True
        if self._worker is not None:
            self._worker.cancel()
        self._service.exit(self)

    def close(self, reason: str) -> None:
        """End it after what was written. Of a player that reports meanwhile nothing is lost: a socket closed with
        its reports unread would be reset, and the last pictures with it."""
        if self.closed:
            return
        self.closed = True
        uid = self.session.play.uid if self.session is not None else None
        log.debug("connection-end", uid=uid, connection=self.name, reason=reason)
        self._leave()
        if not self._transport.is_closing():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER, self._transport.abort)

    def abort(self) -> None:
        """Drop it."""
        self._transport.abort()

    def _leave(self) -> None:
        session, self.session = self.session, None
        self.playing = self._paused = self._ended = False
        self.player.close()
        if session is not None:
            if session.stream is not None:
                session.stream.remove(self.player)
            session.leave(self)

    def _write(self, response: Response) -> None:
        if not self._transport.is_closing():
            self._transport.write(response.encode())

    # -- time -------------------------------------------------------------------------------------

    def tick(self, now: float, wall: float) -> None:
        """Sender reports, and the idle limit: media count while they are taken. Once per second."""
        session = self.session
        if self.playing and session is not None and session.stream is not None:
            packetizer = session.stream.packetizer
            if packetizer is not None:
                self.player.report(packetizer, wall, now)
        unsent = self._transport.get_write_buffer_size()
        interleaved = any(leg.channels is not None for leg in self.player.legs.values())
        if interleaved and self.player.sent != self._sent and (unsent == 0 or unsent != self._unsent):
            self.active_at = now
        self._unsent, self._sent = unsent, self.player.sent
        if session is not None and session.over and not (self.playing or self._ended) and self._worker is None:
            self.close("stream ended")
        elif self.caller is not None and self.caller.until is not None and wall >= self.caller.until:
            self.close("right ended")
        elif now - self.active_at >= TIMEOUT:
            self.close("idle")

    def _stream_ended(self, reason: str) -> None:
        """Say goodbye once what was queued is out (bounded), and close."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + END_LINGER

        def step() -> None:
            if self.closed:
                return
            if self.player.backlog() and loop.time() < deadline:
                loop.call_later(0.02, step)
            elif any(leg.udp is not None for leg in self.player.legs.values()):
                loop.call_later(UDP_LINGER, self._goodbye, reason)
            else:
                self._goodbye(reason)

        step()

    def _goodbye(self, reason: str) -> None:
        session = self.session
        if self.closed:
            return
        if session is not None and session.stream is not None and session.stream.packetizer is not None:
            self.player.goodbye(session.stream.packetizer)
        self.playing, self._ended = False, True
        asyncio.get_running_loop().call_later(FAREWELL, self._part, reason)

    def _part(self, reason: str) -> None:
        if self._ended:  # and it asked for no other address
            self.close(reason)

    # -- requests ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        bind_contextvars(connection=self.name)
        try:
            while self._queue and not self.closed:
                await self._answer(self._queue.popleft())
        finally:
            self._worker = None

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._dispatch(request)
        except ProtocolError:
            response = self._reply(request, 400)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("failed", method=request.method)
            response = self._reply(request, 500)
        if response is not None:
            self._write(response)
        if request.method == "TEARDOWN" and self.session is None:
            self.close("teardown")

    async def _dispatch(self, request: Request) -> Response | None:
        """The answer; None when it is written already."""
        wanted = request.header("Require")
        if wanted is not None:
            return self._reply(request, 551, ("Unsupported", wanted))
        told = (request.header("Session") or "").partition(";")[0].strip()
        if told and told != self._id:
            return self._reply(request, 454)
        match request.method:
            case "OPTIONS":
                return self._reply(request, 200, ("Public", PUBLIC))
            case "DESCRIBE":
                return await self._describe(request)
            case "SETUP":
                return await self._setup(request)
            case "PLAY":
                return await self._play(request)
            case "PAUSE":
                return await self._pause(request)
            case "TEARDOWN":
                return self._teardown(request)
            case "GET_PARAMETER" | "SET_PARAMETER":
                return self._reply(request, 200)
            case "ANNOUNCE" | "RECORD":
                return self._reply(request, 405, ("Allow", PUBLIC))
        return self._reply(request, 501, ("Public", PUBLIC))

    def _reply(self, request: Request, status: int, *headers: tuple[str, str], body: bytes = b"") -> Response:
        return request.reply(status, (("Session", f"{self._id};timeout={TIMEOUT}"), *headers), body)

    async def _describe(self, request: Request) -> Response:
        accept = request.header("Accept")
        if accept is not None and not any(each in accept for each in ("application/sdp", "*/*", "application/*")):
            return self._reply(request, 406)
        if self.playing:
            return self._reply(request, 455)
        body = await self._open(request.url)
        if isinstance(body, int):
            return self._reply(request, body)
        headers = (
            ("Content-Type", "application/sdp"),
            ("Content-Base", self._base),
            ("Cache-Control", "no-cache"),
        )
        return self._reply(request, 200, *headers, body=body)

    async def _open(self, url: str) -> bytes | int:
        """Attach the session of an address; its description, or the status of a refusal."""
        base = url.rstrip("/")
        uid = None
        try:
            session, self.caller = await self._service.sessions.admit(base, Viewing(self, self._remote))
            uid = session.play.uid
            if self.session is not session:
                self._leave()
                self.session = session
            body = await session.describe(self)
        except CallError as error:
            log.info("describe", uid=uid, message="nok", reason=error.symbol)
            self._leave()
            return 403 if error.symbol == "auth_failed" else 404
        if self.closed:  # while the stream started
            session.leave(self)
            return 404
        self._base = base + "/"
        self._gateway = self._gateway or url.lower().startswith("rtsps:")
        return body

    async def _setup(self, request: Request) -> Response:
        base, _, name = request.url.rpartition("/")
        track = _TRACKS.get(name)
        if track is None:
            return self._reply(request, 404)
        if self.playing:
            return self._reply(request, 455)
        if self.session is None:
            opened = await self._open(base)
            if isinstance(opened, int):
                return self._reply(request, opened)
        try:
            wanted = Transport.decode(request.header("Transport") or "")
            leg, transport = self._leg(track, wanted)
        except (ProtocolError, OSError):
            return self._reply(request, 461)
        self.player.drop(track)
        self.player.legs[track] = leg
        return self._reply(request, 200, ("Transport", transport.encode()))

    def _leg(self, track: int, wanted: Transport) -> tuple[Leg, Transport]:
        """Where the track goes, and how it is told. Raises ProtocolError or OSError."""
        ssrc = self._ssrc(track)
        if wanted.interleaved is not None:
            return Leg(channels=wanted.interleaved), Transport(interleaved=wanted.interleaved, ssrc=ssrc)
        if wanted.client_port is None or self._gateway:
            raise ProtocolError("viewers that come through the gateway use the connection")
        sock = self._transport.get_extra_info("socket")
        local = self._transport.get_extra_info("sockname")[0]
        remote = self._transport.get_extra_info("peername")[0]
        udp = UdpPair(local, sock.family, remote, wanted.client_port, self._heard)
        return Leg(udp=udp), Transport(client_port=wanted.client_port, server_port=udp.ports, ssrc=ssrc)

    def _heard(self) -> None:
        self.active_at = self._service.clock.monotonic()

    def _ssrc(self, track: int) -> int | None:
        stream = self.session.stream if self.session is not None else None
        packetizer = stream.packetizer if stream is not None else None
        if packetizer is None:
            return None
        return (packetizer.video_track if track == VIDEO else packetizer.audio_track).ssrc

    async def _play(self, request: Request) -> Response | None:
        session = self.session
        if session is None or not self.player.legs:
            return self._reply(request, 455)
        try:
            start = range_start(request.header("Range"))
        except ProtocolError:
            return self._reply(request, 457)
        if session.live:
            start = None  # a live stream is where it is
        if self.playing and start is None:
            return self._reply(request, 200, ("Range", "npt=now-"))
        done = False

        def begin(frames: list[MediaFrame]) -> None:
            nonlocal done
            done = True
            headers = [("Range", self._range(session, start or session.starting_at))]
            info = self._rtp_info(session, frames)
            if info:
                headers.append(("RTP-Info", info))
            self._write(self._reply(request, 200, *headers))

        self.player.before(begin)
        try:
            await session.play_to(self.player, start, again=self._paused)
        except CallError as error:
            return self._reply(request, 457 if error.symbol == "invalid_parameter" else 404)
        self.playing, self._paused = True, False
        if not done:  # it plays there already
            self.player.before(None)
            begin([])
        return None

    def _range(self, session: PlaySession, start: float) -> str:
        if session.live:
            return "npt=0.000-"
        return f"npt={start:.3f}-" + (f"{session.length:.3f}" if session.length is not None else "")

    def _rtp_info(self, session: PlaySession, frames: list[MediaFrame]) -> str:
        """Sequence and time of each track's first packet, as far as they are known."""
        packetizer = session.stream.packetizer if session.stream is not None else None
        if packetizer is None or (session.live and not frames):
            return ""
        entries = []
        begin = frames[0].time if frames else packetizer.next_time()
        for track in self.player.legs:
            first = next((each for each in frames if each.track == track), None)
            numbered = packetizer.video_track if track == VIDEO else packetizer.audio_track
            sequence = numbered.sequence if first is None else first.sequence
            stamp = packetizer.timestamp(track, begin) if first is None else first.timestamp
            entries.append(f"url={self._base}{_NAMES[track]};seq={sequence};rtptime={stamp}")
        return ",".join(entries)

    async def _pause(self, request: Request) -> Response:
        session = self.session
        if self._ended or (self.playing and session is not None and session.over):
            return self._reply(request, 200)
        if session is None or not self.playing or session.stream is None:
            return self._reply(request, 455)
        try:
            if not session.live:
                await session.pause()
        except CallError:
            return self._reply(request, 455)
        session.stream.remove(self.player)  # a live stream goes on for others, and is taken up where it is
        self.playing, self._paused = False, True
        return self._reply(request, 200)

    def _teardown(self, request: Request) -> Response:
        name = request.url.rstrip("/").rpartition("/")[2]
        track = _TRACKS.get(name)
        if track is not None and len(self.player.legs) > 1:
            self.player.drop(track)
        else:
            self._leave()
        return self._reply(request, 200)
