"""Requests made from the OpenAPI document of 61009, right and wrong ones, to a server with a virtual camera.

Every answer is one the document tells: its status, its type, its symbol and message; whatever the camera does.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from yarl import URL

from rop_server.client.operations import OPERATIONS
from rop_server.session import session_document
from rop_sim.camera import Camera
from rop_sim.device import Traits
from rop_sim.extras import Extras
from rop_wire.lan import SetupDocument

WIRED, BATTERY = "95270000000TEST1", "95270000000TEST2"
FIRMWARE = "CAM_v3.2.0.1_25010100.pak"


@pytest.fixture
def told(document: Any) -> Any:
    return document("client")


async def until(condition: Any, limit: float = 30.0) -> None:
    """Turn the loop until the condition holds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


async def _join(server: Any, made: Camera) -> asyncio.Task[None]:
    """Hand a camera over to the server and wait until it is online."""
    uid = made.traits.uid
    life = asyncio.create_task(made.run())
    handed = session_document(server.devices.issue_code(uid), server.site.config, server._ca_hash, 1_700_000_000)
    await made.set_up(SetupDocument.decode(json.dumps(handed).encode()))
    await until(lambda: server.devices.link(uid) is not None)
    return life


@pytest.fixture
async def cameras(server: Any, tmp_path: Path) -> AsyncIterator[list[Camera]]:
    """Virtual cameras that are online and can do everything."""
    extras = Extras(recordings=200, reboot_seconds=0.05)
    traits = (Traits(WIRED, ptz=True, wifi=True), Traits(BATTERY, ptz=True, battery=True))
    made = [Camera(tmp_path / each.uid, each, 0.02, extras=extras) for each in traits]
    lives = [await _join(server, each) for each in made]
    await until(lambda: server.devices.link(WIRED).wired)
    await until(lambda: server.devices.link(BATTERY).battery)
    yield made
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)


class Caller:
    """Sends requests to 61009 and has the document judge the answers. `known`: what earlier answers told."""

    def __init__(self, session: aiohttp.ClientSession, port: int, told: Any) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"
        self._told = told
        self.known: dict[str, str] = {"session-id": "0" * 32, "fileName": "none"}
        self.answers: Counter[tuple[str, int]] = Counter()

    async def send(self, call: Any) -> None:
        query = {name: str(value) for name, value in call.query.items()}
        url = URL(self._base + call.path, encoded=True).extend_query(query)
        async with self._session.request(call.method, url, data=call.data) as answer:
            raw = await answer.read()
        self._told.check(call, answer.status, answer.content_type, raw)
        self.answers[call.operation, answer.status] += 1
        if answer.status == 200 and answer.content_type == "application/json":
            self._learn(json.loads(raw))

    def _learn(self, answer: dict[str, Any]) -> None:
        if "sessionId" in answer:
            self.known["session-id"] = answer["sessionId"]
        for item in answer.get("items", ()):
            if "fileName" in item:
                self.known["fileName"] = item["fileName"]

    def served(self, call: Any, uid: str = WIRED) -> Any:
        """The request with what the camera has in place of made-up values."""
        real = self.known | {
            "uid": uid,
            "record_date": f"{datetime.now() - timedelta(days=1):%Y-%m-%d}",
            "start_at": "00:00:00",
            "end_at": "23:59:59",
            "channel": 0,
            "upgradeFile": FIRMWARE,
            "direction": "left",
            "cmd": 105 if call.operation == "post_signal" else 104,
            "body": {"Param007": {"attr012": "Yard"}},
        }
        return replace(
            call,
            parameters=_real(call.parameters, {name: real[name] for name in ("uid", "session-id")}),
            query=_real({name: value for name, value in call.query.items() if name != "next_token"}, real),
            body=_real(call.body, real) if isinstance(call.body, dict) else call.body,
        )


def _real(members: dict[str, Any], real: dict[str, Any]) -> dict[str, Any]:
    return {name: real.get(name, value) for name, value in members.items()}


@pytest.fixture
async def caller(server: Any, cameras: list[Camera], told: Any) -> AsyncIterator[Caller]:
    await server.control.apply(
        {"rop.signalCommands": [104, 105], "timeout.signalingExec": 500, "timeout.snap": 5000}
    )
    async with aiohttp.ClientSession() as session:
        yield Caller(session, server.client.port, told)


def test_the_document_is_one_and_tells_every_call(told: Any) -> None:
    validate(told.told)
    described = [(each.method.upper(), each.path) for each in told.operations.values()]
    assert sorted(described) == sorted((each.method, each.path) for each in OPERATIONS)


async def test_right_requests(caller: Caller, server: Any, told: Any) -> None:
    """As generated, for devices that are not there; for two that are, where every call succeeds at least once."""
    server.firmware.folder.mkdir(exist_ok=True)
    (server.firmware.folder / FIRMWARE).write_bytes(bytes(50_000))
    for name in told.operations:
        for call in told.calls(name, GenerationMode.POSITIVE):
            await caller.send(call)
            for uid in (BATTERY, WIRED):
                await caller.send(caller.served(call, uid))
        await until(lambda: not server.upgrades.running)
    assert [name for name in told.operations if not caller.answers[name, 200]] == []
    assert all(server.ready().values())


async def test_wrong_requests(caller: Caller, server: Any, told: Any) -> None:
    for name in told.operations:
        for call in told.calls(name, GenerationMode.NEGATIVE):
            await caller.send(call)
    assert sum(count for (_, status), count in caller.answers.items() if status >= 400) > 150
    assert all(server.ready().values())


@pytest.mark.parametrize("fault", ["refuse-all=500", "no-answers", "garbage"])
async def test_whatever_the_camera_does(caller: Caller, cameras: list[Camera], told: Any, fault: str) -> None:
    cameras[0].faults.set(fault)
    calls = [told.calls(name, GenerationMode.POSITIVE)[-1] for name in told.operations]
    await asyncio.gather(*(caller.send(caller.served(call)) for call in calls))
    assert caller.answers["get_pir", 400] + caller.answers["get_pir", 404] == 1
