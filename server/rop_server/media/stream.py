"""One stream of one camera: bytes in, frames to every viewer.

Source: ROP v1.0 wire specification, device-protocol 11, client-api 3.5; discrepancies C4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from enum import Enum

from rop_server.media.packets import AUDIO, MediaFrame, Packetizer
from rop_server.media.viewer import Viewer
from rop_wire.media import Frame, FrameKind, FrameParser, InfoBlock

CACHE_LIMIT = 4 * 1024 * 1024
EARLY_LIMIT = 4 * 1024 * 1024
END_OF_RECORDING = "end of recording"
SEEK_GRACE = 2.0
"""Seconds in which data of before a seek are told apart, by their status or, without such marks, by their time."""
JUMP = 500_000
"""Microseconds between two frames that only a seek explains."""


class Ready(Enum):
    """How much of a stream is known."""

    NOTHING = 0
    PICTURE = 1
    SOUND = 2


class Stream:
    """A running stream, known by UID and handle. `on_end(stream, reason)` is called once.

    `recording`: frames before the first viewer are all kept (bounded), as nobody may miss the beginning;
    `on_overflow` hears when they are too many. `source`: the media connection, for the log. `share`: bytes it may
    keep when there are very many streams.
    """

    def __init__(
        self,
        uid: str,
        handle: int,
        recording: bool,
        now: Callable[[], float],
        on_end: Callable[[Stream, str], None],
    ) -> None:
        self.uid = uid
        self.handle = handle
        self.recording = recording
        self.on_overflow: Callable[[], None] | None = None
        self.viewers: list[Viewer] = []
        self.carriers: set[Hashable] = set()
        self.source = ""
        self.active_at = now()
        self.received = 0
        self.frames = 0
        self.dropped = 0
        self.over = False
        self.paused = False
        self.finished = False
        self.packetizer: Packetizer | None = None
        self._now = now
        self._on_end = on_end
        self._parser = FrameParser()
        self._early = bytearray()
        self._early_lost = False
        self._cache: list[MediaFrame] = []
        self._cached = 0
        self._holding = recording
        self.share = CACHE_LIMIT
        self.picture_at = 0.0
        self._known = Ready.NOTHING
        self._waiters: list[tuple[Ready, asyncio.Future[None]]] = []
        self._seek = 0
        self._seek_until = 0.0
        self._last_time = 0

    # -- from the camera --------------------------------------------------------------------------

    def begin(self, info: InfoBlock) -> None:
        """The camera's answer to the start; what came before it is read now."""
        if self.packetizer is None:
            self.packetizer = Packetizer(info)
        self.active_at = self._now()
        early, self._early = bytes(self._early), bytearray()
        if early:
            self._take(self._parser.feed(early))
        if self._early_lost:  # what follows is not the rest of the unfinished frame
            self._parser = FrameParser()

    def feed(self, payload: bytes, status: int, carrier: Hashable) -> None:
        """A piece of the media byte stream."""
        if self.over or self.paused:
            return
        self.carriers.add(carrier)
        self.active_at = self._now()
        self.received += len(payload)
        if self.packetizer is None:
            self._early_lost = self._early_lost or len(self._early) + len(payload) > EARLY_LIMIT
            if not self._early_lost:
                self._early += payload
        elif self._seek and status < self._seek and self._now() <= self._seek_until:
            self._take_jump(self._parser.feed(payload))
        else:
            if self._seek:
                self._seek = 0
                self._parser = FrameParser()
            self._take(self._parser.feed(payload))

    def _take_jump(self, frames: list[Frame]) -> None:
        """Frames without the mark of the last seek: old ones, unless their time jumps at a key frame."""
        for number, frame in enumerate(frames):
            jumped = frame.kind is FrameKind.KEY and abs((frame.timestamp or 0) - self._last_time) > JUMP
            if jumped or frame.kind is FrameKind.END:
                self._seek = 0
                self._take(frames[number:])
                return
            if frame.timestamp is not None:
                self._last_time = frame.timestamp

    def _take(self, frames: list[Frame]) -> None:
        packetizer = self.packetizer
        assert packetizer is not None
        for frame in frames:
            if self.over:
                return
            if frame.kind is FrameKind.END:
                if self.recording and self.frames:
                    self._finish()
                continue
            if frame.timestamp is not None:
                self._last_time = frame.timestamp
            for made in packetizer.pack(frame):
                self._fan_out(made)

    def _finish(self) -> None:
        """The recording is over; nobody played it yet: its frames wait for the first viewer."""
        if self._holding:
            self.finished = True
        else:
            self.end(END_OF_RECORDING)

    def _fan_out(self, frame: MediaFrame) -> None:
        self.frames += 1
        for viewer in self.viewers:
            if not viewer.offer(frame):
                self.dropped += not viewer.waiting or viewer.gaps > 0
        frame.release()
        self._remember(frame)
        if self._known is not Ready.SOUND:
            self._learn(Ready.SOUND if frame.track == AUDIO else Ready.PICTURE)

    def _remember(self, frame: MediaFrame) -> None:
        """Keep the group of pictures that began last; a recording nobody plays yet, whole."""
        if frame.key and not self._holding:
            self._cache.clear()
            self._cached = 0
        elif not self._cache and not frame.key:
            return
        self._cached += frame.size
        if self._cached > min(CACHE_LIMIT, self.share) and not frame.key:
            self._cache.clear()
            if self._holding and self.on_overflow is not None:
                self.on_overflow()
            return
        self._cache.append(frame)

    # -- what is known ----------------------------------------------------------------------------

    def _learn(self, known: Ready) -> None:
        if known.value > self._known.value:
            if self._known is Ready.NOTHING:
                self.picture_at = self._now()
            self._known = known
            for wanted, future in self._waiters:
                if wanted.value <= known.value and not future.done():
                    future.set_result(None)

    async def wait(self, wanted: Ready, limit: float) -> bool:
        """Wait until this much is known, or the stream ends, or the time (seconds) is over."""
        if self._known.value < wanted.value and not self.over:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (wanted, future)
            self._waiters.append(entry)
            timer = asyncio.get_running_loop().call_later(limit, _finish, future)
            try:
                await future
            finally:
                timer.cancel()
                self._waiters.remove(entry)
        return self._known.value >= wanted.value and not self.over

    # -- to the viewers ---------------------------------------------------------------------------

    def cached(self) -> list[MediaFrame]:
        """What a new viewer gets at once; begins with a key frame."""
        return list(self._cache)

    def add(self, viewer: Viewer, cached: bool = True) -> None:
        """Begin to send to a viewer, from the last key frame on; from the next one if not `cached`."""
        frames = self.cached() if cached else []
        if self._holding:
            self._holding = False
            self._keep_last_group()
        viewer.begin(frames)
        for frame in frames:
            frame.release()
        if viewer not in self.viewers:
            self.viewers.append(viewer)
        if self.finished:
            self.end(END_OF_RECORDING)

    def _keep_last_group(self) -> None:
        last = max((number for number, each in enumerate(self._cache) if each.key), default=0)
        self._cache = self._cache[last:]
        self._cached = sum(each.size for each in self._cache)

    def remove(self, viewer: Viewer) -> None:
        """Send it nothing more."""
        if viewer in self.viewers:
            self.viewers.remove(viewer)

    # -- another place of a recording -------------------------------------------------------------

    def jump(self, sequence: int) -> None:
        """Data with a status below `sequence` are old now; 0: none are. Viewers wait for a key frame."""
        self._seek = sequence
        self._seek_until = self._now() + SEEK_GRACE
        self._cache.clear()
        self._cached = 0
        self.finished = False
        if not sequence:
            self._parser = FrameParser()
        if self.packetizer is not None:
            self.packetizer.restart()
        for viewer in self.viewers:
            viewer.waiting = True

    def stay(self) -> None:
        """The camera did not go there: what comes is as good as before."""
        self._seek = 0

    def hold(self) -> None:
        """Keep everything again until somebody plays."""
        self._holding = self.recording and not self.viewers

    # -- the end ----------------------------------------------------------------------------------

    @property
    def skipped(self) -> int:
        """Bytes of the camera that belonged to no frame."""
        return self._parser.skipped

    def end(self, reason: str) -> None:
        """Tell every viewer, once."""
        if self.over:
            return
        self.over = True
        viewers, self.viewers = self.viewers, []
        for viewer in viewers:
            viewer.ended(reason)
        self._cache.clear()
        for _, future in self._waiters:
            _finish(future)
        self._on_end(self, reason)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
