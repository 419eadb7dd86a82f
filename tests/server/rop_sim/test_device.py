"""A camera's answers, settings, command line, local control."""

import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rop_sim import control
from rop_sim.backoff import Backoff
from rop_sim.camera import Camera
from rop_sim.device import Device, Traits
from rop_sim.files import DeviceLog
from rop_sim.setup import discovery_socket, is_local
from rop_wire import lan, messages, xml
from rop_wire.commands import Command
from rop_wire.packet import REQUEST, RESPONSE, Packet

BIN = Path(sys.executable).parent
UID = "S1MTEST000000001"


def ask(device: Device, command: int, payload: bytes = b"") -> list[Packet]:
    answers = device.answer(Packet(REQUEST, command, 77, payload=payload))
    for each in answers:
        assert (each.kind, each.command, each.request_id) == (RESPONSE, command, 77)
    return answers


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(Traits(UID, ptz=True), tmp_path / "device.json", DeviceLog(tmp_path / "device.log"))


def test_settings_are_kept_before_the_answer(device: Device, tmp_path: Path) -> None:
    for command, message in (
        (Command.SET_GENERAL, messages.GeneralConfigSet("Barn")),
        (Command.SET_PIR, messages.PirSet(False, 12, True)),
        (Command.SET_ALARM_SWITCH, messages.AlarmSwitchSet(True)),
        (Command.PTZ, messages.Ptz(0, "left", 3)),
    ):
        (answer,) = ask(device, command, message.encode())
        assert (answer.status, answer.payload) == (200, b"")
    again = Device(Traits(UID), tmp_path / "device.json", DeviceLog(None))
    assert again.settings == device.settings
    assert again.settings.deviceName == "Barn"
    assert (again.settings.pir.enabled, again.settings.pir.sensitivity) == (False, 12)
    log = [json.loads(line) for line in (tmp_path / "device.log").read_text().splitlines()]
    assert [(e["event"], e["command"]) for e in log] == [
        ("write", 105),
        ("write", 213),
        ("write", 462),
        ("write", 18),
    ]
    (shown,) = ask(device, Command.GET_PIR)
    assert messages.PirConfig.decode(shown.payload) == messages.PirConfig(False, 12, True)
    assert xml.text(xml.parse(shown.payload), "Param016", "attr003") == str(101 - 12)


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (Command.SET_GENERAL, b""),
        (Command.SET_GENERAL, b"<body/>"),
        (Command.SET_PIR, b"<body><Param016><attr003>300</attr003></Param016></body>"),
        (Command.SET_PIR, b"\xff\xfe"),
        (Command.SET_ALARM_SWITCH, b"<body>"),
        (Command.PTZ, b"<body/>"),
        (9999, b""),
        (Command.LIVE_START, b"<body/>"),
    ],
)
def test_what_cannot_be_done_is_400_and_changes_nothing(
    device: Device, tmp_path: Path, command: int, payload: bytes
) -> None:
    before = json.dumps(device.settings.deviceName)
    (answer,) = ask(device, command, payload)
    assert (answer.status, answer.payload) == (400, b"")
    assert json.dumps(device.settings.deviceName) == before
    assert (tmp_path / "device.log").read_text() == ""


def test_ptz_of_a_fixed_camera(tmp_path: Path) -> None:
    fixed = Device(Traits(UID), None, DeviceLog(None))
    (answer,) = ask(fixed, Command.PTZ, messages.Ptz(0, "left", 3).encode())
    assert answer.status == 400


def test_capability_has_exactly_one_channel(device: Device) -> None:
    (answer,) = ask(device, Command.SUPPORT)
    (channel,) = messages.Support.decode(answer.payload).channels
    assert (channel.number, channel.rotates, channel.streams) == (0, True, 7)
    assert b"=" not in answer.payload.replace(b'version="1.0" encoding="UTF-8"', b"")


def test_snapshot_is_a_document_then_a_finished_picture(device: Device) -> None:
    first, last = ask(device, Command.SNAPSHOT, messages.Snapshot(0, "mainStream").encode())
    assert xml.parse(first.payload) == {}
    assert (first.status, last.status) == (200, 201)
    assert last.payload.startswith(b"\xff\xd8\xff")
    assert last.payload.endswith(b"\xff\xd9")


