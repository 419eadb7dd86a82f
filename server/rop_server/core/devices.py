"""`Devices` for the users of the core: the online list, calls with wake-up and one retry, codes.

Source: ROP v1.0 wire specification, device-protocol 9.1 and 9.4; discrepancies C3.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rop_server.core.codes import Enrolment
from rop_server.core.connection import Connection
from rop_server.core.facade import CallError, DeviceLink, IssuedCode, Request
from rop_server.core.hub import Hub
from rop_server.core.learned import learned_from
from rop_server.core.pending import Answer, End, Outcome
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.packet import OK, REQUEST, Packet

ATTEMPTS = 2


class DeviceService:
    """Implements `rop_server.core.facade.Devices` on a `Hub`."""

    def __init__(self, hub: Hub, enrolment: Enrolment) -> None:
        self._hub = hub
        self._enrolment = enrolment
        self._calls = 0

    @property
    def revision(self) -> int:
        """Changes whenever the answer of `online()` changes (battery values count, their time does not)."""
        return self._hub.registry.revision

    @property
    def calls_in_flight(self) -> int:
        """Calls that have not ended: what a graceful stop waits for."""
        return self._calls

    def online(self) -> Sequence[DeviceLink]:
        """Every connected device, in order of arrival."""
        return self._hub.registry.online()

    def link(self, uid: str) -> DeviceLink | None:
        """One device, None when it is offline."""
        entry = self._hub.registry.entry(uid)
        return entry.link() if entry is not None else None

    def issue_code(self, uid: str) -> IssuedCode:
        """A fresh short-term code. Raises `CallError` when enrolment is refused."""
        return self._enrolment.issue_code(uid)

    async def disconnect(self, uid: str, reason: str) -> None:
        """Close every connection of the device, with or without a handshake so far."""
        for connection in self._hub.connections_of(uid):
            connection.close(reason)

    async def allot(self, uid: str) -> int:
        """A request number of the device's signaling connection, for the handle of a stream. Wakes the device.

        Raises as `call`.
        """
        return (await self.signaling(uid)).allot()

    async def call(
        self,
        uid: str,
        request: Request,
        *,
        wake: bool = True,
        timeout: float | None = None,
        number: int | None = None,
    ) -> bytes:
        """Send a request and return the payload of its 200 response; see `Devices.call`.

        `number`: the request number to use, one of `allot`.

        Raises `CallError` with `device_offline`, `device_asleep`, `cmd_timeout`, `wake_up_timeout`,
        `device_signaling_connection_closed` or `cmd_exec_error`.
        """
        self._calls += 1
        try:
            limit = self._hub.settings.call_timeout if timeout is None else timeout
            payload = await self._attempts(uid, request, wake, limit, number)
        finally:
            self._calls -= 1
        learned = learned_from(request, payload)
        if learned is not None and learned[0]:
            self._hub.events.learned(uid, learned[0], learned[1], self._hub.clock.wall())
        return payload

    async def support(self, uid: str, *, wake: bool = True) -> messages.Support:
        """Every channel and what it can do, asked once and kept until the device leaves the list."""
        entry = self._hub.registry.entry(uid)
        if entry is not None and entry.support is not None:
            return entry.support
        payload = await self.call(uid, messages.SupportGet(), wake=wake)
        if not payload:
            raise CallError("cmd_exec_error", "empty answer")
        support = messages.Support.decode(payload)
        entry = self._hub.registry.entry(uid)
        if entry is not None:
            entry.support = support
        self._hub.events.capable(uid, support, self._hub.clock.wall())
        return support

    async def snapshot(self, uid: str, channel: int, stream_type: str, timeout: float) -> bytes:
        """A JPEG picture; see `Devices.snapshot`."""
        self._calls += 1
        try:
            connection = await self.signaling(uid)
            return await self._picture(uid, connection, messages.Snapshot(channel, stream_type), timeout)
        finally:
            self._calls -= 1

    async def _picture(
        self, uid: str, connection: Connection, request: messages.Snapshot, timeout: float
    ) -> bytes:
        future: asyncio.Future[bytes | CallError] = asyncio.get_running_loop().create_future()

        def done(result: bytes | CallError) -> None:
            if not future.done():
                future.set_result(result)

        picture = self._hub.snapshots.begin(uid, connection, done)
        try:
            connection.send(Packet(REQUEST, Command.SNAPSHOT, picture.number, OK, request.encode()))
            async with asyncio.timeout(timeout):
                result = await future
        except TimeoutError:
            raise CallError("cmd_timeout", "the picture did not end in time") from None
        finally:
            self._hub.snapshots.forget(picture)
            connection.active_at = self._hub.clock.monotonic()
        if isinstance(result, CallError):
            raise result
        return result

    async def _attempts(self, uid: str, request: Request, wake: bool, limit: float, number: int | None) -> bytes:
        for _ in range(ATTEMPTS):
            connection = await self.signaling(uid, wake)
            outcome = await self.exchange(connection, request, limit, number)
            if isinstance(outcome, Answer):
                if outcome.status != 200:
                    raise CallError("cmd_exec_error", f"status {outcome.status}", outcome.status)
                return outcome.payload
            if outcome is End.EXPIRED:
                raise CallError("cmd_timeout")
        raise CallError("device_signaling_connection_closed")

    async def signaling(self, uid: str, wake: bool = True) -> Connection:
        """The signaling connection, after a wake-up if one is needed and allowed. Raises `CallError`."""
        entry = self._hub.registry.entry(uid)
        if entry is None:
            raise CallError("device_offline")
        if entry.signaling is not None:
            return entry.signaling
        if not wake:
            raise CallError("device_asleep")
        if entry.keep_alive is None:
            raise CallError("device_connection_not_found")
        return await self._woken(uid, entry.keep_alive)

    async def _woken(self, uid: str, keep_alive: Connection) -> Connection:
        future: asyncio.Future[Connection | str] = asyncio.get_running_loop().create_future()

        def listener(result: Connection | str) -> None:
            if not future.done():
                future.set_result(result)

        shared = self._hub.wake(uid, keep_alive)
        shared.listen(listener)
        try:
            result = await future
        finally:
            shared.forget(listener)
        if isinstance(result, str):
            raise CallError(result)
        return result

    async def exchange(
        self, connection: Connection, request: Request, limit: float, number: int | None = None
    ) -> Outcome:
        """One request on this very connection, without a retry; `limit` in seconds from now."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        extension: bytes = getattr(request, "extension", lambda: b"")()
        try:
            payload = request.encode()
            forget = self._hub.request(connection, request.command, payload, limit, done, extension, number)
        except WireError as error:
            raise CallError("invalid_parameter", str(error)) from error
        try:
            return await future
        finally:
            forget()
            connection.active_at = self._hub.clock.monotonic()
