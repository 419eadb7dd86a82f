"""The engine with a world in memory: documents, one server with devices, a LAN, a runtime; all can fail."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rop_operator.api.facts import (
    BackupFacts,
    CertificateFacts,
    DeviceFacts,
    Document,
    FleetEvent,
    Found,
    Ref,
    RotationFacts,
    ServerFacts,
    Session,
    SettingFact,
    WriteResult,
)
from rop_operator.domain.plan import RotateStep
from rop_operator.domain.rotation import PATHS
from rop_operator.ports import Drift, Endpoint, NothingSent, PortError, RuntimeState
from rop_operator.reconcile.engine import Engine

HOME = Ref("RopServer", "video", "home")
PATIENCE = 10.0


class MemoryStore:
    """Documents in a dict; everything written is remembered in order."""

    def __init__(self) -> None:
        self.documents: dict[Ref, Document] = {}
        self.statuses: list[tuple[Ref, Mapping[str, Any]]] = []
        self.events: list[tuple[Ref, str, str, str]] = []
        self._changed: OrderedDict[Ref, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._created = datetime(2026, 1, 1, tzinfo=UTC)
        self.fail_put: Callable[[Ref, Mapping[str, Any]], None] = lambda ref, status: None

    def apply(self, ref: Ref, spec: dict[str, Any], **members: Any) -> None:
        known = self.documents.get(ref)
        if known is None:
            self._created += timedelta(seconds=1)
            known = Document(ref, f"uid-{len(self.documents)}", 0, {}, {}, created=self._created)
        changed = known.spec != spec
        generation = known.generation + 1 if changed else known.generation
        self.documents[ref] = replace(known, spec=spec, generation=generation, **members)
        self.changed(ref)

    def delete(self, ref: Ref) -> None:
        known = self.documents[ref]
        if known.finalizers:
            self.documents[ref] = replace(known, deleting=datetime.now(UTC))
        else:
            del self.documents[ref]
        self.changed(ref)

    def changed(self, ref: Ref) -> None:
        self._changed[ref] = None
        self._wake.set()

    def restart(self) -> None:
        """What a new engine sees first: every document."""
        self._wake = asyncio.Event()
        for ref in self.documents:
            self.changed(ref)

    async def changes(self) -> AsyncIterator[Ref]:
        while True:
            while self._changed:
                yield self._changed.popitem(last=False)[0]
            self._wake.clear()
            await self._wake.wait()

    async def get(self, ref: Ref) -> Document | None:
        return self.documents.get(ref)

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        return [d for d in self.documents.values() if d.ref.kind == kind]

    async def put_status(self, document: Document, status: Mapping[str, Any]) -> None:
        self.fail_put(document.ref, status)
        if document.ref in self.documents:
            self.documents[document.ref] = replace(self.documents[document.ref], status=dict(status))
            self.statuses.append((document.ref, dict(status)))

    async def set_finalizer(self, document: Document, name: str, present: bool) -> None:
        known = self.documents.get(document.ref)
        if known is None:
            return
        finalizers = (name,) if present else ()
        if known.deleting is not None and not finalizers:
            del self.documents[document.ref]
        else:
            self.documents[document.ref] = replace(known, finalizers=finalizers)
        self.changed(document.ref)

    async def record_event(self, ref: Ref, type_: str, reason: str, message: str) -> None:
        self.events.append((ref, type_, reason, message))


class Secrets:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def read(self, namespace: str, name: str, key: str) -> bytes:
        if f"{name}.{key}" not in self.values:
            raise PortError("SecretNotFound", f"no secret {name}")
        return self.values[f"{name}.{key}"]


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
    backup: BackupFacts | None = None
    policy: Mapping[str, Any] | None = None
    backup_error: PortError | None = None
    covers_new_keys: bool = True
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


class FakeLan:
    """Cameras by address; `result` decides what a hand-over does: None, a symbol, or an error."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.found: list[Found] = []
        self.handed: list[tuple[str, int, str]] = []
        self.discoveries = 0
        self.error: PortError | None = None
        self.symbol: str | None = None
        self.joins = True
        self.before: Callable[[str], None] = lambda uid: None
        self.held: asyncio.Event | None = None

    async def discover(self, seconds: float) -> Sequence[Found]:
        self.discoveries += 1
        await asyncio.sleep(0)
        return list(self.found)

    async def hand_over(self, address: str, port: int, session: Session) -> str | None:
        self.before(session.uid)
        if self.held is not None:
            await self.held.wait()
        if isinstance(self.error, NothingSent):
            raise self.error
        self.handed.append((address, port, session.uid))
        if self.error is not None:
            raise self.error
        if self.symbol is None and self.joins:
            self.core.enrolled(session.uid)
        return self.symbol


