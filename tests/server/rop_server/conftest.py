"""A book, devices in memory that speak the real codecs, and a control, for the interfaces of the server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rop_data.config import Config, ConfigError, generate
from rop_server import logs
from rop_server.core.facade import Battery, CallError, DeviceLink, IssuedCode, Request
from rop_server.core.learned import learned_from
from rop_server.manage.control import ApplyResult
from rop_server.state.book import FactsBook
from rop_wire import messages, xml
from rop_wire.commands import Command

NOW = 1_700_000_000.0
ROOT = "ab" * 32
CA_HASH = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="


@dataclass
class ManualClock:
    """Epoch seconds that move when told."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class MemoryDevice:
    """One device: its link and its settings."""

    link: DeviceLink
    name: str | None = "Cam"
    pir: messages.PirConfig = field(default_factory=lambda: messages.PirConfig(True, 60, False))
    alarm: bool = False
    # What the device answers to a command instead: bytes, or the symbol of a failure.
    instead: dict[int, bytes | str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    wifi: messages.WifiSet = field(default_factory=lambda: messages.WifiSet("Hall", "hall-key", "DE"))
    around: tuple[messages.WifiNetwork, ...] = (messages.WifiNetwork("Yard", -60, True),)
    radio: bool = True

    def answer(self, request: Any) -> bytes:
        command = request.command
        self.asked.append(int(command))
        other = self.instead.get(command)
        if isinstance(other, str):
            raise CallError(other)
        if other is not None:
            return other
        match command:
            case Command.GET_GENERAL:
                return messages.GeneralConfig(self.name).encode()
            case Command.SET_GENERAL:
                self.name = messages.GeneralConfig.decode(request.encode()).device_name
            case Command.GET_PIR:
                return self.pir.encode()
            case Command.SET_PIR:
                self.pir = messages.PirConfig.decode(request.encode())
            case Command.GET_ALARM_SWITCH:
                return messages.AlarmSwitch(self.alarm).encode()
            case Command.SET_ALARM_SWITCH:
                self.alarm = messages.AlarmSwitch.decode(request.encode()).enabled
            case Command.GET_WIFI:
                return self._wifi(request)
            case Command.SET_WIFI:
                self.wifi = request
        return b""

    def _wifi(self, request: Any) -> bytes:
        if isinstance(request, messages.WifiScan):
            return messages.WifiNetworks(self.around).encode()
        return messages.WifiConfig(self.wifi.ssid, 6, self.wifi.country_code).encode()


class MemoryDevices:
    """`Devices` in memory, reporting to a book like the core does."""

    def __init__(self, book: FactsBook, clock: Callable[[], float]) -> None:
        self.book = book
        self.clock = clock
        self.devices: dict[str, MemoryDevice] = {}
        self.revision = 0
        self.disconnected: list[tuple[str, str]] = []

    def connect(self, uid: str, *, battery: bool = False, **facts: Any) -> MemoryDevice:
        link = DeviceLink(
            uid=uid,
            family=facts.pop("family", "battery" if battery else "powered"),
            model=facts.pop("model", "E1"),
            firmware=facts.pop("firmware", "v3.1"),
            hardware=None,
            signaling=not battery,
            keep_alive=battery,
            since=self.clock(),
            battery=Battery(80, "none", self.clock()) if battery else None,
            **facts,
        )
        device = self.devices[uid] = MemoryDevice(link)
        self.revision += 1
        self.book.connected(link, "KeepAlive" if battery else "Signaling", self.clock())
        return device

    def drop(self, uid: str, reason: str = "closed") -> None:
        self.devices.pop(uid)
        self.revision += 1
        self.book.disconnected(uid, None, "Signaling", reason, self.clock())

    def online(self) -> Sequence[DeviceLink]:
        return [device.link for device in self.devices.values()]

    def link(self, uid: str) -> DeviceLink | None:
        device = self.devices.get(uid)
        return None if device is None else device.link

    async def call(self, uid: str, request: Request, *, wake: bool = True, timeout: float | None = None) -> bytes:
        device = self.devices.get(uid)
        if device is None:
            raise CallError("device_offline")
        if device.link.asleep:
            if not wake:
                raise CallError("device_asleep")
            self.book.woken(uid, self.clock())
            device.link = replace(device.link, signaling=True)
            self.book.connected(device.link, "Signaling", self.clock())
        await asyncio.sleep(0)
        payload = device.answer(request)
        told = learned_from(request, payload)
        if told is not None and told[0]:
            self.book.learned(uid, told[0], told[1], self.clock())
        return payload

    async def support(self, uid: str, *, wake: bool = True) -> messages.Support:
        await self.call(uid, messages.SupportGet(), wake=wake)
        return messages.Support((messages.Channel(0, 7, wifi_mode=int(self.devices[uid].radio)),))

    async def disconnect(self, uid: str, reason: str) -> None:
        self.disconnected.append((uid, reason))
        if uid in self.devices:
            self.drop(uid, reason)

    def issue_code(self, uid: str) -> IssuedCode:
        if self.book.may_enrol(uid) is not None:
            raise CallError("auth_failed")
        self.book.code(uid, "Issued", None, self.clock())
        return IssuedCode(uid, "Abcd1234", self.clock() + 60)


class MemoryControl:
    """`Control` with a configuration in memory."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.file_changed = False
        self.pending_restart: list[str] = []
        self.ports = {"signalingTLS": True, "clientHttp": True}

    def config(self) -> Config:
        return self._config

    def own_members(self) -> Mapping[str, Any]:
        return {"rop.clientBind": "127.0.0.1", "rop.management.listen": None}

    async def apply(self, patch: Mapping[str, Any]) -> ApplyResult:
        if patch.get("heartBeatInterval") == 0:
            raise ConfigError("heartBeatInterval", "a whole number from 1 to 65535", "0")
        raw = json.loads(json.dumps(self._config.raw))
        for name, value in patch.items():
            *parents, last = name.split(".")
            node = raw
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        self._config = Config(raw)
        return ApplyResult(applied=tuple(patch))

    async def reload(self) -> ApplyResult:
        self.file_changed = False
        return ApplyResult(restart=("serverHost",))

    def identity(self) -> dict[str, Any]:
        return {
            "instanceID": "instance-1",
            "host": "rop.example.net",
            "version": "0.1.0",
            "rootSHA256": ROOT,
            "caHash": CA_HASH,
            "adopted": False,
            "ports": {"signalingTLS": 61005},
            "serverCertificate": {"notAfter": NOW + 86400, "serial": "01"},
        }

    def ready(self) -> Mapping[str, bool]:
        return self.ports


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def book(tmp_path: Path, clock: ManualClock) -> Iterator[FactsBook]:
    opened = FactsBook(tmp_path / "state.db", clock)
    opened.root_sha256 = ROOT
    yield opened
    opened.close()


@pytest.fixture
def devices(book: FactsBook, clock: ManualClock) -> MemoryDevices:
    return MemoryDevices(book, clock)


@pytest.fixture
def config() -> Config:
    return Config(
        generate(
            {
                "ROP_HOSTNAME": "rop.example.net",
                "RTSP_PLAY_URL_PREFIX": "rtsp://rop.example.net:61008",
                "ROP_ALARM_WEBHOOK": "https://hooks.example.net/s3cr3t-path",
            }
        )
    )


@pytest.fixture
def control(config: Config) -> MemoryControl:
    return MemoryControl(config)


@pytest.fixture
def no_name_document() -> bytes:
    """A general configuration without a device name."""
    return xml.build({"Param007": {"attr001": "x"}})


@pytest.fixture
async def log_lines() -> AsyncIterator[Callable[[], str]]:
    """Everything logged during the test."""
    stream = io.StringIO()
    logs.configure(stream, logs.LEVELS)
    yield stream.getvalue
    logs.configure()
