"""Upgrade sessions and what becomes of them. The version a device comes back with is the truth.

Source: ROP v1.0 wire specification, client-api 2.14, device-protocol 10.11; discrepancies C1.4, C5.3 to C5.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from rop_data.firmware import NAME, FirmwareError, FirmwareStore
from rop_server.core.devices import DeviceService
from rop_server.core.facade import CallError, DeviceLink
from rop_server.core.holds import Holds
from rop_server.core.hub import Hub
from rop_server.core.pace import Pacer
from rop_server.core.transfer import Transfer, TransferFailed
from rop_wire import messages
from rop_wire.auth import random_text

log = structlog.get_logger("rop.upgrade")

UPGRADING = "upgrading"
SUCCESS = "upgrade_success"
UNKNOWN = "unknown_error"
VERDICT = 300.0
"""Seconds a device has to come back with another firmware text."""
SESSIONS_KEPT = 10_000
SLICES_PER_TURN = 8
_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class UpgradeLimits:
    """`sessions` at a time; in seconds: life of a session, silence of a slice, wait for the new version."""

    sessions: int = 100
    life: float = 3600.0
    slice_timeout: float = 60.0
    verdict: float = VERDICT


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for. `sha256` that the file must have; `holder` in whose name, None for a client."""

    uid: str
    file_name: str
    reset: bool = False
    sha256: str | None = None
    holder: str | None = None


