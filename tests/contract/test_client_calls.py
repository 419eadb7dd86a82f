"""Clients of 61009 and virtual cameras, through a real server: firmware, WiFi, PTZ, cameras that are woken."""

import http.client
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

UID = "95270000CLIENT01"
ROOM = f"/v1.0/devices/{UID}"
FIRMWARE = "ROP_v9.9.9.pak"
PATIENCE = 40.0


def upload(site: Any, name: str, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.ports["clientHttp"], timeout=30)
    connection.request("POST", f"/v1.0/firmware/{name}", os.urandom(size))
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"message": "ok"})
    connection.close()


def upgrade(site: Any) -> str:
    upload(site, FIRMWARE, 2_000_000)
    order = {"upgradeFile": FIRMWARE, "factoryReset": False}
    status, told = site.call("POST", f"{ROOM}/upgrade-session", order)
    assert (status, told["expiredIn"]) == (200, 3600), told
    return f"{ROOM}/upgrade-session/{told['sessionId']}"


@pytest.mark.parametrize("traits", [(), ("--battery",)], ids=["wired", "battery"])
def test_a_camera_is_upgraded_and_comes_back(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], traits: tuple[str, ...]
) -> None:
    joined(UID, *traits)
    before = site.online(UID)["firmware"]
    where = upgrade(site)
    poll("the upgrade succeeds", lambda: site.call("GET", where)[1] == {"status": "upgrade_success"}, PATIENCE)
    after = poll("the camera is back", lambda: site.online(UID))["firmware"]
    assert (after, after != before) == ("v9.9.9", True)
    listed = site.manage("GET", "/firmware")[1]["items"]
    assert [(item["name"], item["size"]) for item in listed] == [(FIRMWARE, 2_000_000)]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("upgrade-refuse=408", "low_battery"),
        ("upgrade-refuse-slice=20", "file_check_failed"),
        ("upgrade-disconnect=40", "unknown_error"),
    ],
)
def test_upgrades_that_fail_leave_the_camera_usable(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], fault: str, word: str
) -> None:
    joined(UID, "--fault", fault)
    where = upgrade(site)

    def settled() -> Any:
        status = site.call("GET", where)[1]["status"]
        return None if status == "upgrading" else status

    assert poll("the upgrade ends", settled, PATIENCE) == word
    poll("the camera answers", lambda: site.call("GET", f"{ROOM}/settings/alarm")[0] == 200, PATIENCE)


def test_ptz_and_wifi(site: Any, joined: Callable[..., Any], poll: Callable[..., Any]) -> None:
    joined(UID, "--ptz", "--wifi")
    ok = (200, {"message": "ok"})
    assert site.call("PATCH", f"{ROOM}/ptz/zoom", {"channel": 0, "action": "inc"}) == ok
    assert site.call("POST", f"{ROOM}/ptz/rotate", {"channel": 0, "direction": "leftUp", "speed": 9}) == ok
    assert site.call("POST", f"{ROOM}/ptz/rotate", {"channel": 0, "direction": "none", "speed": 9}) == ok
    status, told = site.call("POST", f"{ROOM}/wifi/scan-task")
    assert status == 200
    where = f"{ROOM}/wifi/scan/{told['sessionId']}"
    result = poll("the scan ends", lambda: (r := site.call("GET", where)[1])["status"] != "scanning" and r)
    assert result["status"] == "success"
    found = result["wifiList"]
    assert found and all(isinstance(each["signal"], int) for each in found)
    assert all(each["encryptMode"] in ("none", "auto") for each in found)
    network = {"ssid": found[0]["ssid"], "key": "12345678", "countryCode": "DE"}
    status, tested = site.call("POST", f"{ROOM}/wifi/test", network)
    assert (status, tested["status"] in ("success", "error")) == (200, True)
    assert site.call("PUT", f"{ROOM}/settings/wifi-config", network) == ok
    status, config = site.call("GET", f"{ROOM}/settings/wifi-config")
    assert (status, config["ssid"]) == (200, network["ssid"])


def test_calls_wake_a_battery_camera(site: Any, joined: Callable[..., Any]) -> None:
    joined(UID, "--battery")
    status, told = site.call("GET", f"{ROOM}/settings/wifi-config")
    assert status == 200, told
    status, battery = site.call("GET", f"{ROOM}/states/battery")
    assert (status, 0 <= battery["percent"] <= 100) == (200, True)
    refused = site.call("POST", f"{ROOM}/wifi/test", {"ssid": "a", "key": "", "countryCode": "DE"})
    assert (refused[0], refused[1]["error"]["symbol"]) == (400, "cmd_not_support")
