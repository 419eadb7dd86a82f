"""One core server in memory and the connections to it; loaded by conftest.py."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rop_operator.api.facts import (
    BackupFacts,
    BackupRunFacts,
    CertificateFacts,
    DeviceFacts,
    FirmwareFacts,
    FleetEvent,
    RotationFacts,
    RunTargetFacts,
    ServerFacts,
    Session,
    SettingFact,
    UpgradeFacts,
    WriteResult,
)
from rop_operator.domain.plan import MakeArchive, RotateStep, StartUpgrade
from rop_operator.domain.rotation import PATHS
from rop_operator.ports import PortError


@dataclass
class Core:
    """One core server, whoever connects: the truth behind `FakeServer`s."""

    interface: str = "Management"
    reachable: bool = True
    ready: bool = True
    config: dict[str, Any] = field(default_factory=lambda: {"serverHost": "192.0.2.1"})
    devices: dict[str, DeviceFacts] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    manager: str | None = None
    fence: int = 0
    claims: tuple[str, frozenset[str]] = ("Documented", frozenset())
    listeners: list[asyncio.Queue[FleetEvent | None]] = field(default_factory=list)
    lists: int = 0
    settings_error: str | None = None
    session_error: str | None = None
    altered: dict[str, Any] = field(default_factory=dict)
    instance_id: str = "instance-1"
    serials: int = 0
    rotations: dict[str, RotationFacts] = field(
        default_factory=lambda: {item: RotationFacts(item, 1) for item in PATHS}
    )
    rotation_error: PortError | None = None
    firmware: FirmwareFacts = field(default_factory=FirmwareFacts)
    versions: dict[str, str] = field(default_factory=dict)
    upgrade_errors: dict[str, PortError] = field(default_factory=dict)
    backup: BackupFacts | None = None
    policy: Mapping[str, Any] | None = None
    backup_error: PortError | None = None
    covers_new_keys: bool = True
    backup_runs: dict[str, BackupRunFacts] = field(default_factory=dict)
    run_error: PortError | None = None
    calls_held: asyncio.Event | None = None
    certificate_ends: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=90))

    def device(self, uid: str, state: str = "Online", **members: Any) -> DeviceFacts:
        """Change a device and tell every observer."""
        known = self.devices.get(uid) or DeviceFacts(uid=uid)
        self.devices[uid] = known.model_copy(update={"state": state, **members})
        self.tell("device.changed", uid)
        return self.devices[uid]

    def enrolled(self, uid: str, state: str = "Online", **members: Any) -> DeviceFacts:
        """The device got a certificate and connected."""
        self.serials += 1
        ends = datetime.now(UTC) + timedelta(days=180)
        certificate = CertificateFacts(serial=f"{self.serials:02X}", not_after=ends)
        return self.device(uid, state, certificate=certificate, registered_at=datetime.now(UTC), **members)

    def setting(self, uid: str, name: str, value: Any) -> None:
        """Somebody changed a setting and the server noticed."""
        known = self.devices[uid]
        fact = SettingFact(value=value, at=datetime.now(UTC))
        self.device(uid, known.state, settings={**known.settings, name: fact})

    def backup_facts(self, wanted: Mapping[str, Any] | None) -> BackupFacts | None:
        """None for a server that makes no backups."""
        if self.backup is None:
            return None
        differs = wanted is not None and wanted != self.policy
        return self.backup.model_copy(update={"differs": differs, "configured": self.policy is not None})

    def archived(self, id_: str, message: str | None = None) -> None:
        """The archive of a run was stored everywhere, or on no target."""
        state = "Failed" if message else "Stored"
        run = self.backup_runs[id_]
        targets = tuple(t.model_copy(update={"state": state, "message": message}) for t in run.targets)
        update = {"state": "Failed" if message else "Complete", "targets": targets, "archive": "rop-g1.rop"}
        self.backup_runs[id_] = run.model_copy(update=update)
        self.tell("backup.run")

    def tell(self, type_: str, uid: str | None = None) -> None:
        device = self.devices.get(uid) if uid else None
        for queue in self.listeners:
            queue.put_nowait(FleetEvent(type_, uid, None, device))

    def gap(self) -> None:
        for queue in self.listeners:
            queue.put_nowait(None)

    def made(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]


class FakeServer:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.held: int | None = None
        self._queue: asyncio.Queue[FleetEvent | None] = asyncio.Queue()

    def _reach(self) -> None:
        if not self.core.reachable:
            raise PortError("Unreachable", "no answer")

    def _write(self) -> None:
        self._reach()
        if self.held is None or self.held != self.core.fence:
            raise PortError("Fenced", "a newer manager writes")

    async def observe(self, expected: Mapping[str, Any], backup: Mapping[str, Any] | None = None) -> ServerFacts:
        core = self.core
        if not core.reachable:
            return ServerFacts(interface=core.interface, error="no answer", error_reason="Unreachable")
        if core.interface == "ClientAPI":
            return ServerFacts(interface="ClientAPI", reachable=True, ready=True, features=("settings",))
        return ServerFacts(
            reachable=True,
            ready=core.ready,
            instance_id=core.instance_id,
            host="192.0.2.1",
            server_certificate_not_after=self.core.certificate_ends,
            manager_id=core.manager,
            fence=self.held if self.held == core.fence else None,
            config=core.config,
            config_differs=tuple(sorted(n for n, v in expected.items() if core.config.get(n) != v)),
            features=("settings", "claims", "events", "config"),
            backup=core.backup_facts(backup),
        )

    async def devices(self) -> Sequence[DeviceFacts]:
        self._reach()
        self.core.lists += 1
        if self._queue not in self.core.listeners:
            self.core.listeners.append(self._queue)
        return list(self.core.devices.values())

    async def events(self) -> AsyncIterator[FleetEvent | None]:
        while True:
            event = await self._queue.get()
            self._reach()
            yield event

    async def take_management(self, manager: str, take_over: bool) -> int:
        self._reach()
        self.core.calls.append(("take_management", manager, take_over))
        self.core.manager, self.core.fence = manager, self.core.fence + 1
        self.held = self.core.fence
        return self.core.fence

    async def apply_config(self, members: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        self._write()
        self.core.calls.append(("apply_config", dict(members)))
        self.core.config |= members
        return {"applied": list(members), "restart": [], "unchanged": []}

    async def apply_backup(self, policy: Mapping[str, Any]) -> None:
        self._write()
        self.core.calls.append(("apply_backup", dict(policy)))
        if self.core.backup_error is not None:
            raise self.core.backup_error
        self.core.policy = dict(policy)

    async def replace_labels(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._write()
        self.core.calls.append(("replace_labels", dict(labels)))

    async def claim(self, policy: str, uids: Sequence[str]) -> None:
        self._write()
        self.core.calls.append(("claim", policy, tuple(uids)))
        self.core.claims = (policy, frozenset(uids))

    async def set_access(self, uid: str, access: str) -> DeviceFacts:
        self._write()
        self.core.calls.append(("set_access", uid, access))
        state = "Offline" if access == "Denied" else self.core.devices[uid].state
        denied_at = datetime.now(UTC) if access == "Denied" else None
        return self.core.device(uid, state, access=access, denied_at=denied_at)

    async def settings(self, uid: str, write: Mapping[str, Any], read: Sequence[str], wake: bool) -> WriteResult:
        self._write()
        core = self.core
        core.calls.append(("settings", uid, dict(write), tuple(read), wake))
        if core.calls_held is not None:
            await core.calls_held.wait()
        if core.settings_error is not None:
            raise PortError(core.settings_error, "the camera refused")
        device = core.devices[uid]
        if device.state == "Asleep" and not wake:
            raise PortError("DeviceAsleep", "it sleeps")
        taken = {name: core.altered.get(name, value) for name, value in write.items()}
        known = {name: fact.value for name, fact in device.settings.items()} | taken
        values = {name: known.get(name, "unset") for name in read}
        facts = {n: SettingFact(value=v, at=datetime.now(UTC)) for n, v in {**taken, **values}.items()}
        woke = device.state == "Asleep"
        core.device(uid, device.state, settings={**device.settings, **facts}, wakes=device.wakes + woke)
        return WriteResult(woke, tuple(write), values, {})

    async def rotations(self) -> Sequence[RotationFacts]:
        self._reach()
        return list(self.core.rotations.values())

    async def rotate(self, order: RotateStep) -> RotationFacts:
        self._write()
        self.core.calls.append(("rotate", order.item, order.step))
        if self.core.rotation_error is not None:
            raise self.core.rotation_error
        known = self.core.rotations[order.item]
        phase = dict(PATHS[order.item]).get(order.step, "Idle")
        if order.step in ("Retire", "Abort"):
            generation = order.generation if order.step == "Retire" else known.generation
            known = replace(known, generation=generation, target=None, phase="Idle")
        else:
            known = replace(known, target=order.generation, phase=phase)
        self.core.rotations[order.item] = known
        if self.core.backup is not None and not self.core.covers_new_keys:
            self.core.backup = self.core.backup.model_copy(update={"covered": False})
        return known

    async def backup_run(self, id_: str) -> BackupRunFacts | None:
        self._reach()
        return self.core.backup_runs.get(id_)

    async def make_archive(self, order: MakeArchive) -> BackupRunFacts:
        self._reach()
        self.core.calls.append(("make_archive", order))
        if self.core.run_error is not None:
            raise self.core.run_error
        targets = tuple(RunTargetFacts(name=name) for name in order.targets or ("disk",))
        return self.core.backup_runs.setdefault(order.id, BackupRunFacts(id=order.id, targets=targets))

    async def firmware(self) -> FirmwareFacts:
        self._reach()
        return self.core.firmware

    async def put_firmware(self, name: str, sha256: str, file: Path) -> None:
        self._write()
        self.core.calls.append(("put_firmware", name))
        self.core.firmware = replace(self.core.firmware, files={name: sha256})
        self.core.versions[name] = file.read_text()

    async def hold_upgrades(self, holder: str, uids: Sequence[str], seconds: int) -> None:
        self._write()
        others = {uid: h for uid, h in self.core.firmware.holds.items() if h != holder}
        self.core.firmware = replace(self.core.firmware, holds={**dict.fromkeys(uids, holder), **others})

    async def start_upgrade(self, order: StartUpgrade) -> None:
        self._write()
        self.core.calls.append(("start_upgrade", order.uid))
        if order.uid in self.core.upgrade_errors:
            raise self.core.upgrade_errors[order.uid]
        began = UpgradeFacts(uid=order.uid, holder=order.holder, began_at=datetime.now(UTC))
        upgrades = {**self.core.firmware.upgrades, order.uid: began}
        self.core.firmware = replace(self.core.firmware, upgrades=upgrades)

    async def initialization_session(self, uid: str) -> Session:
        if self.core.interface == "Management":
            self._write()
        self.core.calls.append(("session", uid))
        if self.core.session_error is not None:
            raise PortError(self.core.session_error, "not now")
        return Session(uid, {"uid": uid, "code": "Secret12"}, expires_at=datetime.now(UTC) + timedelta(seconds=60))

    async def close(self) -> None:
        if self._queue in self.core.listeners:
            self.core.listeners.remove(self._queue)
