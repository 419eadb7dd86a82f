"""PTZ, WiFi, firmware of virtual cameras through a real server; and what happens when they misbehave."""

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

UID = "95270000CONTROL1"
FILE = "CAM_v3.2.0.1_25010100.pak"
NEW = "v3.2.0.1_25010100"
ALL_OK = (200, {"message": "ok"})
DEVICE = f"/v1.0/devices/{UID}"


def upload(site: Any, name: str, data: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.ports["clientHttp"], timeout=30)
    connection.request("POST", f"/v1.0/firmware/{name}", data, {"Content-Type": "application/octet-stream"})
    assert connection.getresponse().status == 200
    connection.close()


def upgrade(site: Any, poll: Callable[..., Any], factory_reset: bool = False) -> str:
    """Run an upgrade to its end; the status."""
    upload(site, FILE, bytes(range(256)) * 1000)
    body = {"upgradeFile": FILE, "factoryReset": factory_reset}
    status, told = site.call("POST", f"{DEVICE}/upgrade-session", body)
    assert status == 200, told
    session = f"{DEVICE}/upgrade-session/{told['sessionId']}"

    def ended() -> str | None:
        found = site.call("GET", session)[1]["status"]
        return None if found == "upgrading" else str(found)

    return str(poll("the upgrade ends", ended))


def test_ptz(site: Any, joined: Callable[..., Any], poll: Callable[..., Any]) -> None:
    camera = joined(UID, "--ptz")
    rotate = {"channel": 0, "direction": "left", "speed": 64}
    assert site.call("POST", f"{DEVICE}/ptz/rotate", rotate) == ALL_OK
    poll("it turns", lambda: json.loads(camera.ctl("status"))["ptz"]["pan"] < -10)
    assert site.call("POST", f"{DEVICE}/ptz/rotate", {**rotate, "direction": "none"}) == ALL_OK
    assert site.call("PATCH", f"{DEVICE}/ptz/zoom", {"channel": 0, "action": "inc"}) == ALL_OK
    assert site.call("PATCH", f"{DEVICE}/ptz/focus", {"channel": 0, "action": "dec"}) == ALL_OK
    told = json.loads(camera.ctl("status"))["ptz"]
    assert (told["zoom"], told["focus"], told["moving"]) == (1.5, 45.0, False)
    assert json.loads(camera.ctl("status"))["ptz"]["pan"] == told["pan"]


def test_no_ptz(site: Any, joined: Callable[..., Any]) -> None:
    joined(UID)
    status, told = site.call("PATCH", f"{DEVICE}/ptz/zoom", {"channel": 0, "action": "inc"})
    assert (status, told["error"]["symbol"]) == (400, "cmd_not_support")


def test_wifi(site: Any, joined: Callable[..., Any], poll: Callable[..., Any]) -> None:
    camera = joined(UID, "--wifi")
    _, scan = site.call("POST", f"{DEVICE}/wifi/scan-task")

    def found() -> Any:
        told = site.call("GET", f"{DEVICE}/wifi/scan/{scan['sessionId']}")[1]
        return told if told["status"] != "scanning" else None

    networks = {each["ssid"]: each for each in poll("the scan ends", found)["wifiList"]}
    assert len(networks) == 4
    assert networks["ROP-Guest"]["encryptMode"] == "none"
    assert networks["ROP-Barn"]["encryptMode"] == "auto"
    barn = {"ssid": "ROP-Barn", "key": "virtual-barn-key", "countryCode": "FR"}
    assert site.call("POST", f"{DEVICE}/wifi/test", barn) == (200, {"status": "success"})
    assert site.call("POST", f"{DEVICE}/wifi/test", {**barn, "key": "wrong"}) == (200, {"status": "error"})
    assert site.call("PUT", f"{DEVICE}/settings/wifi-config", barn) == ALL_OK
    told = {"ssid": "ROP-Barn", "channel": 11, "countryCode": "FR"}
    assert site.call("GET", f"{DEVICE}/settings/wifi-config") == (200, told)
    assert "virtual-barn-key" not in "".join(p.read_text() for p in camera.folder.glob("device.*"))


@pytest.mark.parametrize("traits", [(), ("--battery",)])
def test_firmware(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], traits: tuple[str, ...]
) -> None:
    camera = joined(UID, *traits, "--reboot-seconds", "0.5")
    assert site.call("PUT", f"{DEVICE}/settings/general-config", {"deviceName": "Barn"}) == ALL_OK
    assert upgrade(site, poll, factory_reset=True) == "upgrade_success"
    assert site.online(UID)["firmware"] == NEW
    assert camera.settings()["deviceName"] == "Camera"
    assert camera.settings()["firmware"] == NEW


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("upgrade-refuse=404", "out_of_memory"),
        ("upgrade-refuse-slice=5", "file_check_failed"),
        ("upgrade-disconnect=2", "unknown_error"),
    ],
)
def test_firmware_that_fails(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any], fault: str, status: str
) -> None:
    camera = joined(UID, "--fault", fault)
    assert upgrade(site, poll) == status
    poll("it is online again", lambda: site.online(UID))
    assert camera.settings()["firmware"] != NEW


def test_garbage_costs_the_connection_only(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any]
) -> None:
    camera = joined(UID)
    camera.ctl("set-fault", "garbage")
    assert site.call("GET", f"{DEVICE}/settings/general-config")[0] >= 400
    camera.ctl("clear-faults")

    def answers() -> bool:
        return bool(site.call("GET", f"{DEVICE}/settings/general-config")[0] == 200)

    poll("it answers again", answers)
    assert len(camera.events("online")) >= 2


def test_refusals_reach_the_client(site: Any, joined: Callable[..., Any]) -> None:
    camera = joined(UID, "--fault", "refuse-all=403")
    status, told = site.call("GET", f"{DEVICE}/settings/pir-config")
    assert (status, told["error"]["symbol"]) == (400, "cmd_exec_error")
    camera.ctl("clear-faults")
    assert site.call("GET", f"{DEVICE}/settings/pir-config")[0] == 200


def test_flat_battery(site: Any, joined: Callable[..., Any], poll: Callable[..., Any]) -> None:
    """A camera whose battery drains says so, goes, and comes back when it is charged."""
    site.restart(timeout__socket=6000)
    site.open_enrolment()
    camera = joined(UID, "--battery", "--drain-per-hour", "36000")
    poll("it is flat", lambda: camera.events("flat"))
    poll("it is gone", lambda: site.online(UID) is None)
    camera.ctl("set-battery", "55")
    poll("it is back", lambda: site.online(UID))
    assert 0 in [entry["percent"] for entry in camera.events("battery")]


def test_lost_heartbeats_cost_the_connection(
    site: Any, joined: Callable[..., Any], poll: Callable[..., Any]
) -> None:
    site.restart(timeout__socket=4000, heartBeatInterval=1)
    site.open_enrolment()
    camera = joined(UID)
    camera.ctl("set-fault", "no-heartbeats")
    poll("it was cut off", lambda: len(camera.events("online")) >= 2)
    lost = [line for line in map(json.loads, site.process.log.read_text().splitlines()) if line.get("reason")]
    assert "heartbeat" in [line["reason"] for line in lost]
    camera.ctl("clear-faults")
    poll("it is online", lambda: site.online(UID))
