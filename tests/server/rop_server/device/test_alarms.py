"""Alarms from a camera to receivers, through kill -9, SIGHUP, dead letters and replay."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from rop_wire import messages
from rop_wire.commands import Command

UID = "95270000000TEST1"


@dataclass
class Hook:
    """A receiver."""

    runner: Any
    port: int
    status: int = 200
    bodies: list[Any] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/s3cr3t"


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[Hook]:
    async def handle(request: web.Request) -> web.Response:
        made.bodies.append(json.loads(await request.read()))
        made.headers.append(request.headers)
        return web.Response(status=made.status)

    app = web.Application()
    app.router.add_post("/s3cr3t", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = Hook(runner, runner.addresses[0][1])
    yield made
    await runner.cleanup()


async def alarm(line: Any, *numbers: int) -> None:
    for number in numbers:
        event = messages.AlarmEvent(str(number), "MD", "people")
        assert (await line.ask(Command.ALARM, messages.AlarmMessage((event,)).encode())).status == 200


async def test_alarms_survive_kill_9_and_a_receiver_that_is_down(
    directory: Any, wire: Any, hook: Hook, tmp_path: Path, until: Any
) -> None:
    down = "http://127.0.0.1:1/s3cr3t"
    directory.configure(**{"alarm.enabled": True, "alarm.notificationURL": down})
    process = directory.spawn()
    directory.ready(process)
    url = f"http://127.0.0.1:{directory.numbers['clientHttp']}/v1.0/devices/initialization-session"
    async with aiohttp.ClientSession() as http, http.post(url, json={"uid": UID}) as answer:
        code = (await answer.json())["code"]
    root = (directory.path / "certs/ECC/Root/ca.pem").read_text()
    camera = wire.Camera(UID, directory.numbers, tmp_path, root)
    await camera.enrol(code)
    line = await camera.signaling()
    await alarm(line, *range(5))
    process.kill()
    process.communicate()
    await line.close()
    process = directory.spawn()
    directory.ready(process)
    # The receiver is up again at another address: edit the file, SIGHUP.
    raw = json.loads((directory.path / "config.json").read_text())
    raw["alarm"]["notificationURL"] = hook.url
    (directory.path / "config.json").write_text(json.dumps(raw))
    process.send_signal(signal.SIGHUP)
    await until(lambda: len(hook.bodies) >= 5, 40.0)
    assert [body["channelId"] for body in hook.bodies] == list("01234")
    assert all(headers["webhook-signature"].startswith("v1,") for headers in hook.headers)
    status, out, _ = directory.stop(process)
    assert status == 0
    reloaded = [json.loads(text) for text in out.splitlines() if '"reload"' in text]
    assert reloaded[0]["applied"] == ["alarm.notificationURL"]
    assert "s3cr3t" not in out


async def test_sinks_dead_letters_and_replay_by_management(
    server: Any, camera: Any, hook: Hook, manage: Any, directory: Any, until: Any
) -> None:
    await manage("PUT", "/manager", {"id": "engine"})
    sink = {"url": hook.url, "key": "whsec_" + "QUJD" * 8, "filter": {"statuses": ["MD"]}}
    assert (await manage("PUT", "/alarms/sinks/ops", sink))[0] == 409
    assert (await manage("PUT", "/alarms/sinks/ops", sink, fence="1"))[0] == 200
    for name, wrong in [
        ("Ops!", sink),
        ("webhook", sink),
        ("x", sink | {"url": "file:///etc/passwd"}),
        ("x", sink | {"key": "whsec_?"}),
        ("x", sink | {"filter": {"models": []}}),
        ("x", sink | {"enabled": "yes"}),
    ]:
        status, refusal = await manage("PUT", f"/alarms/sinks/{name}", wrong, fence="1")
        assert status == 422 and "passwd" not in json.dumps(refusal), name
    for wrong in ({"sink": 1}, {"sink": "\ud800"}, {"uid": "x"}, {"ids": "x"}, {"ids": [None]}, {"ids": ["a\n"]}):
        assert (await manage("POST", "/alarms/replay", wrong))[0] == 422
    assert await manage("POST", "/alarms/replay", {"ids": []}) == (200, {"replayed": 0})
    line = await camera.signaling()
    hook.status = 404
    await alarm(line, 0, 1)
    await until(lambda: server.alarms.counts["refused"] == 2)
    _, dead = await manage("GET", "/alarms/dead", sink="ops")
    assert [json.loads(item["body"])["channelId"] for item in dead["items"]] == ["1", "0"]
    hook.status = 200
    assert await manage("POST", "/alarms/replay", {"sink": "ops"}) == (200, {"replayed": 2})
    await until(lambda: server.alarms.counts["sent"] == 2)
    assert [body["channelId"] for body in hook.bodies] == ["0", "1", "0", "1"]
    _, told = await manage("GET", "/alarms")
    (state,) = told["sinks"]
    assert (state["name"], state["dead"], state["waiting"], state["enabled"]) == ("ops", 0, 0, True)
    assert state["address"] == f"http://127.0.0.1:{hook.port}/***"
    _, config = await manage("GET", "/config")
    assert "s3cr3t" not in json.dumps([told, config]) and config["members"]["rop.alarms"]["sinks"]
    secret = directory.path / "secrets/sink-ops.url"
    assert secret.read_text().strip() == hook.url and secret.stat().st_mode & 0o777 == 0o600
    assert (await manage("DELETE", "/alarms/sinks/ops", fence="1"))[0] == 200
    assert not secret.exists()
    assert (await manage("DELETE", "/alarms/sinks/ops", fence="1"))[0] == 404
    await alarm(line, 7)
    assert server.alarms.queued == 0


async def test_a_reload_that_cannot_be_used_changes_nothing(server: Any, directory: Any) -> None:
    path = directory.path / "config.json"
    whole = path.read_bytes()
    path.write_bytes(b"{")
    before = server.control.effective.raw
    await server.reload()
    assert server.control.effective.raw == before
    path.write_bytes(whole)
    rop = directory.path / "rop.json"
    told = json.loads(rop.read_text())
    told["integrity"] = "Report"
    rop.write_text(json.dumps(told))
    await server.reload()
    assert server.hub.settings.integrity.value == "Report"
