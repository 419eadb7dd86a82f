"""One play session: its stream starts at the first DESCRIBE and ends with the last viewer.

Source: ROP v1.0 wire specification, client-api 3.1, 3.2 and 3.5; device-protocol 10.7 and 10.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from rop_server.core.facade import CallError, Request
from rop_server.media.stream import Ready, Stream
from rop_server.media.viewer import Viewer
from rop_wire import messages, sdp
from rop_wire.errors import WireError
from rop_wire.media import InfoBlock
from rop_wire.play_url import LivePlay, Play

if TYPE_CHECKING:
    from rop_server.media.sessions import Wiring

log = structlog.get_logger("rop.media")

KEY_FRAME_WAIT = 3.0
"""Seconds a description waits for the first key frame, so that it carries the true parameter sets."""
SOUND_WAIT = 0.4
"""Seconds after the key frame in which the first sound makes audio part of the description."""
UNWATCHED_LIMIT = 30.0
KEY_FRAME_PAUSE = 1.0
AWAKE_SECONDS = 5.0
SEEK_STEP = 1024


def seen(task: asyncio.Task[Any]) -> None:
    """The failure of a task whose callers may all have gone away."""
    if not task.cancelled():
        task.exception()


class PlaySession:
    """A live stream or a recording behind one address. `over` once it ended; then it is in no table."""

    def __init__(
        self,
        play: Play,
        wiring: Wiring,
        gone: Callable[[PlaySession], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.play = play
        self.stream: Stream | None = None
        self.info: InfoBlock | None = None
        self.over = False
        self.played = False
        self.position = 0.0
        self._wiring = wiring
        self._gone = gone
        self._spawn = spawn
        self._users: set[Hashable] = set()
        self._starting: asyncio.Task[None] | None = None
        self._unwatched_since = wiring.clock.monotonic()
        self._asked_key_at = 0.0
        self._sequence = 0
        self._origin = 0.0
        self._origin_elapsed = 0
        self._changing = asyncio.Lock()

    @property
    def live(self) -> bool:
        """False for a recording."""
        return isinstance(self.play, LivePlay)

    @property
    def expired(self) -> bool:
        """Whether the address was not described in time."""
        return self._starting is None and self._wiring.clock.wall() * 1000 > self.play.expired_at

    @property
    def users(self) -> int:
        """RTSP connections that described the session and are still there."""
        return len(self._users)

    @property
    def length(self) -> float | None:
        """Seconds of a recording, where the camera tells its times."""
        info = self.info
        if self.live or info is None or info.start is None or info.end is None or info.end <= info.start:
            return None
        return (info.end - info.start).total_seconds()

    @property
    def starting_at(self) -> float:
        """Seconds of the recording at which a new viewer begins."""
        return self._now_at(self.stream) if self.stream is not None and not self.live else 0.0

    # -- description ------------------------------------------------------------------------------

    async def describe(self, user: Hashable) -> bytes:
        """Start the stream if it does not run, and describe it. Raises CallError."""
        if self.over:
            raise CallError("session_not_found")
        self._users.add(user)
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
            self._starting.add_done_callback(seen)
        await asyncio.shield(self._starting)
        stream, info = self.stream, self.info
        if stream is None or info is None or stream.over:
            raise CallError("session_not_found")
        if await stream.wait(Ready.PICTURE, KEY_FRAME_WAIT):
            left = stream.picture_at + SOUND_WAIT - self._wiring.clock.monotonic()
            await stream.wait(Ready.SOUND, max(0.0, left))
        packetizer = stream.packetizer
        return sdp.describe(
            info.codec,
            info.frame_rate,
            packetizer.parameter_sets if packetizer is not None else (),
            packetizer.audio if packetizer is not None else None,
            session=self.play.request_id + 1,
            seekable_seconds=self.length,
        )

    async def _start(self) -> None:
        """Register the stream, then tell the camera. A failure ends the session."""
        play = self.play
        stream = self._wiring.relay.open(play.uid, play.request_id, not self.live, self.end)
        stream.on_overflow = self._overflow
        self.stream = stream
        try:
            await self._ask_start(stream)
        except BaseException:
            self.end("not started")
            raise

    async def _ask_start(self, stream: Stream) -> None:
        play = self.play
        payload = await self._wiring.devices.call(play.uid, self._start_request(), number=play.request_id)
        try:
            info = InfoBlock.decode(payload)
        except WireError as error:
            raise CallError("cmd_exec_error", str(error)) from error
        if stream.over:
            raise CallError("session_not_found")
        self.info = info
        stream.begin(info)
        log.info("stream-start", uid=play.uid, handle=play.request_id, codec=info.codec.name, live=self.live)

    def _start_request(self) -> Request:
        config = self._wiring.config()
        mode = str(config.get("deviceStream.encryptMode"))
        port = config.port("streamTLS" if mode == "TLS" else "streamTCP")
        play = self.play
        if isinstance(play, LivePlay):
            return messages.LiveStart(play.channel, play.request_id, play.stream_type, mode, port)
        return messages.ReplayStart(play.channel, play.file_name, play.request_id, mode, port)

    # -- playing ----------------------------------------------------------------------------------

    async def play_to(self, viewer: Viewer, start: float | None, again: bool = False) -> None:
        """Begin to send to a viewer. `start`: where a recording shall begin, in seconds. A viewer that plays at
        that place already goes on. `again`: it has seen pictures of a live stream before, and gets none twice.

        Raises CallError: `session_not_found`, `invalid_parameter` (a recording that cannot go there).
        """
        stream = self.stream
        if stream is None or stream.over:
            raise CallError("session_not_found")
        if self.live:
            stream.add(viewer, cached=not again)
            self.ask_key_frame()
            self.played = True
            return
        async with self._changing:
            moved = await self._prepare(stream, viewer, start)
            if stream.over:
                raise CallError("session_not_found")
            if moved or viewer not in stream.viewers:
                stream.add(viewer)
            self.played = True

    async def _prepare(self, stream: Stream, viewer: Viewer, start: float | None) -> bool:
        """Bring a recording to the place where playing shall begin; whether it was at another one."""
        now = self._now_at(stream)
        # Players ask for second 0 by habit: who comes later than others watches along.
        along = start is None or (start == 0 and self._others(stream, viewer) and not stream.paused)
        target = now if along or start is None else start
        moved = abs(target - now) > 0.5
        if (moved or stream.paused) and self._others(stream, viewer):
            raise CallError("invalid_parameter", "others watch this recording")
        if moved and (self.length is None or not 0 <= target <= self.length):
            raise CallError("invalid_parameter", "the recording cannot go there")
        if stream.paused:
            await self._resume(stream, target)
            return True
        if moved:
            await self._seek(stream, target)
        return moved

    def _others(self, stream: Stream, viewer: Viewer) -> bool:
        return any(each is not viewer for each in stream.viewers) or len(self._users) > 1

    def _now_at(self, stream: Stream) -> float:
        """Seconds of the recording that a new viewer would begin at."""
        if stream.paused:
            return self.position
        cached = stream.cached()
        if not cached or self._sequence < 0:
            return self._origin
        return max(0.0, self._origin + (cached[0].time - self._origin_elapsed) / 1e6)

    async def pause(self) -> None:
        """Stop a recording where it is. Raises CallError `cmd_not_support` where it cannot go on."""
        stream = self.stream
        if self.length is None or stream is None or stream.over or len(self._users) > 1:
            raise CallError("cmd_not_support")
        async with self._changing:
            if not stream.paused:
                await self._park(stream)

    async def _park(self, stream: Stream) -> None:
        self.position = self._sent_until(stream)
        stream.paused = True
        await self._ask_stop()

    def _sent_until(self, stream: Stream) -> float:
        """Seconds of the recording that arrived last."""
        packetizer = stream.packetizer
        if packetizer is None:
            return self._origin
        return max(0.0, self._origin + (packetizer.elapsed - self._origin_elapsed) / 1e6)

    async def _resume(self, stream: Stream, target: float) -> None:
        """Start the recording again, and go to the place."""
        stream.jump(0)
        stream.paused = False
        stream.hold()
        self._sequence = 0
        self._settle(stream, 0.0)
        if target > 0:
            stream.paused = True  # what comes before the seek is not wanted
        await self._ask_start(stream)
        if target > 0:
            stream.paused = False
            await self._seek(stream, target)

    async def _seek(self, stream: Stream, target: float) -> None:
        info, play = self.info, self.play
        assert info is not None and info.start is not None and not isinstance(play, LivePlay)
        here = self._sent_until(stream)
        self._sequence += SEEK_STEP
        stream.jump(self._sequence)
        stream.hold()
        self._settle(stream, target)
        request = messages.ReplaySeek(
            play.channel, play.request_id, self._sequence, info.start + timedelta(seconds=target)
        )
        try:
            await self._wiring.devices.call(play.uid, request)
        except CallError as error:  # it cannot: the recording goes on where it is
            stream.stay()
            self._settle(stream, here)
            raise CallError("invalid_parameter", error.symbol) from error

    def _settle(self, stream: Stream, origin: float) -> None:
        self._origin = origin
        self._origin_elapsed = stream.packetizer.next_time() if stream.packetizer is not None else 0

    def _overflow(self) -> None:
        """Nobody plays the recording that is being kept: stop it; PLAY starts it again."""
        stream = self.stream
        if stream is not None and not stream.paused:
            self.position = 0.0
            stream.paused = True
            self._spawn(self._ask_stop())

    def ask_key_frame(self) -> None:
        """Ask the camera for a key frame, at most once per second; nobody waits for its answer."""
        now = self._wiring.clock.monotonic()
        if isinstance(self.play, LivePlay) and now - self._asked_key_at >= KEY_FRAME_PAUSE:
            self._asked_key_at = now
            self._spawn(self._tell(messages.KeyFrameRequest(self.play.channel, self.play.stream_type)))

    # -- the end ----------------------------------------------------------------------------------

    def leave(self, user: Hashable) -> None:
        """An RTSP connection ended. The last one that played takes the stream with it."""
        self._users.discard(user)
        if not self._users:
            self._unwatched_since = self._wiring.clock.monotonic()
            if self.played:
                self.end("last viewer left")

    def tick(self) -> None:
        """Once per second."""
        if self.expired:
            self.end("not used")
        elif self._starting is not None and not self._users:
            if self._wiring.clock.monotonic() - self._unwatched_since >= UNWATCHED_LIMIT:
                self.end("nobody watches")
        elif self.stream is not None:
            self._wiring.hold_awake(self.play.uid, AWAKE_SECONDS)

    def end(self, reason: str) -> None:
        """End it, once: viewers are told, the camera is told to stop."""
        if self.over:
            return
        self.over = True
        self._gone(self)
        stream = self.stream
        if stream is not None:
            stream.end(reason)
            self._spawn(self._ask_stop())

    async def _ask_stop(self) -> None:
        play = self.play
        if isinstance(play, LivePlay):
            await self._tell(messages.LiveStop(play.channel, play.request_id))
        else:
            await self._tell(messages.ReplayStop(play.channel, play.file_name, play.request_id))

    async def _tell(self, request: Request) -> None:
        """A command whose failure changes nothing."""
        try:
            await self._wiring.devices.call(self.play.uid, request, wake=False)
        except CallError as error:
            log.debug("stream-command", uid=self.play.uid, command=request.command, reason=error.symbol)
