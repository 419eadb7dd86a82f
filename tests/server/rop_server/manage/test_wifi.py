"""WiFi of devices: scan, test, join, and what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from rop_wire import messages
from rop_wire.commands import Command

UID = "95270000000TEST1"
WIFI = f"/devices/{UID}/wifi"
YARD = {"ssid": "Yard", "key": "yard-key-1", "countryCode": "DE"}


async def test_a_scan_tells_what_is_around(manage: Any, devices: Any) -> None:
    device = devices.connect(UID)
    device.around = (messages.WifiNetwork("Yard", -60, True), messages.WifiNetwork("Guest", None, False))
    answer = await manage("POST", f"{WIFI}/scan")
    assert answer.body == {
        "woke": False,
        "networks": [
            {"ssid": "Yard", "signal": -60, "encrypted": True},
            {"ssid": "Guest", "signal": None, "encrypted": False},
        ],
    }
    device.instead[Command.GET_WIFI] = "cmd_timeout"
    assert (await manage("POST", f"{WIFI}/scan")).symbol == "cmd_timeout"


async def test_joining_is_a_fact_without_the_key(manage: Any, devices: Any, book: Any, log_lines: Any) -> None:
    device = devices.connect(UID)
    answer = await manage("PUT", WIFI, YARD)
    connected = (await manage("GET", f"/devices/{UID}")).body["connectedAt"]
    assert (answer.status, answer.body) == (200, {"woke": False, "connectedAt": connected})
    assert device.wifi == messages.WifiSet("Yard", "yard-key-1", "DE")
    settings = (await manage("GET", f"/devices/{UID}")).body["settings"]
    assert {name: (known["value"], known["how"]) for name, known in settings.items()} == {
        "wifi.ssid": ("Yard", "Written"),
        "wifi.countryCode": ("DE", "Written"),
    }
    read = await manage("POST", f"/devices/{UID}/settings", {"read": ["wifi"]})
    assert read.body["values"] == {"wifi.ssid": "Yard", "wifi.countryCode": "DE"}
    assert "yard-key-1" not in log_lines() + str((await manage("GET", "/events", since=1)).body)


async def test_only_a_wired_device_tries(manage: Any, devices: Any) -> None:
    devices.connect(UID)
    refused = await manage("POST", f"{WIFI}/test", YARD)
    assert (refused.status, refused.symbol) == (400, "cmd_not_support")
    device = devices.connect(UID, wired=True)
    assert (await manage("POST", f"{WIFI}/test", YARD)).body == {"usable": True}
    device.instead[Command.TEST_WIFI] = "cmd_exec_error"
    assert (await manage("POST", f"{WIFI}/test", YARD)).body == {"usable": False}
    device.instead[Command.TEST_WIFI] = "cmd_timeout"
    assert (await manage("POST", f"{WIFI}/test", YARD)).symbol == "cmd_timeout"
    assert device.wifi.ssid == "Hall"


@pytest.mark.parametrize(
    ("method", "path", "body"), [("POST", "/scan", None), ("POST", "/test", YARD), ("PUT", "", YARD)]
)
async def test_what_every_call_refuses(manage: Any, devices: Any, method: str, path: str, body: Any) -> None:
    assert (await manage(method, WIFI + path, body)).symbol == "device_offline"
    device = devices.connect(UID, battery=True)
    asleep = await manage(method, WIFI + path, body)
    assert (asleep.status, asleep.symbol, device.asked) == (409, "device_asleep", [])
    device.radio = False
    assert (await manage(method, WIFI + path, body, wake="allow")).symbol == "cmd_not_support"
    assert (await manage("GET", f"/devices/{UID}")).body["wakes"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ssid": ""}, "ssid"),
        ({"ssid": "x" * 128}, "ssid"),
        ({"key": "a\nb-secret"}, "key"),
        ({"key": None}, "key"),
        ({"countryCode": "de"}, "countryCode"),
        ({"channel": 6}, "channel"),
    ],
)
async def test_bad_networks_are_refused_without_their_key(
    manage: Any, devices: Any, change: dict[str, Any], field: str
) -> None:
    devices.connect(UID, wired=True)
    for method, path in (("POST", "/test"), ("PUT", "")):
        answer = await manage(method, WIFI + path, {**YARD, **change})
        assert (answer.status, answer.body["error"]["field"]) == (422, field)
        assert "secret" not in str(answer.body)


async def test_the_network_in_use_is_a_fact(manage: Any, devices: Any, book: Any) -> None:
    devices.connect(UID)
    assert (await manage("GET", f"/devices/{UID}")).body["wired"] is None
    book.networked(UID, True, 1.0)
    book.networked(UID, True, 2.0)
    assert (await manage("GET", f"/devices/{UID}")).body["wired"] is True
    told = (await manage("GET", "/events", since=1)).body
    assert told["reset"] is True or [event["type"] for event in told["items"]].count("device.changed") == 1