class Upgrade:
    """One session. `expires_at` in monotonic seconds, `began` and `ended` in epoch seconds."""

    __slots__ = (
        *("armed", "before", "began", "ended", "expires_at", "file_name", "holder", "id", "reason", "reset"),
        *("returned", "sha256", "status", "task", "uid"),
    )

    def __init__(self, wanted: Wanted, expires_at: float, began: float) -> None:
        self.id = random_text(_ID_LENGTH)
        self.uid = wanted.uid
        self.file_name = wanted.file_name
        self.reset = wanted.reset
        self.sha256 = wanted.sha256
        self.holder = wanted.holder
        self.expires_at = expires_at
        self.began = began
        self.ended: float | None = None
        self.status = UPGRADING
        self.reason = ""
        self.before: str | None = None
        # From the order to install on, or after a failure on the way, another version counts as success.
        self.armed = False
        self.returned = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Upgrades:
    """Starts upgrades and answers what became of them. `limits` is asked each time."""

    def __init__(
        self,
        hub: Hub,
        devices: DeviceService,
        store: FirmwareStore,
        limits: Callable[[], UpgradeLimits] = UpgradeLimits,
    ) -> None:
        self._hub = hub
        self._devices = devices
        self._store = store
        self._limits = limits
        self._pacer = Pacer(SLICES_PER_TURN)
        self._sessions: dict[str, Upgrade] = {}
        self._by_device: dict[str, Upgrade] = {}
        self.counts: dict[str, int] = {}
        self.holds = Holds(hub.clock.monotonic)
        # Told of every upgrade that ended, and of one that is a success after all.
        self.on_settled: list[Callable[[Upgrade], None]] = []
        hub.on_handshake.append(self._handshake)

    @property
    def running(self) -> int:
        """Upgrades without a verdict."""
        return sum(each.status == UPGRADING for each in self._by_device.values())

    async def start(self, wanted: Wanted) -> Upgrade:
        """Begin an upgrade in the background. Raises `CallError` in the order of client-api 2.14; then, for a file
        that is another one than wanted, `invalid_parameter`.
        """
        uid = wanted.uid
        if not wanted.file_name.endswith(("pak", "paks")) or not NAME.fullmatch(wanted.file_name):
            raise CallError("invalid_filename")
        self._room(wanted)
        try:
            file = await asyncio.to_thread(self._store.open, wanted.file_name)
        except FirmwareError as error:
            raise CallError(error.symbol, error.detail) from None
        try:
            await self._check(wanted, file)
            if self._devices.link(uid) is None:
                raise CallError("device_offline")
            self._room(wanted)
            expires_at = self._hub.clock.monotonic() + self._limits().life
            upgrade = Upgrade(wanted, expires_at, self._hub.clock.wall())
            self._remember(upgrade)
        except BaseException:
            file.close()
            raise
        upgrade.task = asyncio.create_task(self._run(upgrade, file))
        return upgrade

    async def _check(self, wanted: Wanted, file: BinaryIO) -> None:
        if wanted.sha256 is None:
            return
        if await asyncio.to_thread(self._store.sha256, file) != wanted.sha256:
            raise CallError("invalid_parameter", f"{wanted.file_name} is not the file with this sha256")
        await asyncio.to_thread(file.seek, 0)

    def newest(self) -> list[Upgrade]:
        """The newest session of every device."""
        return list(self._by_device.values())

    def status(self, uid: str, session_id: str) -> str:
        """One of the words of client-api 2.14. Raises `CallError("session_not_found")`."""
        found = self._sessions.get(session_id)
        if found is None or found.uid != uid or found.expires_at <= self._hub.clock.monotonic():
            raise CallError("session_not_found")
        return found.status

    def tick(self) -> None:
        """Once per second: forget what has expired, end what still runs then."""
        now = self._hub.clock.monotonic()
        for upgrade in [each for each in self._sessions.values() if each.expires_at <= now]:
            self._drop(upgrade)

    async def close(self) -> None:
        """End every transfer."""
        tasks = [each.task for each in self._sessions.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- sessions ---------------------------------------------------------------------------------

    def _room(self, wanted: Wanted) -> None:
        self.tick()
        if self.running >= self._limits().sessions:
            raise CallError("up_to_upgrade_session_limit")
        current = self._by_device.get(wanted.uid)
        holder = self.holds.holder(wanted.uid)
        held = holder is not None and holder != wanted.holder
        if held or (current is not None and current.status == UPGRADING):
            raise CallError("duplicate_upgrade")

    def _remember(self, upgrade: Upgrade) -> None:
        while len(self._sessions) >= SESSIONS_KEPT:
            settled = next((each for each in self._sessions.values() if each.status != UPGRADING), None)
            if settled is None:
                raise CallError("up_to_upgrade_session_limit")
            self._drop(settled)
        self._sessions[upgrade.id] = self._by_device[upgrade.uid] = upgrade

    def _drop(self, upgrade: Upgrade) -> None:
        self._sessions.pop(upgrade.id, None)
        if self._by_device.get(upgrade.uid) is upgrade:
            del self._by_device[upgrade.uid]
        if upgrade.task is not None:
            upgrade.task.cancel()

    def _handshake(self, link: DeviceLink) -> None:
        """A device announced itself: what it runs now is the truth, however late it comes."""
        upgrade = self._by_device.get(link.uid)
        if upgrade is None or not upgrade.armed or not link.firmware or link.firmware == upgrade.before:
            return
        if upgrade.status in (UPGRADING, UNKNOWN):
            late = upgrade.status == UNKNOWN
            self._settle(upgrade, SUCCESS, "came back late" if late else "came back", firmware=link.firmware)
            upgrade.returned.set()

    def _settle(self, upgrade: Upgrade, status: str, reason: str, **told: object) -> None:
        upgrade.status, upgrade.reason = status, reason
        upgrade.ended = self._hub.clock.wall()
        self.counts[status] = self.counts.get(status, 0) + 1
        log.info("upgrade", uid=upgrade.uid, file=upgrade.file_name, status=status, reason=reason, **told)
        for call in self.on_settled:
            call(upgrade)

    # -- one upgrade ------------------------------------------------------------------------------

    async def _run(self, upgrade: Upgrade, file: BinaryIO) -> None:
        limits = self._limits()
        try:
            with file:
                await self._transfer(upgrade, Transfer(self._hub, self._pacer, file, limits.slice_timeout))
            await asyncio.wait_for(upgrade.returned.wait(), limits.verdict)
        except TimeoutError:
            self._fail(upgrade, UNKNOWN, "no other version in time")
        except TransferFailed as error:
            known = messages.UPGRADE_REFUSALS.get(error.status or 0, UNKNOWN)
            self._fail(upgrade, known, str(error), answered=error.status)
        except CallError as error:
            self._fail(upgrade, UNKNOWN, error.symbol)
        except Exception:
            log.exception("upgrade", uid=upgrade.uid, file=upgrade.file_name)
            self._fail(upgrade, UNKNOWN, "failed")

    async def _transfer(self, upgrade: Upgrade, transfer: Transfer) -> None:
        connection = await self._devices.signaling(upgrade.uid)
        link = self._devices.link(upgrade.uid)
        upgrade.before = link.firmware if link is not None else None
        log.info("upgrade", uid=upgrade.uid, file=upgrade.file_name, status=UPGRADING, size=transfer.size)
        await transfer.announce(self._devices, connection, upgrade.file_name, upgrade.reset)
        try:
            await transfer.send(connection)
        finally:
            upgrade.armed = True
        await transfer.install(self._devices, connection)

    def _fail(self, upgrade: Upgrade, status: str, reason: str, **told: object) -> None:
        if upgrade.status == UPGRADING:
            self._settle(upgrade, status, reason, **told)
