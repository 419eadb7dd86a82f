"""The documents of 61009 as the client API gives them. Source: ROP v1.0 wire specification, client-api 1 and 2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rop_server.core.facade import Battery
from rop_wire.commands import Command
from rop_wire.messages import PirConfig
from rop_wire.symbols import SYMBOLS

UID = "95270000000TEST1"
DEVICE = f"/v1.0/devices/{UID}"
OK = b'{"message":"ok"}'


async def test_initialization_session(client: Any, clock: Any) -> None:
    clock.now += 0.25
    answer = await client("POST", "/v1.0/devices/initialization-session", {"uid": UID, "other": 1})
    assert answer.status_line == "HTTP/1.1 200 OK"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.body == (
        b'{"uid":"95270000000TEST1","caHash":"q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=","code":"Abcd1234",'
        b'"host":"rop.example.net","getCAPort":61000,"getCertPort":61001,"registerPort":61002,"time":1700000001}'
    )


async def test_initialization_session_of_a_denied_uid(client: Any, book: Any) -> None:
    book.set_access(UID, "Denied")
    answer = await client("POST", "/v1.0/devices/initialization-session", {"uid": UID})
    assert (answer.status, answer.symbol) == (403, "auth_failed")


async def test_devices_in_order_of_arrival(client: Any, devices: Any) -> None:
    assert (await client("GET", "/v1.0/devices")).body == b'{"totalRows":0,"items":[]}'
    devices.connect("95270000000TEST2", model="Reolink Gr\u00fcn")
    devices.connect(UID, battery=True, firmware=None)
    answer = await client("GET", "/v1.0/devices")
    assert answer.body.decode() == (
        '{"totalRows":2,"items":['
        '{"family":"powered","uid":"95270000000TEST2","model":"Reolink Grün","firmware":"v3.1"},'
        '{"family":"battery","uid":"95270000000TEST1","model":"E1"}]}'
    )
    devices.drop(UID)
    assert (await client("GET", "/v1.0/devices/?x=1")).json()["totalRows"] == 1


async def test_general_config(client: Any, devices: Any, no_name_document: bytes) -> None:
    device = devices.connect(UID)
    path = f"{DEVICE}/settings/general-config"
    assert (await client("GET", path)).body == b'{"deviceName":"Cam"}'
    assert (await client("PUT", path, {"deviceName": "Front-door 2"})).body == OK
    assert device.name == "Front-door 2"
    device.instead[Command.GET_GENERAL] = no_name_document
    assert (await client("GET", path)).body == b"{}"


@pytest.mark.parametrize("name", ["", " a", "a ", "a" * 32, "a_b", "ä", "a\n", 5, None])
async def test_refused_device_names(client: Any, devices: Any, name: object) -> None:
    device = devices.connect(UID)
    answer = await client("PUT", f"{DEVICE}/settings/general-config", {"deviceName": name})
    assert (answer.status, answer.symbol, device.asked) == (400, "invalid_parameter", [])


async def test_pir_config(client: Any, devices: Any) -> None:
    device = devices.connect(UID)
    path = f"{DEVICE}/settings/pir-config"
    assert (await client("GET", path)).body == b'{"sensitivity":60,"enabled":true,"reduceMistakes":false}'
    wanted = {"enabled": False, "sensitivity": 100, "reduceMistakes": True}
    assert (await client("PUT", path, wanted)).body == OK
    assert device.pir == PirConfig(False, 100, True)
    assert (await client("PUT", path, wanted | {"sensitivity": 7.0})).body == OK
    assert device.pir.sensitivity_percent == 7


@pytest.mark.parametrize(
    "change",
    [
        *({"sensitivity": value} for value in (101, 500, -1, 1.5, "1", None, True, 10**400)),
        *({"enabled": value} for value in (1, "true", None)),
        {"reduceMistakes": 0},
    ],
)
async def test_refused_pir_values(client: Any, devices: Any, change: dict[str, object]) -> None:
    device = devices.connect(UID)
    wanted = {"enabled": True, "sensitivity": 50, "reduceMistakes": True} | change
    answer = await client("PUT", f"{DEVICE}/settings/pir-config", wanted)
    assert (answer.status, answer.symbol, device.asked) == (400, "invalid_parameter", [])


async def test_alarm_switch(client: Any, devices: Any) -> None:
    device = devices.connect(UID)
    path = f"{DEVICE}/settings/alarm"
    assert (await client("GET", path)).body == b'{"enabled":false}'
    assert (await client("PUT", path, {"enabled": True})).body == OK
    assert device.alarm is True
    answer = await client("PUT", path, {"enabled": "true"})
    assert (answer.status, answer.symbol) == (400, "invalid_parameter")


async def test_a_malformed_uid_is_offline_only_for_the_alarm_switch(client: Any) -> None:
    answer = await client("PUT", "/v1.0/devices/short/settings/alarm", {"enabled": True})
    assert (answer.status, answer.symbol) == (404, "device_offline")
    answer = await client("PUT", "/v1.0/devices/short/settings/alarm", {"enabled": 1})
    assert answer.symbol == "invalid_parameter"
    answer = await client("GET", "/v1.0/devices/short/settings/alarm")
    assert answer.symbol == "invalid_parameter"


async def test_battery(client: Any, devices: Any, clock: Any) -> None:
    path = f"{DEVICE}/states/battery"
    assert (await client("GET", path)).symbol == "device_offline"
    device = devices.connect(UID, battery=True)
    assert (await client("GET", path)).body == b'{"percent":80,"chargeStatus":"none"}'
    assert device.asked == []
    device.link = replace(device.link, battery=Battery(55, None, clock.now))
    assert (await client("GET", path)).body == b'{"percent":55}'
    device.link = replace(device.link, battery=None)
    assert (await client("GET", path)).symbol == "cmd_not_support"
    devices.connect(UID)
    answer = await client("GET", path)
    assert (answer.status, answer.symbol) == (400, "cmd_not_support")


@pytest.mark.parametrize(
    "symbol",
    ["device_offline", "cmd_timeout", "wake_up_timeout", "device_connection_not_found", "cmd_exec_error"],
)
async def test_device_errors_are_exact(client: Any, devices: Any, symbol: str) -> None:
    devices.connect(UID).instead[Command.GET_PIR] = symbol
    answer = await client("GET", f"{DEVICE}/settings/pir-config")
    known = SYMBOLS[symbol]
    assert answer.status == known.status
    assert answer.body.decode() == f'{{"error":{{"symbol":"{symbol}","message":"{known.message}"}}}}'


@pytest.mark.parametrize(
    ("payload", "symbol"),
    [(b"", "cmd_exec_error"), (b"<body", "server_internal_error"), (b"<body/>", "server_internal_error")],
)
async def test_bad_answers_of_a_device(client: Any, devices: Any, payload: bytes, symbol: str) -> None:
    device = devices.connect(UID)
    device.instead = dict.fromkeys((Command.GET_GENERAL, Command.GET_PIR, Command.GET_ALARM_SWITCH), payload)
    for name in ("general-config", "pir-config", "alarm"):
        answer = await client("GET", f"{DEVICE}/settings/{name}")
        assert answer.symbol == symbol
        assert set(answer.json()["error"]) == {"symbol", "message"}


async def test_an_unforeseen_failure_tells_nothing(client: Any, devices: Any, log_lines: Any) -> None:
    devices.connect(UID).answer = lambda _request: 1 / 0
    answer = await client("GET", f"{DEVICE}/settings/alarm")
    assert answer.status == 500
    assert answer.json() == {
        "error": {"symbol": "server_internal_error", "message": "something unkown happend in the system."}
    }
    assert "ZeroDivisionError" in log_lines()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"uid":1}', b"{}", b"x" * 70_000],
)
async def test_bad_bodies(client: Any, body: bytes) -> None:
    answer = await client("POST", "/v1.0/devices/initialization-session", body)
    assert (answer.status, answer.symbol) == (400, "invalid_parameter")


async def test_the_content_type_is_ignored(client: Any) -> None:
    body = b'{"uid":"%s"}' % UID.encode()
    head = (
        b"POST /v1.0/devices/initialization-session HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: text/html; charset=latin-1\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert (await client.raw(head + body)).status == 200


async def test_paths_are_checked_before_bodies_and_devices(client: Any) -> None:
    answer = await client("PUT", "/v1.0/devices/lowercase0000000/settings/pir-config", b"{")
    assert answer.symbol == "invalid_parameter"
    answer = await client("PUT", f"{DEVICE}/settings/pir-config", b"{")
    assert answer.symbol == "invalid_parameter"
    answer = await client("GET", f"{DEVICE}/settings/pir-config")
    assert answer.symbol == "device_offline"
