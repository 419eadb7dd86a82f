"""Any order of calls on any number of connections of 61009, against a model of the devices.

Requests come whole, in pieces, several at once, half, or as no HTTP at all. What has to hold: each gets exactly
one answer, in its order, with the status and the document of the model; no connection notices another.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rop_server.client.app import build_client_app
from rop_server.client.listener import ClientListener
from rop_wire.symbols import SYMBOLS, error_document

UIDS = ["95270000000TEST1", "95270000000TEST2"]
NAMES = ["Front door", "a", "A-1", "", " a", "a ", "a" * 32, "ä", 5, None]
RIGHT_NAMES = NAMES[:3]
PIR = [
    {"enabled": True, "sensitivity": 0, "reduceMistakes": False},
    {"enabled": False, "sensitivity": 100, "reduceMistakes": True},
    {"enabled": True, "sensitivity": 101, "reduceMistakes": False},
    {"enabled": 1, "sensitivity": 5, "reduceMistakes": False},
    {"enabled": True, "sensitivity": 5},
]
UNKNOWN = [
    "/",
    "/v1.0/Devices",
    "/v1.0//devices",
    "/v1.0/devices//settings/alarm",
    "/v1.0/devices/%2e/x",
    "/signal",
]
OK = {"message": "ok"}
LIMIT = 20.0
Result = TypeVar("Result")


@dataclass
class Known:
    """What the model knows of a device."""

    battery: bool
    name: str = "Cam"
    pir: dict[str, Any] = field(
        default_factory=lambda: {"sensitivity": 60, "enabled": True, "reduceMistakes": False}
    )
    alarm: bool = False


@dataclass(frozen=True)
class Call:
    """A request; `path` after `/v1.0/devices/UID`."""

    kind: str
    uid: str = UIDS[0]
    value: Any = None

    def encode(self) -> bytes:
        device = f"/v1.0/devices/{self.uid}"
        method, path = {
            "list": ("GET", "/v1.0/devices"),
            "get name": ("GET", f"{device}/settings/general-config"),
            "put name": ("PUT", f"{device}/settings/general-config/"),
            "get pir": ("GET", f"{device}/settings/pir-config?x=1"),
            "put pir": ("PUT", f"{device}/settings/pir-config"),
            "get alarm": ("GET", f"{device}/settings/alarm"),
            "put alarm": ("PUT", f"{device}/settings/alarm"),
            "battery": ("GET", f"{device}/states/battery"),
            "unknown": ("GET", str(self.value)),
            "method": ("PURGE", "/v1.0/devices"),
        }[self.kind]
        body = b""
        if self.kind.startswith("put"):
            member = {"put name": "deviceName", "put alarm": "enabled"}.get(self.kind)
            told = self.value if member is None or isinstance(self.value, bytes) else {member: self.value}
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


uids = st.sampled_from([*UIDS, "short"])
calls = st.one_of(
    st.just(Call("list")),
    st.builds(Call, st.sampled_from(["get name", "get pir", "get alarm", "battery"]), uids),
    st.builds(Call, st.just("put name"), uids, st.sampled_from(NAMES)),
    st.builds(Call, st.just("put pir"), uids, st.sampled_from(PIR)),
    st.builds(Call, st.just("put alarm"), uids, st.sampled_from([True, False, "true", 1, None])),
    st.builds(
        Call,
        st.sampled_from(["put name", "put pir", "put alarm"]),
        uids,
        st.sampled_from([b"", b"{", b"[]", b"\xff"]),
    ),
    st.builds(Call, st.just("unknown"), st.just(""), st.sampled_from(UNKNOWN)),
    st.just(Call("method")),
)


class ClientPort(RuleBasedStateMachine):
    """Clients come, ask, and go."""

    connections = Bundle("connections")

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: ClientListener, devices: Any) -> None:
        super().__init__()
        self.loop = loop
        self.listener = listener
        self.devices = devices
        self.known: dict[str, Known] = {}
        self.open: dict[asyncio.StreamReader, asyncio.StreamWriter] = {}

    def run_now(self, work: Awaitable[Result]) -> Result:
        return self.loop.run_until_complete(asyncio.wait_for(work, LIMIT))

    # -- devices ------------------------------------------------------------------------------------

    @rule(uid=st.sampled_from(UIDS), battery=st.booleans())
    def plug(self, uid: str, battery: bool) -> None:
        if uid not in self.known:
            self.devices.connect(uid, battery=battery)
            self.known[uid] = Known(battery)

    @rule(uid=st.sampled_from(UIDS))
    def unplug(self, uid: str) -> None:
        if self.known.pop(uid, None) is not None:
            self.devices.drop(uid)

    # -- clients ------------------------------------------------------------------------------------

    @rule(target=connections)
    def connect(self) -> asyncio.StreamReader:
        reader, writer = self.run_now(asyncio.open_connection("127.0.0.1", self.listener.port))
        self.open[reader] = writer
        return reader

    @rule(connection=connections, asked=st.lists(calls, min_size=1, max_size=4), cut=st.integers(0, 300))
    def ask(self, connection: asyncio.StreamReader, asked: list[Call], cut: int) -> None:
        """Some requests in one go, cut somewhere."""
        if connection not in self.open:
            connection = self.connect()
        self.run_now(self._ask(connection, asked, cut))

    async def _ask(self, reader: asyncio.StreamReader, asked: list[Call], cut: int) -> None:
        data, writer = b"".join(each.encode() for each in asked), self.open[reader]
        writer.write(data[:cut])
        await asyncio.sleep(0)
        writer.write(data[cut:])
        for each in asked:
            assert await _answer(reader) == self._expected(each), each

    @rule(connection=connections, data=st.sampled_from([b"\x16\x03\x01\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]))
    def garbage(self, connection: asyncio.StreamReader, data: bytes) -> None:
        """No HTTP: one refusal at most, then it is closed."""
        writer = self.open.pop(connection, None)
        if writer is not None:
            writer.write(data)
            told = self.run_now(_to_the_end(connection))
            assert told == b"" or told.split(b" ")[1] == b"400"
            writer.close()

    @rule(connection=connections, call=calls, part=st.floats(0, 0.99))
    def leave(self, connection: asyncio.StreamReader, call: Call, part: float) -> None:
        """A client that goes in the middle of a request: nothing of it is done."""
        writer = self.open.pop(connection, None)
        if writer is not None:
            data = call.encode()
            writer.write(data[: int(len(data) * part)])
            writer.transport.abort()

    def _expected(self, call: Call) -> tuple[int, Any]:
        device = self.known.get(call.uid)
        match call.kind:
            case "unknown" | "method":
                return 404, {"message": "resource not found."}
            case "list":
                return 200, {
                    "totalRows": len(self.known),
                    "items": [_listed(*each) for each in self.known.items()],
                }
        if call.uid == "short" and call.kind != "put alarm":
            return _refused("invalid_parameter")
        if not _right(call):
            return _refused("invalid_parameter")
        if device is None:
            return _refused("device_offline")
        match call.kind:
            case "get name":
                return 200, {"deviceName": device.name}
            case "put name":
                device.name = call.value
            case "get pir":
                return 200, device.pir
            case "put pir":
                device.pir = dict(call.value)
            case "get alarm":
                return 200, {"enabled": device.alarm}
            case "put alarm":
                device.alarm = call.value
            case "battery" if device.battery:
                return 200, {"percent": 80, "chargeStatus": "none"}
            case "battery":
                return _refused("cmd_not_support")
        return 200, OK

    # -- what holds always --------------------------------------------------------------------------

    @invariant()
    def nobody_is_forgotten(self) -> None:
        self.run_now(self._settled())

    async def _settled(self) -> None:
        while self.listener.connections != len(self.open):
            await asyncio.sleep(0)

    def teardown(self) -> None:
        for writer in self.open.values():
            writer.transport.abort()
        self.open.clear()
        for uid in list(self.known):
            self.unplug(uid)
        self.nobody_is_forgotten()


def _listed(uid: str, known: Known) -> dict[str, str]:
    return {"family": "battery" if known.battery else "powered", "uid": uid, "model": "E1", "firmware": "v3.1"}


def _right(call: Call) -> bool:
    """Whether the body is a right one."""
    match call.kind:
        case "put name":
            return any(call.value is name or call.value == name for name in RIGHT_NAMES)
        case "put pir":
            return isinstance(call.value, dict) and call.value in PIR[:2]
        case "put alarm":
            return isinstance(call.value, bool)
    return True


def _refused(symbol: str) -> tuple[int, Any]:
    return SYMBOLS[symbol].status, error_document(symbol)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_any_order(devices: Any, config: Any, clock: Any) -> None:
    loop = uvloop.new_event_loop()
    listener = ClientListener(build_client_app(devices, lambda: config, lambda: "hash", clock))
    loop.run_until_complete(listener.start(socket.create_server(("127.0.0.1", 0))))
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: ClientPort(loop, listener, devices),
            settings=settings(
                max_examples=100,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(listener.stop(1))
        loop.close()