class FakeRuntime:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.calls: list[tuple[Any, ...]] = []
        self.state = "Running"
        self.message: str | None = None
        self.differs = Drift()

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        self.calls.append(("ensure", ref, dict(members), dict(environment)))
        if self.state == "Running":
            self.core.reachable = True
            self.core.config = {**members, **self.core.config}
        return RuntimeState(self.state, self.message, Endpoint("unix:///run/home.sock", "Management"))

    async def drift(self, ref: Ref) -> Drift:
        return self.differs

    async def restart(self, ref: Ref) -> RuntimeState:
        self.calls.append(("restart", ref))
        return RuntimeState("Starting", None, Endpoint("unix:///run/home.sock", "Management"))

    async def stop(self, ref: Ref) -> None:
        self.calls.append(("stop", ref))
        self.core.reachable = False


class MovableClock:
    """The machine's time, moved ahead at will."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead.total_seconds()


class World:
    """Engine and surroundings; `start` and `kill` at will."""

    home = HOME

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.secrets = Secrets()
        self.core = Core()
        self.lan = FakeLan(self.core)
        self.runtime: FakeRuntime | None = FakeRuntime(self.core)
        self.clock = MovableClock()
        self.connected: list[Endpoint] = []
        self.engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def connect(self, endpoint: Endpoint) -> FakeServer:
        self.connected.append(endpoint)
        return FakeServer(self.core)

    def start(self) -> None:
        self.store.restart()
        self._stop = asyncio.Event()
        self.engine = Engine(self.store, self.secrets, self, self.runtime, self.lan, self.clock, "engine-1")
        self._task = asyncio.create_task(self.engine.run(self._stop))

    async def kill(self) -> None:
        """As SIGKILL does: nothing is finished."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._stop.set()
            await asyncio.wait_for(self._task, PATIENCE)

    def look(self, ref: Ref) -> None:
        assert self.engine is not None
        self.engine.look_at(ref)

    # Documents

    def server(self, **spec: Any) -> None:
        self.store.apply(HOME, {"host": "192.0.2.1", **spec})

    def camera(self, name: str = "door", uid: str = "95270001ABCDEFGH", **spec: Any) -> Ref:
        ref = Ref("Camera", "video", name)
        self.store.apply(ref, {"serverRef": {"name": "home"}, "uid": uid, **spec})
        return ref

    # Waiting

    async def until(self, what: Callable[[], Any], why: str = "") -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not what():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            statuses = {str(ref): d.status for ref, d in self.store.documents.items()}
            raise AssertionError(f"never happened: {why}\n{statuses}\n{self.core.calls}") from None

    def condition(self, ref: Ref, type_: str) -> Mapping[str, Any]:
        document = self.store.documents.get(ref)
        conditions = document.status.get("conditions", ()) if document else ()
        return next((c for c in conditions if c["type"] == type_), {})

    async def reaches(self, ref: Ref, type_: str, status: str = "True", reason: str | None = None) -> None:
        def there() -> bool:
            found = self.condition(ref, type_)
            return found.get("status") == status and reason in (None, found.get("reason"))

        await self.until(there, f"{ref} {type_}={status} {reason or ''}")

    async def quiet(self) -> None:
        """Everything that is due now has been done: nothing is written or called for a while."""

        def sign() -> tuple[int, int, int]:
            return len(self.store.statuses), len(self.core.calls), self.core.lists

        async with asyncio.timeout(PATIENCE):
            while True:
                before = sign()
                await asyncio.sleep(0.6)
                if sign() == before:
                    return


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.stop()
