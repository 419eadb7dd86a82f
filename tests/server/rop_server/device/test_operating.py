"""What an operator runs beside the server: check, adopt, top, alarms; metrics as a parser reads them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from rop_server.core.key_turns import KeyTurns
from rop_server.looplag import LoopLag
from rop_server.topview import Sample, render
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.packet import Packet

WANTED = {
    "rop_devices",
    "rop_device_handshakes",
    "rop_alarm_deliveries",
    "rop_alarm_sink_waiting",
    "rop_alarms_dead",
    "rop_loop_lag_seconds",
    "rop_loop_slow_turns",
    "rop_connections",
    "rop_key_rotation_devices",
    "rop_key_rotation_turns",
    "rop_streams",
    "process_resident_memory_bytes",
}


async def page(directory: Any, accept: str, query: str = "") -> tuple[str, str]:
    connector = aiohttp.UnixConnector(str(directory.path / "run/manage.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get(f"http://localhost/manage/v1/metrics{query}", headers={"Accept": accept}) as answer,
    ):
        return await answer.text(), answer.headers["Content-Type"]


async def test_metrics_are_parsed_in_both_formats(server: Any, camera: Any, directory: Any) -> None:
    line = await camera.signaling()
    for parse, accept in ((families, "text/plain"), (open_families, "application/openmetrics-text;version=1.0.0")):
        text, content_type = await page(directory, accept)
        assert content_type.startswith(accept.partition(";")[0])
        found = {family.name: family for family in parse(text)}
        assert set(found) >= WANTED
        assert text.endswith("# EOF\n") == (parse is open_families)
        assert "95270000000TEST1" not in text
        online = [each.value for each in found["rop_devices"].samples if each.labels["state"] == "Online"]
        assert online == [1.0]
    await line.close()


async def test_metrics_name_devices_when_asked(server: Any, camera: Any, directory: Any) -> None:
    line = await camera.signaling()
    keep = await camera.keep_alive()
    await keep.ask(Command.HEARTBEAT, messages.Heartbeat(messages.BatteryState(40, 0)).encode())
    for parse, accept in ((families, "text/plain"), (open_families, "application/openmetrics-text;version=1.0.0")):
        text, _ = await page(directory, accept, "?by=device")
        found = {family.name: family for family in parse(text)}
        assert set(found) >= WANTED | {"rop_device_up", "rop_device_since_seconds"}
        told = [(each.labels, each.value) for each in found["rop_device_battery_ratio"].samples]
        assert told == [({"uid": "95270000000TEST1"}, 0.4)]
    refused, _ = await page(directory, "text/plain", "?by=colour")
    assert json.loads(refused)["error"]["field"] == "by"
    await line.close()


async def test_variables_of_the_first_start_are_told_when_they_differ(server: Any, log_lines: Any) -> None:
    server.tell_environment({"ROP_HOSTNAME": "127.0.0.1"})
    assert log_lines() == ""
    server.tell_environment({"ROP_HOSTNAME": "elsewhere.example.com", "ROP_ALARM_WEBHOOK": "https://h/s3cr3t"})
    told = [json.loads(line) for line in log_lines().splitlines()]
    assert [(each["level"], each["member"]) for each in told] == [
        ("error", "serverHost"),
        ("error", "alarm.notificationURL"),
    ]
    assert "s3cr3t" not in log_lines()
    events = server.book.journal.since(1, server.book.journal.epoch)
    assert [event.type for event in events][-2:] == ["config.environment-ignored"] * 2


def test_lateness_of_the_loop() -> None:
    lag = LoopLag()
    assert lag.quantile(0.99) == 0.0
    for _ in range(98):
        lag.note(0.001)
    lag.note(0.05)
    lag.note(0.3)
    assert (lag.quantile(0.5), lag.quantile(1.0), lag.slow) == (0.001, 0.3, 1)


def test_top_shows_rates_between_two_readings() -> None:
    def text(handshakes: int, received: int) -> str:
        return (
            'rop_devices{state="Online"} 3\nrop_streams{kind="live"} 2\nrop_stream_viewers 5\n'
            f'rop_device_handshakes_total{{transport="Signaling"}} {handshakes}\n'
            f"rop_stream_received_bytes_total {received}\nprocess_cpu_seconds_total 1\n"
        )

    first, second = Sample.read(text(10, 0), 100.0), Sample.read(text(30, 1_000_000), 102.0)
    assert "handshakes -" in render(None, first)
    shown = render(first, second)
    for part in ("Online 3", "handshakes 10.0/s", "Mbit 4.0/s", "2  viewers 5", "CPU 0 %"):
        assert part in shown


@pytest.mark.timeout(90)
async def test_check_adopt_and_the_commands_to_a_running_server(directory: Any, tmp_path: Any) -> None:
    directory.configure(**{"alarm.enabled": True, "alarm.notificationURL": "http://127.0.0.1:1/s3cr3t"})
    data = str(directory.path)
    fine = directory.command("check", "--data", data)
    assert fine.returncode == 0 and "Error" not in fine.stdout
    assert directory.command("top", "--data", data, "--count", "1").returncode == 75
    # Our own directory is a vendor's directory with some more files.
    copy = str(tmp_path / "copy")
    adopted = directory.command("adopt", "--vendor", data, "--data", copy)
    assert adopted.returncode == 0, adopted.stderr
    assert directory.command("adopt", "--vendor", data, "--data", copy).returncode == 78
    process = directory.spawn()
    await asyncio.to_thread(directory.ready, process)
    key = directory.command("alarms", "key", "--data", data).stdout.strip()
    assert key.startswith("whsec_")
    status = directory.command("alarms", "status", "--data", data).stdout
    assert status == "webhook\ton\twaiting 0\tdead 0\tlast -\thttp://127.0.0.1:1/***\n"
    assert directory.command("alarms", "replay", "--data", data).stdout == "0 alarms go out again\n"
    assert directory.command("alarms", "dead", "--data", data).stdout == ""
    top = directory.command("top", "--data", data, "--count", "2", "--interval", "0.3")
    assert top.returncode == 0 and "Online 0" in top.stdout and "handshakes 0.0/s" in top.stdout
    (directory.path / "config.json").write_text("{")
    broken = directory.command("check", "--data", data, "--json")
    assert broken.returncode == 78
    assert {each["level"] for each in json.loads(broken.stdout)} >= {"Error"}
    _, out, _ = directory.stop(process)
    assert key not in out and "s3cr3t" not in out + fine.stdout + status


async def test_metrics_tell_how_far_a_changed_key_is(server: Any, camera: Any, directory: Any) -> None:
    keep = await camera.keep_alive()
    text, _ = await page(directory, "text/plain")
    assert 'rop_key_rotation_devices{key="current"} 1.0' in text
    keys = dict(server.control.effective.device_keys) | {"n" * 16: "k" * 32}
    server.hub.key_turns = KeyTurns(lambda: 0.0, lambda: 100_000)
    await server.control.apply({"deviceAuth.deviceKeys": keys, "deviceAuth.currentKeyIndex": "n" * 16})
    text, _ = await page(directory, "text/plain")
    assert 'rop_key_rotation_devices{key="older"} 1.0' in text
    server.hub.key_turns = KeyTurns(lambda: 0.0, lambda: 0)
    keep.send(Packet(0, Command.HEARTBEAT, 1, 200, b""))
    await asyncio.wait_for(keep.ended.wait(), 8)
    text, _ = await page(directory, "text/plain")
    assert "rop_key_rotation_turns_total 1.0" in text
    assert 'rop_key_rotation_devices{key="older"} 0.0' in text