def test_heartbeat_always_has_the_battery(tmp_path: Path) -> None:
    battery = Device(Traits(UID, battery=True), None, DeviceLog(None))
    beat = messages.Heartbeat.decode(battery.heartbeat())
    assert beat.battery == messages.BatteryState(80, 0)
    assert not beat.no_reply


def test_backoff_doubles_to_a_limit_with_jitter() -> None:
    backoff = Backoff(1.0)
    pauses = [backoff.pause() for _ in range(10)]
    for pause, most in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert most / 2 <= pause <= most
    backoff.reset()
    assert backoff.pause() <= 1.0


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("192.168.1.5", True),
        ("10.0.0.1", True),
        ("fe80::1%eth0", True),
        ("::1", True),
        ("8.8.8.8", False),
        ("2a00:1450::1", False),
        (None, False),
        ("x", False),
    ],
)
def test_set_up_is_for_the_local_network(address: str | None, local: bool) -> None:
    assert is_local(address) is local


def test_broadcast_reaches_every_socket_on_the_port() -> None:
    first = discovery_socket("127.255.255.255", 0)
    port = first.getsockname()[1]
    every = [first, discovery_socket("127.255.255.255", port), discovery_socket("127.255.255.255", port)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asker.sendto(lan.discovery_request(), ("127.255.255.255", port))
        for sock in every:
            sock.settimeout(5)
            assert lan.is_discovery_request(sock.recv(512))
            sock.close()


async def test_control_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "c", Traits(UID))
    for bad in (
        [],
        {},
        {"do": "fly"},
        {"do": "set-pir", "pir": {}},
        {"do": "set-pir", "pir": {"sensitivity": 500}},
        {"do": "set-pir", "pir": {"sensitivity": "x"}},
        {"do": "set-pir", "pir": {"enabled": 1}},
        {"do": "set-pir", "pir": {"colour": 1}},
        {"do": "set-battery", "percent": 101},
        {"do": "set-name", "name": 5},
    ):
        request: Any = bad
        with pytest.raises(control.ControlError):
            await control.perform(camera, request)
    assert camera.device.settings == Device(Traits(UID), None, DeviceLog(None)).settings


async def test_control_socket_in_a_long_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    camera = Camera(folder, Traits(UID))
    server = await control.serve(camera, folder / "control.sock")
    answer = await asyncio.to_thread(control.call, folder / "control.sock", {"do": "status"})
    assert answer["uid"] == UID
    server.close()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["camera", "--state", "S", "--uid", "short"], 2, "16 characters"),
        (["camera", "--state", "S"], 2, "--uid"),
        (["ctl", "--state", "S", "status"], 1, "no camera runs"),
        (["ctl", "--state", "S", "set-alarm", "maybe"], 2, "does not take"),
        (["ctl", "--state", "S", "set-battery", "many"], 1, "many"),
        (["fleet", "--devices", "0", "--url", "http://x"], 2, "--devices"),
    ],
)
def test_command_line_errors(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    told = [str(tmp_path / "s") if each == "S" else each for each in arguments]
    run = subprocess.run([f"{BIN}/ropsim", *told], capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == status, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [f"{BIN}/ropsim", "camera", "--state", str(tmp_path / "s"), "--uid", UID, "--no-discovery"]
        run = subprocess.run(
            [*command, "--setup-port", str(port)], capture_output=True, text=True, check=False, timeout=30
        )
    assert run.returncode == 75
    assert "in use" in run.stderr
    assert not (tmp_path / "s/ready.json").exists()


def test_a_key_that_does_not_open_leads_astray(device: Device) -> None:
    device.traits = replace(device.traits, wifi=True)
    for key, astray in (("virtual-barn-key", False), ("wrong", True)):
        request = Packet(REQUEST, Command.SET_WIFI, 1, 200, messages.WifiSet("ROP-Barn", key, "DE").encode())
        assert [answer.status for answer in device.answer(request)] == [200]
        assert (device.settings.wifi, device.settings.astray) == ("ROP-Barn", astray)
