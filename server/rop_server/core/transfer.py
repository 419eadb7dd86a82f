"""A firmware file on its way to one device: announcement, slices, install.

Source: ROP v1.0 wire specification, device-protocol 10.11; discrepancies C1.4, C1.5, C5.3, C5.4.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import BinaryIO

from rop_server.core.connection import Connection
from rop_server.core.devices import DeviceService
from rop_server.core.hub import Hub
from rop_server.core.pace import Pacer
from rop_server.core.pending import Answer, End, Outcome
from rop_wire import messages
from rop_wire.commands import Command

# Slices read in one go: few trips to a thread, little memory with a hundred devices.
READ_AHEAD = 4
# An answer that is late because the link is slow is no failure; silence is, see `Batch.answered`.
PATIENCE = 86_400.0


class TransferFailed(Exception):
    """The device refused (`status`), fell silent or went away (`status` None)."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Batch:
    """Slices that are waited for together."""

    def __init__(self, hub: Hub, connection: Connection) -> None:
        self._hub = hub
        self._connection = connection
        self._waiting = 0
        self._forget: list[Callable[[], None]] = []
        self._moved = asyncio.Event()
        self.failure: TransferFailed | None = None

    def send(self, data: bytes) -> None:
        """One slice. Raises TransferFailed when the connection is gone."""
        if not self._connection.announced:
            raise TransferFailed("connection lost")
        self._waiting += 1
        extension = messages.UPGRADE_EXTENSION
        self._forget.append(
            self._hub.request(self._connection, Command.UPGRADE, data, PATIENCE, self._answered, extension)
        )

    def _answered(self, outcome: Outcome) -> None:
        self._waiting -= 1
        self._connection.active_at = self._hub.clock.monotonic()
        if self.failure is None:
            self.failure = failure_of(outcome)
        self._moved.set()

    async def answered(self, silence: float) -> None:
        """Wait for every answer. Raises TransferFailed, also after `silence` seconds without any answer."""
        while self._waiting and self.failure is None:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), silence)
            except TimeoutError:
                raise TransferFailed("no answer to a slice") from None
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Expect no more answers."""
        for forget in self._forget:
            forget()


def failure_of(outcome: Outcome) -> TransferFailed | None:
    """What an outcome means, None when it is fine."""
    if isinstance(outcome, Answer):
        return None if outcome.status == 200 else TransferFailed("refused", outcome.status)
    return TransferFailed("connection lost" if outcome is End.LOST else "no answer")


class Transfer:
    """Sends one file over one connection; nothing is tried twice, a device that lost some has lost all."""

    def __init__(self, hub: Hub, pacer: Pacer, file: BinaryIO, slice_timeout: float) -> None:
        self._hub = hub
        self._pacer = pacer
        self._file = file
        self._slice_timeout = slice_timeout
        self._ready: list[bytes] = []
        self.size = os.fstat(file.fileno()).st_size
        self.sent = 0

    async def announce(self, devices: DeviceService, connection: Connection, name: str, reset: bool) -> None:
        """Tell name and size. Raises TransferFailed, `CallError` for a name that cannot be sent."""
        begin = messages.UpgradeBegin(name, self.size, reset)
        outcome = await devices.exchange(connection, begin, self._hub.settings.call_timeout)
        failure = failure_of(outcome)
        if failure is not None:
            raise failure

    async def send(self, connection: Connection) -> None:
        """Every slice, up to 30 at a time, each batch answered before the next. Raises TransferFailed."""
        while self.sent < self.size:
            batch = Batch(self._hub, connection)
            try:
                await self._fill(batch, connection)
                await batch.answered(self._slice_timeout)
            finally:
                batch.close()

    async def _fill(self, batch: Batch, connection: Connection) -> None:
        for _ in range(messages.SLICES_IN_FLIGHT):
            data = await self._next()
            await self._pacer.turn()
            await connection.drained()
            if batch.failure is not None:
                return
            batch.send(data)
            self.sent += len(data)
            if self.sent >= self.size:
                return

    async def install(self, devices: DeviceService, connection: Connection) -> None:
        """The order to install; answered, or the connection just closes. Raises TransferFailed when refused."""
        limit = self._hub.settings.call_timeout
        outcome = await devices.exchange(connection, messages.UpgradeInstall(), limit)
        if isinstance(outcome, Answer) and outcome.status != 200:
            raise TransferFailed("install refused", outcome.status)

    async def _next(self) -> bytes:
        if not self._ready:
            block = await asyncio.to_thread(self._read)
            step = messages.SLICE_LENGTH
            self._ready = [block[start : start + step] for start in range(0, len(block), step)]
            self._ready.reverse()
        if not self._ready:
            raise TransferFailed("the file became shorter")
        return self._ready.pop()

    def _read(self) -> bytes:
        wanted = min(READ_AHEAD * messages.SLICE_LENGTH, self.size - self.sent)
        parts: list[bytes] = []
        while wanted and (part := self._file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)
