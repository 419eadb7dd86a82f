"""Devices, events, settings, access and enrolment as the engine sees them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from rop_server.core.facade import CallError
from rop_wire.commands import Command
from rop_wire.messages import PirConfig

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"
SETTINGS = f"/devices/{UID}/settings"


async def test_list_and_one_device(manage: Any, devices: Any, book: Any) -> None:
    empty = await manage("GET", "/devices")
    assert empty.body == {"epoch": book.journal.epoch, "next": 1, "items": []}
    devices.connect(UID)
    devices.connect(OTHER, battery=True)
    listed = (await manage("GET", "/devices")).body
    assert listed["next"] == 3
    assert [(item["uid"], item["state"]) for item in listed["items"]] == [(UID, "Online"), (OTHER, "Asleep")]
    assert (await manage("GET", f"/devices/{UID}")).body == listed["items"][0]
    unknown = await manage("GET", "/devices/95270000000TEST3")
    assert (unknown.status, unknown.symbol) == (404, "device_unknown")
    malformed = await manage("GET", "/devices/nonsense")
    assert (malformed.status, malformed.body["error"]["field"]) == (422, "uid")


async def test_events_follow_the_list(manage: Any, devices: Any) -> None:
    listed = (await manage("GET", "/devices")).body
    position = {"since": listed["next"], "epoch": listed["epoch"]}
    devices.connect(UID)
    devices.drop(UID)
    told = (await manage("GET", "/events", **position)).body
    assert told["reset"] is False and told["next"] == 3
    assert [(item["seq"], item["type"], item["uid"]) for item in told["items"]] == [
        (1, "device.online", UID),
        (2, "device.offline", UID),
    ]
    assert [item["data"]["state"] for item in told["items"]] == ["Online", "Offline"]
    assert (await manage("GET", "/events", since=3, epoch=listed["epoch"])).body["items"] == []


@pytest.mark.parametrize("query", [{"since": 1, "epoch": "other"}, {"since": 0}, {"since": 99}, {"since": 1}])
async def test_an_unknown_position_asks_for_a_new_list(manage: Any, book: Any, query: dict[str, Any]) -> None:
    if query != {"since": 1}:
        query = {"epoch": book.journal.epoch, **query}
    answer = await manage("GET", "/events", **query)
    assert answer.body == {"epoch": book.journal.epoch, "next": 1, "reset": True, "items": []}


async def test_a_long_poll_ends_with_the_event(manage: Any, devices: Any, book: Any) -> None:
    poll = asyncio.create_task(manage("GET", "/events", since=1, epoch=book.journal.epoch, wait=30))
    deadline = time.monotonic() + 5
    while not book.journal._waiting and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    devices.connect(UID)
    answer = await asyncio.wait_for(poll, 5)
    assert [item["type"] for item in answer.body["items"]] == ["device.online"]


@pytest.mark.parametrize("query", [{}, {"since": "x"}, {"since": -1}, {"since": 1, "wait": 61}])
async def test_bad_positions(manage: Any, query: dict[str, Any]) -> None:
    answer = await manage("GET", "/events", **query)
    assert (answer.status, answer.symbol) == (422, "invalid_parameter")
    assert answer.body["error"]["field"] in {"since", "wait"}


async def test_write_and_read_in_one_go(manage: Any, devices: Any) -> None:
    device = devices.connect(UID)
    device.pir = PirConfig(True, 30, True)
    answer = await manage(
        "POST",
        SETTINGS,
        {"write": {"displayName": "Yard", "pir.sensitivity": 77}, "read": ["pir", "alarm.enabled"]},
    )
    assert answer.body == {
        "woke": False,
        "written": ["displayName", "pir.sensitivity"],
        "values": {
            "displayName": "Yard",
            "pir.sensitivity": 77,
            "pir.enabled": True,
            "pir.reduceMistakes": True,
            "alarm.enabled": False,
        },
        "errors": {},
    }
    assert device.pir == PirConfig(True, 77, True)
    seen = (await manage("GET", f"/devices/{UID}")).body["settings"]
    assert seen["displayName"]["how"] == "Written"
    assert seen["pir.sensitivity"]["value"] == 77


async def test_a_whole_pir_document_needs_no_read(manage: Any, devices: Any) -> None:
    device = devices.connect(UID)
    wanted = {"pir.enabled": False, "pir.sensitivity": 1, "pir.reduceMistakes": True}
    assert (await manage("POST", SETTINGS, {"write": wanted})).body["written"] == list(wanted)
    assert device.asked == [Command.SET_PIR]


async def test_parallel_pir_changes_are_not_lost(manage: Any, devices: Any) -> None:
    device = devices.connect(UID)
    device.pir = PirConfig(True, 50, False)
    changes = [{"pir.enabled": False}, {"pir.sensitivity": 9}, {"pir.reduceMistakes": True}]
    await asyncio.gather(*(manage("POST", SETTINGS, {"write": change}) for change in changes))
    assert device.pir == PirConfig(False, 9, True)


async def test_a_sleeping_device_is_woken_only_when_allowed(manage: Any, devices: Any) -> None:
    device = devices.connect(UID, battery=True)
    body = {"write": {"displayName": "Gate", "alarm.enabled": True}, "read": ["pir"]}
    for query in ({}, {"wake": "never"}):
        refused = await manage("POST", SETTINGS, body, **query)
        assert (refused.status, refused.symbol) == (409, "device_asleep")
    assert device.asked == []
    done = await manage("POST", SETTINGS, body, wake="allow")
    assert done.body["woke"] is True and done.body["errors"] == {}
    document = (await manage("GET", f"/devices/{UID}")).body
    assert document["wakes"] == 1
    assert (await manage("POST", SETTINGS, body, wake="allow")).body["woke"] is False


async def test_an_offline_device(manage: Any) -> None:
    answer = await manage("POST", SETTINGS, {"read": ["all"]})
    assert (answer.status, answer.symbol) == (404, "device_offline")


async def test_failures_are_told_per_field(manage: Any, devices: Any) -> None:
    device = devices.connect(UID)
    device.instead = {Command.SET_GENERAL: "cmd_exec_error", Command.GET_PIR: b"", Command.GET_ALARM_SWITCH: b"<x"}
    answer = await manage(
        "POST",
        SETTINGS,
        {
            "write": {"displayName": "A", "pir.enabled": True, "alarm.enabled": True},
            "read": ["displayName", "alarm"],
        },
    )
    assert answer.status == 200
    assert answer.body["written"] == ["alarm.enabled"]
    assert answer.body["errors"] == {
        "displayName": "cmd_exec_error",
        "pir.enabled": "cmd_exec_error",
        "alarm.enabled": "server_internal_error",
    }
    assert answer.body["values"] == {"alarm.enabled": True, "displayName": "Cam"}


async def test_a_lost_device_is_not_tried_again(manage: Any, devices: Any) -> None:
    device = devices.connect(UID, battery=True)
    device.instead[Command.SET_GENERAL] = "wake_up_timeout"
    body = {"write": {"displayName": "A", "alarm.enabled": True}, "read": ["pir"]}
    answer = await manage("POST", SETTINGS, body, wake="allow")
    assert device.asked == [Command.SET_GENERAL]
    assert set(answer.body["errors"].values()) == {"wake_up_timeout"}
    assert len(answer.body["errors"]) == 5


async def test_a_device_that_falls_asleep_meanwhile(manage: Any, devices: Any) -> None:
    devices.connect(UID)
    awake = devices.link(UID)

    async def asleep(*_arguments: object, **_options: object) -> bytes:
        raise CallError("device_asleep")

    devices.call = asleep
    devices.devices[UID].link = replace(awake, keep_alive=True)
    answer = await manage("POST", SETTINGS, {"read": ["pir"]})
    assert (answer.status, answer.symbol) == (409, "device_asleep")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"write": {"colour": 1}}, "write.colour"),
        ({"write": {"displayName": " x"}}, "write.displayName"),
        ({"write": {"pir.sensitivity": 101}}, "write.pir.sensitivity"),
        ({"write": {"pir.sensitivity": True}}, "write.pir.sensitivity"),
        ({"write": {"alarm.enabled": "on"}}, "write.alarm.enabled"),
        ({"write": []}, "write"),
        ({"read": "pir"}, "read"),
        ({"read": ["pir", "x"]}, "read[1]"),
        ({"wirte": {}}, "wirte"),
        ([], "body"),
        (b"{", "body"),
    ],
)
async def test_bad_settings_requests(manage: Any, devices: Any, body: Any, field: str) -> None:
    device = devices.connect(UID)
    answer = await manage("POST", SETTINGS, body)
    assert (answer.status, answer.symbol, answer.body["error"]["field"]) == (422, "invalid_parameter", field)
    assert device.asked == []


async def test_initialization_session(manage: Any, book: Any) -> None:
    path = f"/devices/{UID}/initialization-session"
    answer = await manage("POST", path)
    assert answer.body["expiresAt"] == "2023-11-14T22:14:20.000Z"
    assert list(answer.body)[:4] == ["uid", "caHash", "code", "host"]
    book.replace_claims("Documented", [])
    refused = await manage("POST", path)
    assert (refused.status, refused.symbol) == (403, "auth_failed")


async def test_a_denial_cuts_the_device_off(manage: Any, devices: Any, book: Any, clock: Any) -> None:
    devices.connect(UID)
    denied = await manage("PUT", f"/devices/{UID}/access", {"access": "Denied"})
    assert (denied.body["access"], denied.body["state"]) == ("Denied", "Offline")
    assert devices.disconnected == [(UID, "denied")]
    assert book.admit(UID, "1", "e1", clock.now + 9, clock.now) == "Denied"
    allowed = await manage("PUT", f"/devices/{UID}/access", {"access": "Allowed"})
    assert allowed.body["access"] == "Allowed"
    wrong = await manage("PUT", f"/devices/{UID}/access", {"access": "denied"})
    assert (wrong.status, wrong.body["error"]["field"]) == (422, "access")


async def test_claims(manage: Any, book: Any) -> None:
    assert (await manage("GET", "/claims")).body == {"policy": "Open", "uids": []}
    answer = await manage("PUT", "/claims", {"policy": "Documented", "uids": [OTHER, UID]})
    assert answer.body == {"policy": "Documented", "uids": [UID, OTHER]}
    assert (await manage("DELETE", f"/claims/{OTHER}")).body["uids"] == [UID]
    assert (await manage("PUT", f"/claims/{OTHER}")).body["uids"] == [UID, OTHER]
    assert (await manage("GET", f"/devices/{UID}")).body["claimed"] is True
    wrong = await manage("PUT", "/claims", {"policy": "Documented", "uids": [UID, "x"]})
    assert wrong.body["error"]["field"] == "uids[1]"
    assert book.claims().uids == {UID, OTHER}
