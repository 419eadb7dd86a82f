"""Play sessions: signed addresses, and the streams behind them from the first DESCRIBE to the last viewer.

Source: ROP v1.0 wire specification, client-api 2.11, 2.12, 3.1 and 3.5; device-protocol 10.7 and 10.8;
discrepancies C4.8, C4.16, C4.18.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from rop_data.config import Config
from rop_server.access.callers import Caller
from rop_server.core.facade import CallError, Request
from rop_server.core.hub import Clock
from rop_server.media.play import PlaySession, seen
from rop_server.media.relay import Relay
from rop_server.media.tickets import Tickets, Viewing
from rop_wire import messages
from rop_wire.auth import random_text
from rop_wire.errors import ProtocolError
from rop_wire.messages import STREAM_BITS
from rop_wire.play_url import LivePlay, Play, RecordPlay, TicketPlay, open_play_url, play_url

log = structlog.get_logger("rop.media")

MAX_SESSIONS = 20_000
MAX_SESSIONS_OF_DEVICE = 256
KEY_LENGTH = 32


class MediaDevices(Protocol):
    """What sessions need of the connected devices."""

    async def allot(self, uid: str) -> int:
        """A request number of the signaling connection."""
        ...

    async def support(self, uid: str) -> messages.Support:
        """Every channel of the device."""
        ...

    async def call(
        self,
        uid: str,
        request: Request,
        *,
        wake: bool = True,
        timeout: float | None = None,
        number: int | None = None,
    ) -> bytes:
        """A command, as `Devices.call`."""
        ...


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a session works with. `hold_awake(uid, seconds)` keeps a battery device from sleeping."""

    devices: MediaDevices
    relay: Relay
    config: Callable[[], Config]
    clock: Clock
    hold_awake: Callable[[str, float], None]


class PlaySessions:
    """The table of play sessions. Addresses die with the process: their key is made here."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._key = random_text(KEY_LENGTH)
        self._live: dict[tuple[str, int, str], PlaySession] = {}
        self._by_play: dict[Play, PlaySession] = {}
        self._opening: dict[tuple[str, int, str], asyncio.Task[PlaySession]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.tickets = Tickets()

    def __len__(self) -> int:
        return len(self._by_play)

    @property
    def sessions(self) -> list[PlaySession]:
        """Every session."""
        return list(self._by_play.values())

    async def live(
        self, uid: str, channel: int, stream_type: str, caller: Caller | None = None
    ) -> tuple[str, int]:
        """The address of a live stream and the seconds it lives. One session for each channel and stream type; a
        caller of the gateway gets an address of its own.

        Raises CallError: `device_channel_not_found`, `stream_type_not_support` and those of a device call.
        """
        return self._address(await self._shared(uid, channel, stream_type), caller)

    async def _shared(self, uid: str, channel: int, stream_type: str) -> PlaySession:
        """The session of a live stream, made when there is none."""
        key = (uid, channel, stream_type)
        session = self._live.get(key)
        if session is None or session.over:
            task = self._opening.get(key)
            if task is None:
                task = asyncio.create_task(self._open_live(*key))
                self._opening[key] = task
                task.add_done_callback(lambda _: self._opening.pop(key, None))
                task.add_done_callback(seen)
            session = await asyncio.shield(task)
        return session

    async def _open_live(self, uid: str, channel: int, stream_type: str) -> PlaySession:
        devices = self._wiring.devices
        handle = await self._handle(uid)
        told = (await devices.support(uid)).channel(channel)
        if told is None:
            raise CallError("device_channel_not_found")
        if not told.streams & STREAM_BITS[stream_type]:
            raise CallError("stream_type_not_support")
        play = LivePlay(uid, handle, stream_type, channel, self._expiry())
        session = self._add(play)
        self._live[uid, channel, stream_type] = session
        return session

    async def replay(
        self, uid: str, channel: int, file_name: str, caller: Caller | None = None
    ) -> tuple[str, int]:
        """The address of a recording and the seconds it lives. Each call makes a session.

        Raises CallError: `file_not_found` and those of a device call.
        """
        devices = self._wiring.devices
        payload = await devices.call(uid, messages.FileInfo(channel, file_name))
        if messages.FileInfoReply.decode(payload).channel is None:
            raise CallError("file_not_found")
        handle = await self._handle(uid)
        return self._address(self._add(RecordPlay(channel, file_name, uid, handle, self._expiry())), caller)

    async def _handle(self, uid: str) -> int:
        """A request number no stream of the device has."""
        taken = {each.play.request_id for each in self._by_play.values() if each.play.uid == uid}
        if len(taken) >= MAX_SESSIONS_OF_DEVICE or len(self._by_play) >= MAX_SESSIONS:
            raise CallError("frequent_request", "too many play sessions")
        handle = await self._wiring.devices.allot(uid)
        while handle in taken:
            handle = await self._wiring.devices.allot(uid)
        return handle

    def _life(self) -> float:
        return self._wiring.config().seconds("rtsp.playSessionTTL")

    def _expiry(self) -> int:
        return int((self._wiring.clock.wall() + self._life()) * 1000)

    def _add(self, play: Play) -> PlaySession:
        session = PlaySession(play, self._wiring, self._gone, self._spawn)
        self._by_play[play] = session
        self._wiring.hold_awake(play.uid, self._life())
        return session

    def _address(self, session: PlaySession, caller: Caller | None) -> tuple[str, int]:
        if caller is not None:
            until = self._wiring.clock.wall() + self._life()
            ticket = self.tickets.make(session.play, caller, until)
            play = TicketPlay(ticket.id, int(until * 1000))
            return play_url(caller.prefix, self._key, play), int(self._life())
        prefix = str(self._wiring.config().get("rtsp.playURLPrefix")).rstrip("/")
        return play_url(prefix, self._key, session.play), int(self._life())

    async def admit(self, url: str, viewing: Viewing) -> tuple[PlaySession, Caller | None]:
        """The session of an address, and whose address it is. Raises CallError: `signature_not_matched`,
        `session_not_found`, `session_expired`, and `auth_failed` for the address of somebody else.
        """
        try:
            play = open_play_url(url, self._key)
        except ProtocolError:
            raise CallError("signature_not_matched") from None
        if not isinstance(play, TicketPlay):
            return self._known(play), None
        ticket = self.tickets.use(play.ticket, viewing, self._wiring.clock.wall())
        wanted = ticket.play
        if not isinstance(wanted, LivePlay):
            return self._known(wanted), ticket.caller
        # The last viewer may have left since, and a session that nobody described in time is over.
        found = self._live.get((wanted.uid, wanted.channel, wanted.stream_type))
        if found is not None and found.expired:
            found.end("not used")
        return await self._shared(wanted.uid, wanted.channel, wanted.stream_type), ticket.caller

    def _known(self, play: Play) -> PlaySession:
        session = self._by_play.get(play)
        if session is None or session.over:
            raise CallError("session_not_found")
        if session.expired:
            raise CallError("session_expired")
        return session

    def tick(self) -> None:
        """Forget sessions nobody used, end those nobody watches, keep watched devices awake. Once per second."""
        self.tickets.tick(self._wiring.clock.wall())
        for session in list(self._by_play.values()):
            session.tick()

    def _gone(self, session: PlaySession) -> None:
        self._by_play.pop(session.play, None)
        play = session.play
        if isinstance(play, LivePlay):
            key = (play.uid, play.channel, play.stream_type)
            if self._live.get(key) is session:
                del self._live[key]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something to its end beside the caller."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every session; the cameras are told to stop."""
        for session in list(self._by_play.values()):
            session.end("stopping")
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=2.0)
