"""The interfaces of a whole server with a camera of the real wire: management, 61009, webhook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from rop_wire import messages, provisioning
from rop_wire.commands import Command

UID = "95270000000TEST1"


class Manage:
    """Calls `/manage/v1` over the unix socket as the manager `engine`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.fence = 0

    async def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        query = {name: str(value) for name, value in (query | {"fence": self.fence}).items()}
        headers = {"Rop-Manager": "engine"}
        url = f"http://localhost/manage/v1{path}"
        async with self._session.request(method, url, json=body, params=query, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture
async def manage(server: Any) -> AsyncIterator[Manage]:
    connector = aiohttp.UnixConnector(str(server.site.directory.manage_socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        made = Manage(session)
        _, taken = await made("PUT", "/manager", {"id": "engine"})
        made.fence = taken["fence"]
        yield made


async def test_enrolment_settings_and_denial(
    server: Any, manage: Manage, directory: Any, wire: Any, tmp_path: Any, until: Any
) -> None:
    status, refused = await manage("PUT", "/claims", {"policy": "Documented", "uids": []})
    status, refused = await manage("POST", f"/devices/{UID}/initialization-session")
    assert (status, refused["error"]["symbol"]) == (403, "auth_failed")
    await manage("PUT", f"/claims/{UID}")
    _, session = await manage("POST", f"/devices/{UID}/initialization-session")
    assert session["getCertPort"] == directory.numbers["getCertHttps"]
    (tmp_path / "camera").mkdir()
    camera = wire.Camera(UID, directory.numbers, tmp_path / "camera", server.site.root_pem.decode())
    try:
        await camera.enrol(session["code"])
        line = await camera.signaling()
        line.answers = {
            Command.GET_PIR: messages.PirConfig(True, 30, False).encode(),
            Command.SET_PIR: b"",
            Command.SET_GENERAL: b"",
        }
        body = {"write": {"displayName": "Yard", "pir.sensitivity": 70}, "read": []}
        status, answer = await manage("POST", f"/devices/{UID}/settings", body)
        assert (status, answer["written"], answer["errors"]) == (200, ["displayName", "pir.sensitivity"], {})
        sent = next(packet for packet in line.seen if packet.command == Command.SET_PIR)
        assert messages.PirConfig.decode(sent.payload) == messages.PirConfig(True, 70, False)
        _, document = await manage("GET", f"/devices/{UID}")
        assert document["state"] == "Online"
        assert document["pinnedRoot"] == {"sha256": server.site.authority.root_fingerprint, "assumed": False}
        assert document["settings"]["pir.sensitivity"]["value"] == 70
        assert document["registeredAt"] is not None

        _, denied = await manage("PUT", f"/devices/{UID}/access", {"access": "Denied"})
        assert denied["access"] == "Denied"
        await asyncio.wait_for(line.ended.wait(), 10)
        await until(lambda: server.book.document(UID)["state"] == "Offline")
        request = wire.post(provisioning.REGISTRATION_PATH, provisioning.RegistrationRequest(UID).encode())
        assert await wire.https(directory.numbers["registerHttps"], request, camera.context) == b""
        again = await camera.signaling(hello=False)
        await asyncio.wait_for(again.ended.wait(), 10)
        assert server.devices.link(UID) is None
        _, listed = await manage("GET", "/events", since=1, epoch=server.book.journal.epoch)
        told = [item["type"] for item in listed["items"]]
        for name in ("code.issued", "code.used", "device.certificate", "device.registered", "device.online"):
            assert name in told
        assert told[-2:] == ["device.access", "device.offline"]
    finally:
        await camera.close()


async def test_a_wake_up_serves_the_whole_request(server: Any, manage: Manage, camera: Any, until: Any) -> None:
    keep = await camera.keep_alive()
    keep.answers = {Command.WAKE_UP: messages.EMPTY_DOCUMENT}
    await until(lambda: server.devices.link(UID) is not None)
    path = f"/devices/{UID}/settings"
    body = {"write": {"displayName": "Gate"}, "read": ["alarm"]}
    assert (await manage("POST", path, body, wake="never"))[0] == 409
    call = asyncio.create_task(manage("POST", path, body, wake="allow"))
    await until(lambda: any(packet.command == Command.WAKE_UP for packet in keep.seen))
    line = await camera.signaling(hello=False)
    line.answers = {Command.SET_GENERAL: b"", Command.GET_ALARM_SWITCH: messages.AlarmSwitch(True).encode()}
    await line.handshake(UID, family="battery", model="Argus", firmware="v1")
    status, answer = await asyncio.wait_for(call, 15)
    assert (status, answer["woke"], answer["values"]) == (
        200,
        True,
        {"displayName": "Gate", "alarm.enabled": True},
    )
    _, document = await manage("GET", f"/devices/{UID}")
    assert (document["wakes"], document["state"]) == (1, "Online")


async def test_clients_and_the_webhook(
    server: Any, manage: Manage, camera: Any, directory: Any, until: Any
) -> None:
    got: list[bytes] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        _, applied = await manage(
            "PUT", "/config", {"members": {"alarm.enabled": True, "alarm.notificationURL": hook}}
        )
        assert set(applied["applied"]) == {"alarm.enabled", "alarm.notificationURL"}
        line = await camera.signaling()
        event = messages.AlarmEvent("0", "MD", "people,vehicle")
        assert (await line.ask(Command.ALARM, messages.AlarmMessage((event,)).encode())).status == 200
        await until(lambda: got)
        assert got == [b'{"uid":"95270000000TEST1","channelId":"0","status":"MD","AItype":"people,vehicle"}']
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{directory.numbers['clientHttp']}/v1.0/devices") as answer,
        ):
            assert json.loads(await answer.read()) == {
                "totalRows": 1,
                "items": [{"family": "powered", "uid": UID, "model": "RLC-1", "firmware": "v1"}],
            }
    finally:
        await runner.cleanup()
