"""Live and replay: starts, stops, key frames, seeks; one task per running stream."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rop_sim.faults import Faults
from rop_sim.ffmpeg import SAMPLE_RATE, FilmError
from rop_sim.files import DeviceLog
from rop_sim.film import Film, Films
from rop_sim.identity import Identity, IdentityStore
from rop_sim.recordings import Shelf
from rop_sim.stream_link import StreamLinkError, Uplink
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import MediaMode
from rop_wire.errors import EncodeError, WireError
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import SAMPLES_PER_AAC_FRAME
from rop_wire.packet import BAD_REQUEST, OK, Packet

# No media earlier than this after the answer to the start. Source: device-protocol 11.1.
FIRST_MEDIA_SECONDS = 0.1
_FAULTS = (OSError, TimeoutError, StreamLinkError, EncodeError)


@dataclass(slots=True)
class Playing:
    """One stream. `recording` None: live. Positions count pictures of the endless film."""

    handle: int
    channel: int
    stream_type: str
    mode: MediaMode
    port: int
    recording: messages.Recording | None
    sequence: int | None = None
    position: int = 0
    jump: int | None = None
    jumped: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    wants_key: bool = False
    dropped: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def replay(self) -> bool:
        """Whether it plays a recording."""
        return self.recording is not None


class Streams:
    """All streams of one camera. `identity` and `handshake` are asked when a connection is opened."""

    def __init__(
        self,
        store: IdentityStore,
        identity: Callable[[], Identity | None],
        handshake: Callable[[], bytes],
        films: Films,
        shelf: Shelf,
        faults: Faults,
        log: DeviceLog,
    ) -> None:
        self._store = store
        self._identity = identity
        self._handshake = handshake
        self._films = films
        self._shelf = shelf
        self._faults = faults
        self._log = log
        self._uplinks: dict[tuple[MediaMode, int], Uplink] = {}
        self.playing: dict[int, Playing] = {}
        self.on_violation: Callable[[str], None] = lambda _: None
        self.on_stale: Callable[[], None] = lambda: None

    # -- commands -------------------------------------------------------------------------------

    async def answer(self, request: Packet) -> Packet:
        """Perform one of the commands 3, 4, 5, 7, 123, 189; its response."""
        try:
            match request.command:
                case Command.LIVE_START | Command.REPLAY_START:
                    return await self._start(request)
                case Command.LIVE_STOP:
                    self.stop(messages.LiveStop.decode(request.payload).handle)
                case Command.REPLAY_STOP:
                    self.stop(messages.ReplayStop.decode(request.payload).handle)
                case Command.KEY_FRAME:
                    self._key_frame(messages.KeyFrameRequest.decode(request.payload))
                case Command.REPLAY_SEEK:
                    self._seek(messages.ReplaySeek.decode(request.payload))
        except (WireError, ValueError):
            return request.reply(BAD_REQUEST)
        except FilmError as failure:
            self._log("no-media", why=str(failure))
            return request.reply(BAD_REQUEST)
        return request.reply()

    async def _start(self, request: Packet) -> Packet:
        refusal = self._faults.number("stream-refuse")
        if refusal is not None:
            return request.reply(int(refusal))
        stream = self._wanted(request)
        film = await self._films.get(stream.stream_type)
        self.stop(stream.handle)
        self.playing[stream.handle] = stream
        stream.task = asyncio.get_running_loop().create_task(self._play(stream, film))
        encoded = {"encoded": film.encoded} if film.encoded else {}
        self._log("stream", handle=stream.handle, type=stream.stream_type, mode=stream.mode.value, **encoded)
        told = stream.recording
        start, end = (told.start, told.end) if told else (None, None)
        block = InfoBlock(film.rate, film.codec, film.width, film.height, start, end)
        return request.reply(OK, block.encode())

    def _wanted(self, request: Packet) -> Playing:
        """What a start asks for. Raises WireError, ValueError."""
        if request.command == Command.LIVE_START:
            live = messages.LiveStart.decode(request.payload)
            mode = MediaMode(live.mode)
            return Playing(live.handle, live.channel, live.stream_type, mode, live.port, None)
        told = messages.ReplayStart.decode(request.payload)
        recording = self._shelf.find(told.channel, told.file_name)
        if recording is None:
            raise ValueError("no such recording")
        mode = MediaMode(told.mode)
        return Playing(told.handle, told.channel, recording.stream_type, mode, told.port, recording, 0)

    def _key_frame(self, request: messages.KeyFrameRequest) -> None:
        for stream in self.playing.values():
            if (stream.channel, stream.stream_type) == (request.channel, request.stream_type):
                stream.wants_key = True

    def _seek(self, request: messages.ReplaySeek) -> None:
        stream = self.playing.get(request.handle)
        if stream is None or stream.recording is None:
            raise ValueError("no such replay")
        self._log("seek", handle=request.handle, sequence=request.sequence, to=str(request.to))
        stream.sequence = request.sequence
        stream.jump = max(0, int((request.to - stream.recording.start).total_seconds() * 1000))
        stream.jumped.set()

    def stop(self, handle: int) -> None:
        """End a stream, if it runs; the connection when it was the last on it."""
        stream = self.playing.pop(handle, None)
        if stream is None:
            return
        if stream.task is not None:
            stream.task.cancel()
        self._log("stream-ended", handle=handle, dropped=stream.dropped)
        self._leave(stream)

    def stop_all(self) -> None:
        """End everything at once."""
        for handle in list(self.playing):
            self.stop(handle)
        for uplink in list(self._uplinks.values()):
            uplink.close()

    # -- connections ----------------------------------------------------------------------------

    async def _uplink(self, stream: Playing) -> Uplink:
        """The connection of a stream's mode, opened when there is none."""
        key = stream.mode, stream.port
        uplink = self._uplinks.get(key)
        if uplink is not None and uplink.usable:
            uplink.users.add(stream.handle)
            await uplink.wait_open()
            return uplink
        identity = self._identity()
        if identity is None:
            raise StreamLinkError("no server")
        uplink = self._uplinks[key] = Uplink(stream.mode, stream.port, self._uplink_ended)
        uplink.users.add(stream.handle)
        try:
            await uplink.open(self._handshake(), identity, self._store)
        except BaseException:
            uplink.give_up()
            raise
        return uplink

    def _uplink_ended(self, uplink: Uplink) -> None:
        if self._uplinks.get((uplink.mode, uplink.port)) is uplink:
            del self._uplinks[(uplink.mode, uplink.port)]
        if uplink.fault is not None:
            self.on_violation(uplink.fault)
        if uplink.refused:
            self._log("refused", at="stream", stale=uplink.stale)
        if uplink.stale:
            self.on_stale()
        for handle in list(uplink.users):
            self.stop(handle)

    def _leave(self, stream: Playing) -> None:
        uplink = self._uplinks.get((stream.mode, stream.port))
        if uplink is not None:
            uplink.users.discard(stream.handle)
            if not uplink.users:
                del self._uplinks[(stream.mode, stream.port)]
                uplink.finish()

    # -- playing --------------------------------------------------------------------------------

    async def _play(self, stream: Playing, film: Film) -> None:
        """Connect and send until stopped or at the end of a recording."""
        try:
            await asyncio.sleep(FIRST_MEDIA_SECONDS)
            if "stream-never" in self._faults:
                return
            uplink = await self._uplink(stream)
            await _Run(stream, film, uplink, self._faults).go()
        except _FAULTS as failure:
            self._log("refused", at="stream", why=type(failure).__name__)
            stream.task = None
            self.stop(stream.handle)


