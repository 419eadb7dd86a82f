"""Our virtual camera against our server, both as processes: the whole life of a device on the real wire."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_wire import lan

BIN = Path(sys.executable).parent
WIRED, BATTERY = "C0NTRACTWIRED001", "C0NTRACTBATTERY1"
Join = Callable[..., Any]
Poll = Callable[..., Any]


def settings_path(uid: str, what: str) -> str:
    return f"/v1.0/devices/{uid}/settings/{what}"


def test_discovery_reaches_every_camera_of_a_host(add_camera: Join, poll: Poll) -> None:
    cameras = [add_camera(f"C0NTRACTDISC000{number}", *(["--battery"] * (number % 2))) for number in range(3)]
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asker.bind(("127.0.0.1", 0))
        asker.settimeout(0.5)
        where = cameras[0].ready["discovery"]
        asker.sendto(b'{"magic":1}', (where["address"], where["port"]))
        asker.sendto(b"nonsense", (where["address"], where["port"]))
        asker.sendto(lan.discovery_request(), (where["address"], where["port"]))

        def all_answered() -> bool:
            try:
                reply = lan.DiscoveryReply.decode(asker.recv(2048))
            except TimeoutError:
                return False
            assert reply.uid not in found, "one answer to one request"
            found[reply.uid] = reply.port
            return len(found) == len(cameras)

        poll("every camera answers", all_answered)
    assert found == {one.uid: one.ready["setup"]["port"] for one in cameras}


@pytest.mark.parametrize("path", ["/rop/setup", "/rop/setup/"])
def test_hand_over_of_a_wired_camera(site: Any, add_camera: Join, poll: Poll, path: str) -> None:
    camera = add_camera(WIRED, "--model", "RLC-510A", "--name", "Yard")
    document = site.session(WIRED)
    assert camera.set_up(document, path) == (200, {"message": "ok"})
    shown = poll("it is online", lambda: site.online(WIRED))
    assert (shown["family"], shown["model"]) == ("powered", "RLC-510A")
    assert [e["event"] for e in camera.events()][:4] == ["setup", "certificate", "registered", "online"]
    identity = camera.identity()
    assert identity["host"] == "127.0.0.1"
    for name in ("identity.json", "key.pem"):
        assert (camera.folder / "identity" / name).stat().st_mode & 0o777 == 0o600
    assert site.call("GET", settings_path(WIRED, "general-config")) == (200, {"deviceName": "Yard"})
    told = site.manage("GET", f"/devices/{WIRED}")[1]
    assert told["state"] == "Online"


@pytest.mark.parametrize(
    ("change", "symbol"),
    [
        ({"caHash": "A" * 43 + "="}, "download_ca_failed"),
        ({"getCAPort": 1}, "download_ca_failed"),
        ({"code": "notacode"}, "download_private_key_failed"),
        ({"getCertPort": 1}, "download_private_key_failed"),
        ({"registerPort": 1}, "registe_failed"),
        ({"uid": "C0NTRACTANOTHER1"}, "invalid_parameter"),
        ({"host": ""}, "invalid_parameter"),
        ({"getCAPort": "61000"}, "invalid_parameter"),
        ({"time": "now"}, "invalid_parameter"),
        ({"host": "localhost"}, "download_private_key_failed"),
    ],
)
def test_hand_over_fails_with_its_symbol_and_keeps_nothing(
    site: Any, add_camera: Join, change: dict[str, Any], symbol: str
) -> None:
    camera = add_camera(WIRED)
    status, answer = camera.set_up(site.session(WIRED) | change)
    assert (status, answer["error"]["symbol"]) == (400, symbol)
    assert not (camera.folder / "identity" / "identity.json").exists()
    assert camera.events("setup") == []
    # The same camera can still be handed over.
    assert camera.set_up(site.session(WIRED)) == (200, {"message": "ok"})


def test_settings_of_a_wired_camera(site: Any, joined: Join) -> None:
    camera = joined(WIRED)
    pir = {"enabled": False, "sensitivity": 33, "reduceMistakes": True}
    for what, value in (
        ("general-config", {"deviceName": "Front door"}),
        ("pir-config", pir),
        ("alarm", {"enabled": True}),
    ):
        assert site.call("PUT", settings_path(WIRED, what), value) == (200, {"message": "ok"})
        assert site.call("GET", settings_path(WIRED, what)) == (200, value)
    kept = camera.settings()
    assert (kept["deviceName"], kept["pir"], kept["alarm"]) == ("Front door", pir, True)
    writes = camera.events("write")
    assert [w["command"] for w in writes] == [105, 213, 462]
    assert writes[0]["deviceName"] == "Front door"


def test_identity_and_settings_survive_kill_9(site: Any, joined: Join, poll: Poll) -> None:
    camera = joined(WIRED)
    site.call("PUT", settings_path(WIRED, "general-config"), {"deviceName": "Kept"})
    before = camera.identity()
    for _ in range(3):
        camera.process.kill()
        poll("the server notices", lambda: site.online(WIRED) is None)
        camera.start()
        poll("it is back", lambda: site.online(WIRED))
    assert camera.identity() == before
    assert len(camera.events("setup")) == 1
    assert len(camera.events("certificate")) == 1
    assert site.call("GET", settings_path(WIRED, "general-config")) == (200, {"deviceName": "Kept"})


def test_a_killed_server_gets_its_cameras_back(site: Any, joined: Join, poll: Poll) -> None:
    cameras = [joined(WIRED), joined(BATTERY, "--battery")]
    before = [one.identity()["key"] for one in cameras]
    site.process.kill()
    site.start()
    for one in cameras:
        poll("it is back", lambda uid=one.uid: site.online(uid))
        assert len(one.events("setup")) == 1
    assert [one.identity()["key"] for one in cameras] == before


def test_battery_camera_sleeps_wakes_for_a_call_and_sleeps_again(site: Any, joined: Join, poll: Poll) -> None:
    site.restart(timeout__signalingConnectionIdle=1000)
    camera = joined(BATTERY, "--battery")
    assert site.manage("GET", f"/devices/{BATTERY}")[1]["state"] == "Asleep"
    assert camera.events("woken") == []
    poll("the battery is known", lambda: site.call("GET", f"/v1.0/devices/{BATTERY}/states/battery")[0] == 200)
    assert camera.events("woken") == []

    started = time.monotonic()
    status, _ = site.call("PUT", settings_path(BATTERY, "general-config"), {"deviceName": "Gate"})
    assert status == 200
    assert time.monotonic() - started < 5
    assert len(camera.events("woken")) == 1
    poll("it sleeps again", lambda: site.manage("GET", f"/devices/{BATTERY}")[1]["state"] == "Asleep")
    poll("it says so", lambda: camera.events("asleep"))
    # A wake-up right after the sleep is answered too.
    assert site.call("GET", settings_path(BATTERY, "general-config")) == (200, {"deviceName": "Gate"})
    assert len(camera.events("woken")) == 2


def test_many_calls_to_a_sleeping_camera_are_one_wake(site: Any, joined: Join) -> None:
    camera = joined(BATTERY, "--battery")
    answers: list[int] = []
    calls = [
        threading.Thread(target=lambda: answers.append(site.call("GET", settings_path(BATTERY, "pir-config"))[0]))
        for _ in range(10)
    ]
    for each in calls:
        each.start()
    for each in calls:
        each.join()
    assert answers == [200] * 10
    assert len(camera.events("woken")) == 1
    assert len([e for e in camera.events("online") if e["transport"] == "Signaling"]) == 1


@pytest.mark.parametrize("traits", [(), ("--battery",)])
def test_alarm_reaches_the_webhook(site: Any, joined: Join, webhook: Any, poll: Poll, traits: tuple[str]) -> None:
    site.restart(alarm__enabled=True, alarm__notificationURL=webhook.url)
    camera = joined(WIRED, *traits)
    assert "switch is off" in camera.ctl("alarm", "people", expect=1)
    assert site.call("PUT", settings_path(WIRED, "alarm"), {"enabled": True})[0] == 200
    camera.ctl("alarm", "people")
    body = poll("the webhook hears", lambda: webhook.bodies)[0]
    assert (body["uid"], body["channelId"], body["status"], body["AItype"]) == (WIRED, "0", "MD", "people")


def test_a_change_behind_the_servers_back_is_seen_by_the_next_read(site: Any, joined: Join) -> None:
    camera = joined(WIRED)
    camera.ctl("set-name", "Mallory")
    camera.ctl("set-alarm", "on")
    camera.ctl("set-pir", '{"sensitivity": 7}')
    assert site.call("GET", settings_path(WIRED, "general-config"))[1] == {"deviceName": "Mallory"}
    assert site.call("GET", settings_path(WIRED, "alarm"))[1] == {"enabled": True}
    assert site.call("GET", settings_path(WIRED, "pir-config"))[1]["sensitivity"] == 7
    assert camera.events("write") == []
    assert json.loads(camera.ctl("status"))["signaling"] is True


def test_dropped_connection_comes_back(site: Any, joined: Join, poll: Poll) -> None:
    camera = joined(WIRED)
    camera.ctl("disconnect")
    poll("it reconnects", lambda: len(camera.events("online")) == 2)
    poll("it is listed", lambda: site.online(WIRED))


def test_reset_forgets_the_server(site: Any, joined: Join, poll: Poll) -> None:
    camera = joined(WIRED)
    camera.ctl("reset")
    poll("it is gone", lambda: site.online(WIRED) is None)
    assert not (camera.folder / "identity" / "identity.json").exists()
    assert camera.set_up(site.session(WIRED)) == (200, {"message": "ok"})
    poll("it is back", lambda: site.online(WIRED))


def test_key_index_rotation_makes_a_battery_camera_register_again(site: Any, joined: Join, poll: Poll) -> None:
    camera = joined(BATTERY, "--battery")
    before = camera.identity()
    config = json.loads((site.data / "config.json").read_text())
    keys = {**config["deviceAuth"]["deviceKeys"], "n" * 16: "k" * 32}
    site.restart(deviceAuth__deviceKeys=keys, deviceAuth__currentKeyIndex="n" * 16)
    poll("it registered", lambda: camera.identity()["access_key"].startswith("n" * 16))
    poll("it is back", lambda: site.online(BATTERY))
    after = camera.identity()
    assert after["cert"] == before["cert"]
    assert len(camera.events("setup")) == 1


def test_a_denied_camera_is_disconnected_and_refused(site: Any, joined: Join, poll: Poll) -> None:
    camera = joined(WIRED)
    fence = site.manage("GET", "/manager")[1]["fence"]
    status, _ = site.manage(
        "PUT", f"/devices/{WIRED}/access?fence={fence}", {"access": "Denied"}, Rop_Manager="contract"
    )
    assert status == 200
    poll("it is gone", lambda: site.online(WIRED) is None)
    poll("it was refused", lambda: camera.events("refused"))
    online = len(camera.events("online"))
    camera.process.kill()
    refused = len(camera.events("refused"))
    camera.start()
    poll("it was refused again", lambda: len(camera.events("refused")) > refused)
    assert len(camera.events("online")) == online
    site.manage("PUT", f"/devices/{WIRED}/access?fence={fence}", {"access": "Allowed"}, Rop_Manager="contract")
    poll("it may come in again", lambda: site.online(WIRED))


@pytest.mark.parametrize("traits", [(), ("--battery",)])
def test_fleet(site: Any, traits: tuple[str]) -> None:
    url = f"http://127.0.0.1:{site.ports['clientHttp']}"
    run = subprocess.run(
        [f"{BIN}/ropsim", "fleet", "--devices", "25", "--session-url", url, "--seconds", "0.5", *traits],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert (told["devices"], told["online"]) == (25, 25)
    assert told["cpuSeconds"] > 0


async def test_certificate_is_renewed_with_the_long_term_code(site: Any, joined: Join, poll: Poll) -> None:
    process = joined(WIRED)
    process.process.kill()
    before = process.identity()
    camera = Camera(process.folder, Traits(WIRED))
    assert camera.identity is not None
    start, end = camera.identity.certificate_life()
    assert await camera.renew_if_due(start + (end - start) * 0.6) is False
    assert await camera.renew_if_due(start + (end - start) * 0.7) is True
    after = process.identity()
    assert after["key"] != before["key"]
    assert after["ca"] == before["ca"]
    assert camera.identity.certificate_life()[1] >= end
    # What was stored still opens the ports after a restart.
    online = len(process.events("online"))
    process.start()
    poll("it is back", lambda: len(process.events("online")) > online)


async def test_refused_renewal_is_told_and_tried_again_after_a_day(site: Any, joined: Join) -> None:
    process = joined(WIRED)
    process.process.kill()
    stored = process.folder / "identity" / "identity.json"
    stored.write_text(json.dumps(process.identity() | {"code": "bm90aGluZw==.bm90aGluZw=="}))
    camera = Camera(process.folder, Traits(WIRED))
    assert camera.identity is not None
    start, end = camera.identity.certificate_life()
    due = start + (end - start) * 0.7
    for moment, attempts in ((due, 1), (due + 3600, 1), (due + 90_000, 2), (end + 1, 3)):
        assert await camera.renew_if_due(moment) is False
        assert len(process.events("refused")) == attempts
    assert process.identity()["key"]
    process.process.start()
