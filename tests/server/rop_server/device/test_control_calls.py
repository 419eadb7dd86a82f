"""PTZ, WiFi and raw commands: 61009 in, device packets out. Source: client-api 2.7, 2.15, 2.16."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from rop_wire import messages, xml
from rop_wire.commands import Command
from rop_wire.packet import REQUEST, Packet

UID = "95270000000TEST1"
ROTATE = "{device}/ptz/rotate"


def ptz(told: Any, line: Any) -> list[messages.Ptz]:
    return [messages.Ptz.decode(packet.payload) for packet in told.asked(line, Command.PTZ)]


async def test_ptz(client: Any, line: Any, told: Any) -> None:
    calls = [
        ("PATCH", "{device}/ptz/zoom", {"channel": 0, "action": "inc"}, messages.Ptz(0, "zoomInc")),
        ("PATCH", "{device}/ptz/zoom/", {"channel": 0, "action": "dec"}, messages.Ptz(0, "zoomDec")),
        ("PATCH", "{device}/ptz/focus", {"channel": 2, "action": "inc"}, messages.Ptz(2, "focusInc")),
        ("PATCH", "{device}/ptz/focus", {"channel": 0.0, "action": "dec"}, messages.Ptz(0, "focusDec")),
        ("POST", ROTATE, {"channel": 0, "direction": "rightUp", "speed": 64}, messages.Ptz(0, "rightUp", 64)),
        ("POST", ROTATE, {"channel": 1, "direction": "left", "speed": 1}, messages.Ptz(1, "left", 1)),
        ("POST", ROTATE, {"channel": 1, "direction": "none", "speed": 1}, messages.Ptz(1, "stop", 1)),
    ]
    for method, path, body, _ in calls:
        answer = await client(method, path, body)
        assert (answer.status, answer.body) == (200, b'{"message":"ok"}'), (path, body)
    assert ptz(told, line) == [wanted for *_, wanted in calls]
    assert len(told.asked(line, Command.SUPPORT)) == 1, "the capability is asked once"


PTZ_REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("zoom", {"channel": 32, "action": "inc"}, 400, "invalid_parameter"),
    ("zoom", {"channel": -1, "action": "inc"}, 400, "invalid_parameter"),
    ("zoom", {"channel": "0", "action": "inc"}, 400, "invalid_parameter"),
    ("zoom", {"channel": True, "action": "inc"}, 400, "invalid_parameter"),
    ("zoom", {"channel": 0, "action": "Inc"}, 400, "invalid_parameter"),
    ("zoom", {"action": "inc"}, 400, "invalid_parameter"),
    ("zoom", {"channel": 1, "action": "inc"}, 400, "cmd_not_support"),
    ("focus", {"channel": 1, "action": "inc"}, 400, "cmd_not_support"),
    ("zoom", {"channel": 2, "action": "inc"}, 400, "cmd_not_support"),
    ("zoom", {"channel": 5, "action": "inc"}, 404, "device_channel_not_found"),
    ("rotate", {"channel": 0, "direction": "left", "speed": 0}, 400, "invalid_parameter"),
    ("rotate", {"channel": 0, "direction": "left", "speed": 65}, 400, "invalid_parameter"),
    ("rotate", {"channel": 0, "direction": "none"}, 400, "invalid_parameter"),
    ("rotate", {"channel": 0, "direction": "righUp", "speed": 5}, 400, "invalid_parameter"),
    ("rotate", {"channel": 0, "direction": "stop", "speed": 5}, 400, "invalid_parameter"),
    ("rotate", {"channel": 1, "direction": "leftUp", "speed": 5}, 400, "direction_not_support"),
    ("rotate", {"channel": 2, "direction": "left", "speed": 5}, 400, "cmd_not_support"),
    ("rotate", {"channel": 30, "direction": "left", "speed": 5}, 404, "device_channel_not_found"),
]


async def test_ptz_refusals(client: Any, line: Any, told: Any) -> None:
    for path, body, status, symbol in PTZ_REFUSALS:
        answer = await client("POST" if path == "rotate" else "PATCH", f"{{device}}/ptz/{path}", body)
        assert (answer.status, answer.symbol) == (status, symbol), (path, body)
    assert ptz(told, line) == []


async def test_rotate_is_a_post(client: Any, line: Any) -> None:
    assert (await client("PATCH", ROTATE, {"channel": 0, "direction": "left", "speed": 5})).status == 404


async def test_a_broken_capability_is_a_server_error(client: Any, line: Any) -> None:
    line.answers[Command.SUPPORT] = b"<body><Param005><attr001/></Param005>"
    answer = await client("PATCH", "{device}/ptz/zoom", {"channel": 0, "action": "inc"})
    assert (answer.status, answer.symbol) == (500, "server_internal_error")
    assert set(answer.document["error"]) == {"symbol", "message"}
    line.answers[Command.SUPPORT] = b""
    answer = await client("PATCH", "{device}/ptz/zoom", {"channel": 0, "action": "inc"})
    assert (answer.status, answer.symbol) == (400, "cmd_exec_error")


async def test_wifi_config(client: Any, line: Any, told: Any) -> None:
    path = "{device}/settings/wifi-config"
    answer = await client("GET", path)
    assert (answer.status, answer.body) == (200, b'{"ssid":"Hof","channel":11,"countryCode":"DE"}')
    body = {"ssid": "Hof und Garten 🌻", "key": "a b\"'<>&", "countryCode": "DE", "more": 1}
    assert (await client("PUT", path, body)).body == b'{"message":"ok"}'
    sent = messages.WifiSet.decode(told.asked(line, Command.SET_WIFI)[0].payload)
    assert sent == messages.WifiSet("Hof und Garten 🌻", "a b\"'<>&", "DE")
    line.answers[Command.SET_WIFI] = 400
    assert (await client("PUT", path, body)).symbol == "cmd_exec_error"


async def test_wifi_keys_are_in_no_log_line(client: Any, line: Any, log_lines: Any) -> None:
    line.answers[Command.SET_WIFI] = line.answers[Command.TEST_WIFI] = 500
    for method, path in (("PUT", "{device}/settings/wifi-config"), ("POST", "{device}/wifi/test")):
        await client(method, path, {"ssid": "Hof", "key": "s3cr3t-key", "countryCode": "DE"})
        await client(method, path, {"ssid": "Hof", "key": "s3cr3t-key\\", "countryCode": "DE"})
    assert "s3cr3t" not in log_lines()


async def test_wifi_needs_wifi(client: Any, line: Any, told: Any) -> None:
    line.answers[Command.SUPPORT] = messages.Support((messages.Channel(0, 3, wifi_mode=0),)).encode()
    body = {"ssid": "Hof", "key": "", "countryCode": "DE"}
    for method, path, given in (
        ("GET", "settings/wifi-config", None),
        ("PUT", "settings/wifi-config", body),
        ("POST", "wifi/scan-task", None),
        ("POST", "wifi/test", body),
    ):
        answer = await client(method, "{device}/" + path, given)
        assert (answer.status, answer.symbol) == (400, "cmd_not_support"), path
    assert not told.asked(line, Command.GET_WIFI)


async def test_wifi_test_needs_a_wire(client: Any, line: Any, until: Any, server: Any) -> None:
    body = {"ssid": "Hof", "key": "12345678", "countryCode": "DE"}
    assert (await client("POST", "{device}/wifi/test", body)).symbol == "cmd_not_support"
    report = messages.NetworkReport("wire").encode()
    line.send(Packet(REQUEST, Command.NETWORK_REPORT, 7, 200, report))
    await until(lambda: server.devices.link(UID).wired)
    assert (await client("POST", "{device}/wifi/test", body)).body == b'{"status":"success"}'
    line.answers[Command.TEST_WIFI] = 400
    assert (await client("POST", "{device}/wifi/test", body)).body == b'{"status":"error"}'
    line.send(Packet(REQUEST, Command.NETWORK_REPORT, 8, 200, messages.NetworkReport("wifi").encode()))
    await until(lambda: not server.devices.link(UID).wired)
    assert (await client("POST", "{device}/wifi/test", body)).symbol == "cmd_not_support"


async def scanned(client: Any, session: str) -> Any:
    while True:
        answer = await client("GET", f"{{device}}/wifi/scan/{session}")
        if answer.document.get("status") != "scanning":
            return answer


async def test_wifi_scan(client: Any, line: Any, told: Any) -> None:
    held: list[Any] = []
    answers = line.answers[Command.GET_WIFI]
    line.answers[Command.GET_WIFI] = held.append
    first = (await client("POST", "{device}/wifi/scan-task")).document
    again = (await client("POST", "{device}/wifi/scan-task")).document
    assert first == again, "one scan at a time"
    assert list(first) == ["sessionId", "expiringAt"] and len(first["sessionId"]) == 32
    assert abs(first["expiringAt"] - (time.time() + 600) * 1000) < 10_000
    waiting = await client("GET", f"{{device}}/wifi/scan/{first['sessionId']}")
    assert waiting.body == b'{"status":"scanning","wifiList":[]}'
    answers(held[0])
    done = await asyncio.wait_for(scanned(client, first["sessionId"]), 10)
    assert json.loads(done.body) == {
        "status": "success",
        "wifiList": [
            {"ssid": "Hof & Garten", "signal": -35, "encryptMode": "auto"},
            {"ssid": "open", "signal": -70, "encryptMode": "none"},
        ],
    }
    assert (await client("POST", "{device}/wifi/scan-task")).document["sessionId"] != first["sessionId"]


async def test_wifi_scan_results(client: Any, line: Any) -> None:
    one = messages.WifiNetworks((messages.WifiNetwork("one", None, None), messages.WifiNetwork("", -1, True)))
    cases: list[tuple[Any, str, list[Any]]] = [
        (messages.WifiNetworks(()).encode(), "success", []),
        (b"", "success", []),
        (one.encode(), "success", [{"ssid": "one"}]),
        (b"<body>", "error", []),
        (500, "error", []),
    ]
    for answer, status, networks in cases:
        line.answers[Command.GET_WIFI] = answer
        session = (await client("POST", "{device}/wifi/scan-task")).document["sessionId"]
        told = (await asyncio.wait_for(scanned(client, session), 10)).document
        assert told == {"status": status, "wifiList": networks}, answer


async def test_wifi_scan_results_belong_to_their_device(client: Any, line: Any) -> None:
    session = (await client("POST", "{device}/wifi/scan-task")).document["sessionId"]
    answer = await client("GET", f"/v1.0/devices/95270000000TEST2/wifi/scan/{session}")
    assert (answer.status, answer.symbol) == (404, "session_not_found")
    assert (await client("GET", "{device}/wifi/scan/" + "a" * 32)).symbol == "session_not_found"
    assert (await client("GET", "{device}/wifi/scan/" + "a" * 31)).symbol == "invalid_parameter"


async def test_raw_commands_are_off(client: Any, line: Any) -> None:
    for method in ("GET", "POST"):
        answer = await client(method, "{device}/signal?cmd=104", {"body": {}} if method == "POST" else None)
        assert (answer.status, answer.body) == (404, b'{"message":"resource not found."}')


async def test_raw_commands_that_are_listed(client: Any, line: Any, server: Any, told: Any) -> None:
    await server.control.apply({"rop.signalCommands": [105, 104]})
    assert json.loads((server.site.directory.root / "rop.json").read_text())["signalCommands"] == [104, 105]
    line.answers[Command.GET_GENERAL] = (
        b'<body><Param007 a="1"><attr012 b="2">Cam</attr012><x>1</x><x>2</x></Param007></body>'
    )
    answer = await client("GET", "{device}/signal?cmd=104")
    assert answer.body == b'{"body":{"Param007":{"attr012":"Cam","x":["1","2"]}}}'
    line.answers[Command.SET_GENERAL] = 200
    answer = await client("POST", "{device}/signal?cmd=105", {"body": {"Param007": {"attr012": "A<B"}}})
    assert answer.body == b'{"message":"ok"}'
    assert xml.parse(told.asked(line, Command.SET_GENERAL)[0].payload) == {"Param007": {"attr012": "A<B"}}
    for query in (
        "",
        "?cmd=",
        "?cmd=x",
        "?cmd=4294967296",
        "?cmd=-1",
        "?cmd=104&cmd=104",
        "?cmd=1.0",
        "?cmd=%20104",
    ):
        assert (await client("GET", "{device}/signal" + query)).symbol == "invalid_parameter", query
    for body in ({}, {"body": "x"}, {"body": {"1x": 1}}, {"body": {"$": {"a": 1}}}, {"body": {"a": "\u0000"}}):
        assert (await client("POST", "{device}/signal?cmd=105", body)).symbol == "invalid_parameter", body
    refused = await client("GET", "{device}/signal?cmd=199")
    assert (refused.status, refused.symbol) == (403, "auth_failed")
    assert not told.asked(line, Command.SUPPORT)


async def test_silent_devices(client: Any, line: Any, server: Any, until: Any) -> None:
    await server.control.apply({"wifi.scanWifiTimeout": 200, "wifi.testWifiTimeout": 200})
    line.send(Packet(REQUEST, Command.NETWORK_REPORT, 7, 200, messages.NetworkReport("wire").encode()))
    await until(lambda: server.devices.link(UID).wired)
    line.answers[Command.GET_WIFI] = line.answers[Command.TEST_WIFI] = None
    session = (await client("POST", "{device}/wifi/scan-task")).document["sessionId"]
    body = {"ssid": "Hof", "key": "", "countryCode": "DE"}
    tested = await client("POST", "{device}/wifi/test", body)
    assert (tested.status, tested.symbol) == (400, "cmd_timeout")
    told = (await asyncio.wait_for(scanned(client, session), 10)).document
    assert told == {"status": "timeout", "wifiList": []}


async def test_the_capability_is_kept_until_the_device_is_offline_or_other_firmware(
    client: Any, line: Any, camera: Any, told: Any, server: Any, until: Any
) -> None:
    zoom = {"channel": 0, "action": "inc"}
    assert (await client("PATCH", "{device}/ptz/zoom", zoom)).status == 200
    again = await camera.signaling()
    told.equip(again, (messages.Channel(0, 1, ptz_type=0),))
    assert (await client("PATCH", "{device}/ptz/zoom", zoom)).status == 200, "it never left the list"
    last = await camera.signaling(firmware="v2")
    told.equip(last, (messages.Channel(0, 1, ptz_type=0),))
    assert (await client("PATCH", "{device}/ptz/zoom", zoom)).symbol == "cmd_not_support"
    assert [len(told.asked(each, Command.SUPPORT)) for each in (line, again, last)] == [1, 0, 1]
    await last.close()
    await until(lambda: server.devices.link(UID) is None)
    back = await camera.signaling(firmware="v2")
    told.equip(back)
    assert (await client("PATCH", "{device}/ptz/zoom", zoom)).status == 200


async def test_calls_are_counted_by_template(client: Any, line: Any, server: Any) -> None:
    await client("PATCH", "{device}/ptz/zoom", {"channel": 0, "action": "inc"})
    await client("PATCH", "{device}/ptz/zoom", {"channel": 77, "action": "inc"})
    await client("GET", "/v1.0/anything")
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(server.site.directory.manage_socket))
        ) as session,
        session.get("http://localhost/manage/v1/metrics") as answer,
    ):
        page = await answer.text()
    zoom = 'rop_client_calls_total{method="PATCH",path="/v1.0/devices/{uid}/ptz/zoom",status="%d"} 1.0'
    assert zoom % 200 in page
    assert zoom % 400 in page
    assert 'rop_client_calls_total{method="-",path="-",status="404"} 1.0' in page
    assert "rop_upgrades_running 0.0" in page
    assert UID not in page