class _Run:
    """Sends the frames of one stream at their time."""

    def __init__(self, stream: Playing, film: Film, uplink: Uplink, faults: Faults) -> None:
        self._stream = stream
        self._film = film
        self._uplink = uplink
        self._faults = faults
        self._sent = 0
        self._sounds = 0
        self._skipping = False

    async def go(self) -> None:
        """Until cancelled, the end of the recording or a fault of ours."""
        loop = asyncio.get_running_loop()
        began, film, stream = loop.time(), self._film, self._stream
        while True:
            due = began + self._sent / film.rate
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            if self._broken(loop.time() - began):
                return
            if stream.jump is not None:
                self._go_to(stream.jump)
                stream.jump = None
            if self._at_end():
                await self._end()
                self._sent = max(self._sent, int((loop.time() - began) * film.rate))
                continue
            self._step()

    def _broken(self, seconds: float) -> bool:
        """Whether a fault ends the sending."""
        for name in ("stream-silent", "stream-drop", "stream-garbage"):
            limit = self._faults.number(name)
            if limit is None or seconds < limit:
                continue
            if name == "stream-drop":
                self._uplink.close()
            elif name == "stream-garbage":
                self._uplink.send_garbage(b"\xa5" * 4096)
            return True
        return False

    def _go_to(self, milliseconds: int) -> None:
        self._stream.position = self._film.key_before(milliseconds * self._film.rate // 1000)
        self._sounds = self._sound_at(self._stream.position)

    def _at_end(self) -> bool:
        told = self._stream.recording
        return (
            told is not None and self._stream.position >= self._film.rate * (told.end - told.start).total_seconds()
        )

    async def _end(self) -> None:
        """Tell the end, then wait for a seek; a stop cancels."""
        if "stream-no-end" not in self._faults:
            self._send(Frame(FrameKind.END))
        self._stream.jumped.clear()
        await self._stream.jumped.wait()

    def _step(self) -> None:
        """One picture and the sound that belongs to it."""
        stream, film = self._stream, self._film
        if stream.wants_key:
            stream.wants_key = False
            if not stream.replay:
                stream.position = film.key_after(stream.position)
                self._sounds = self._sound_at(stream.position)
        picture = film.picture(stream.position)
        if self._skipping and not (picture.key and not self._uplink.full):
            stream.dropped += 1
        elif self._uplink.full:
            self._skipping = True
            stream.dropped += 1
        else:
            self._skipping = False
            kind = FrameKind.KEY if picture.key else FrameKind.PREDICTED
            extra = self._capture_time().to_bytes(4, "little") if picture.key else b""
            moment = self._sent * 1_000_000 // film.rate
            self._send(Frame(kind, picture.data, moment, film.codec, extra))
        stream.position += 1
        self._sent += 1
        self._sound(self._sound_at(stream.position))

    def _sound(self, until: int) -> None:
        while self._sounds < until:
            sound = self._film.sound(self._sounds)
            if sound is not None and not self._skipping and "stream-no-sound" not in self._faults:
                self._send(Frame(FrameKind.AUDIO, sound))
            self._sounds += 1

    def _sound_at(self, position: int) -> int:
        """The number of the sound frame at a picture; both begin anew with every loop of the film."""
        loop, place = divmod(position, len(self._film.pictures))
        within = place * SAMPLE_RATE // (self._film.rate * SAMPLES_PER_AAC_FRAME)
        return loop * len(self._film.sounds) + min(within, len(self._film.sounds))

    def _capture_time(self) -> int:
        told = self._stream.recording
        if told is None:
            return int(time.time()) & 0xFFFFFFFF
        at = (told.start - datetime(1970, 1, 1)).total_seconds() + self._stream.position / self._film.rate
        return int(at) & 0xFFFFFFFF

    def _send(self, frame: Frame) -> None:
        self._uplink.send(frame, self._stream.handle, self._stream.replay, self._stream.sequence)
