"""A running set of device ports on loopback, with real certificates, and cameras for it."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from rop_pki.authority import Authority, create_intermediate, create_root
from rop_server.core.codes import Enrolment, SignedCertificate
from rop_server.core.devices import DeviceService
from rop_server.core.facade import Battery, DeviceLink
from rop_server.core.hub import Clock, Hub
from rop_server.core.settings import Ports, Settings
from rop_server.net.gate import Gate
from rop_server.net.ports import DEVICE_PORTS, DevicePorts, open_device_sockets
from rop_server.net.tls import TlsContexts

UID = "95270000000TEST1"
KEY_INDEX = "KEYINDEX00000001"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"rop_server_net_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


camera = _load("camera")


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Facts:
    """Records what the core reports and decides who may come in."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    unclaimed: set[str] = field(default_factory=set)
    admitted: list[tuple[Any, ...]] = field(default_factory=list)

    def names(self) -> list[str]:
        """The kinds of facts, in order."""
        return [each[0] for each in self.told]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """The facts of one kind."""
        return [each[1:] for each in self.told if each[0] == name]

    def admit(
        self, uid: str, serial: str | None, issuer: str | None, not_after: float | None, now: float
    ) -> str | None:
        self.admitted.append((uid, serial, issuer, not_after))
        return "Denied" if uid in self.denied else None

    def use_approval(self, uid: str, now: float) -> bool:
        return False

    def may_enrol(self, uid: str) -> str | None:
        return "NotClaimed" if uid in self.unclaimed else "Denied" if uid in self.denied else None

    def connected(self, link: DeviceLink, transport: str, at: float) -> None:
        self.told.append(("connected", link, transport))

    def disconnected(self, uid: str, link: DeviceLink | None, transport: str, reason: str, at: float) -> None:
        self.told.append(("disconnected", uid, link, transport, reason))

    def heartbeat(self, uid: str, battery: Battery | None, at: float) -> None:
        self.told.append(("heartbeat", uid, battery))

    def woken(self, uid: str, at: float) -> None:
        self.told.append(("woken", uid))

    def networked(self, uid: str, wired: bool, at: float) -> None:
        self.told.append(("networked", uid, wired))

    def capable(self, uid: str, support: Any, at: float) -> None:
        self.told.append(("capable", uid, support))

    def learned(self, uid: str, settings: dict[str, object], how: str, at: float) -> None:
        self.told.append(("learned", uid, settings, how))

    def alarm(self, uid: str, event: dict[str, object], at: float) -> None:
        self.told.append(("alarm", uid, event))

    def certificate_issued(
        self,
        uid: str,
        serial: str,
        not_after: float,
        issuer: str,
        by: str,
        address: str | None,
        at: float,
    ) -> None:
        self.told.append(("certificate", uid, serial, issuer, by, address))

    def registered(self, uid: str, address: str | None, at: float) -> None:
        self.told.append(("registered", uid, address))

    def code(self, uid: str, what: str, address: str | None, at: float) -> None:
        self.told.append(("code", uid, what))

    def refused(self, uid: str, port: str, reason: str, at: float) -> None:
        self.told.append(("refused", uid, port, reason))


@dataclass
class ShiftedClock:
    """The real monotonic clock, moved forward by tests instead of waiting."""

    shift: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.shift


class Site:
    """Device ports of a server with its authority, listening on free ports of 127.0.0.1."""

    def __init__(self, authority: Authority, settings: Settings, gate: Gate | None = None) -> None:
        self.authority = authority
        self.facts = Facts()
        self.time = ShiftedClock()
        self.clock = Clock(self.time, time.time)
        sockets = open_device_sockets("127.0.0.1", dict.fromkeys(DEVICE_PORTS, 0))
        self.ports = {member: sock.getsockname()[1] for member, sock in sockets.items()}
        numbers = Ports(*(self.ports[member] for member in DEVICE_PORTS))
        self.settings = replace(settings, ports=numbers)
        self.hub = Hub(self.settings, self.facts, self.facts, self.clock)
        self.enrolment = Enrolment(self.settings, self.facts, self.facts, self.clock, self.sign)
        self.devices = DeviceService(self.hub, self.enrolment)
        server = authority.server_certificate(90, 30, datetime.now(UTC))
        self.root_pem = authority.root_pem.decode()
        self.tls = TlsContexts(server.chain_pem, server.key_pem, [authority.root_pem])
        self.net = DevicePorts(sockets, self.hub, self.enrolment, lambda _: self.tls, lambda: self.root_pem, gate)
        self.cameras: list[Any] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._tick()

    def _tick(self) -> None:
        self.net.tick()
        self._ticking = asyncio.get_running_loop().call_later(0.05, self._tick)

    def sign(self, uid: str, days: float) -> SignedCertificate:
        """As the application does it."""
        made = self.authority.device_certificate(uid, days, datetime.now(UTC))
        return SignedCertificate(
            made.serial,
            made.issuer_key_id,
            made.not_after.timestamp(),
            made.chain_pem.decode(),
            made.key_pem.decode(),
        )

    async def until(self, condition: Callable[[], Any], limit: float = 8.0) -> None:
        """Turn the loop until the condition holds; fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.005)

    def stop_ticker(self) -> None:
        """No timers but the test's."""
        if self._ticking is not None:
            self._ticking.cancel()

    async def close(self) -> None:
        """Stop everything."""
        for each in self.cameras:
            await each.close()
        self.stop_ticker()
        self.net.stop_listening()
        self.net.close()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """One hierarchy for all tests."""
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "127.0.0.1", now)
    return Authority(root, e1, e1_key, "127.0.0.1")


@pytest.fixture
def settings() -> Settings:
    """Short idle time; tests of time-outs move the clock."""
    return Settings(
        ports=Ports(0, 0, 0, 0, 0),
        sign_key="sign-key",
        device_keys={KEY_INDEX: "abcdefghijklmnopqrstuvwxyz012345", "OLDINDEX00000000": "0" * 32},
        current_key_index=KEY_INDEX,
    )


@pytest_asyncio.fixture
async def site(authority: Authority, settings: Settings) -> AsyncIterator[Site]:
    """Device ports on loopback."""
    made = Site(authority, settings)
    yield made
    await made.close()


NewCamera = Callable[..., Awaitable[Any]]


@pytest.fixture
def new_camera(site: Site, tmp_path: Path) -> NewCamera:
    """Makes an enrolled camera: `await new_camera(uid)`; `enrol=False` leaves it without identity."""

    async def make(uid: str = UID, *, enrol: bool = True) -> Any:
        folder = tmp_path / uid
        folder.mkdir(exist_ok=True)
        made = camera.Camera(uid, site.ports, folder, site.root_pem)
        site.cameras.append(made)
        if enrol:
            await made.enrol(site.devices.issue_code(uid).code)
        return made

    return make


@pytest.fixture
def wire() -> ModuleType:
    """The module of the test camera: raw requests and TLS contexts."""
    return camera
