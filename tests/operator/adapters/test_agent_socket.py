"""The agent's socket: what ropctl asks of a host."""

import os
import stat
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rop_operator.adapters.agent_socket import AgentSocket
from rop_operator.adapters.fleet_transport import Transport
from rop_operator.adapters.host_database import HostDatabase
from rop_operator.adapters.host_store import HostStore
from rop_operator.adapters.image_store import ImageStore
from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import Question
from rop_operator.ports import Endpoint, PortError

UID = "95270001ABCDEFGH"
API = {"apiVersion": "rop.dev/v1alpha1"}
SERVER = {
    **API,
    "kind": "RopServer",
    "metadata": {"name": "home", "namespace": "video"},
    "spec": {"host": "192.0.2.1"},
}
CAMERA = {
    **API,
    "kind": "Camera",
    "metadata": {"name": "door", "namespace": "video"},
    "spec": {"serverRef": {"name": "home"}, "uid": UID},
}


class Operations:
    async def session(self, server: Ref, uid: str) -> Session:
        if uid != UID:
            raise PortError("AuthFailed", "not claimed")
        return Session(uid, {"uid": uid, "code": "Secret12"}, expires_at=datetime(2026, 1, 1, tzinfo=UTC))

    async def ask(self, server: Ref, question: Question) -> dict[str, Any]:
        return {"server": str(server), "verb": question.verb, **question.arguments}

    def look_at(self, ref: Ref) -> None:
        self.looked = ref

    async def discover(self, seconds: float) -> Sequence[Found]:
        return [Found(UID, "192.0.2.44", 9527)]

    def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        return [DeviceFacts(uid=UID, state="Asleep", family="battery")]


class Client:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._transport = Transport(Endpoint(f"unix://{path}", "Management"), True)

    async def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        return await self._transport.call(method, path, query=query or None, body=body)

    async def close(self) -> None:
        await self._transport.close()


@pytest.fixture(params=["short", "long"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """Also below a directory whose name leaves no room in a socket address."""
    state = tmp_path / ("s" if request.param == "short" else "s" * 120)
    state.mkdir()
    (tmp_path / "fleet").mkdir()
    database = HostDatabase(state / "agent.db")
    store = HostStore(tmp_path / "fleet", database)
    store.rescan()
    served = AgentSocket(store, Operations(), ImageStore(state / "firmware"), {"manager": "rop-agent/x"})
    await served.start(state / "agent.sock")
    asking = Client(state / "agent.sock")
    yield asking
    await asking.close()
    await served.stop()
    database.close()
    assert not (state / "agent.sock").exists()


async def test_objects_come_and_go(client: Client) -> None:
    assert (await client("GET", "/v1/objects"))[1]["items"] == []
    status, answer = await client("POST", "/v1/apply", {"documents": [SERVER, CAMERA], "source": "f.yaml"})
    assert status == 200
    assert answer["results"] == [
        {"ref": "RopServer/video/home", "result": "created"},
        {"ref": "Camera/video/door", "result": "created"},
    ]
    _, listed = await client("GET", "/v1/objects", kind="cam", namespace="video")
    (item,) = listed["items"]
    assert (item["apiVersion"], item["kind"], item["spec"]) == (CAMERA["apiVersion"], "Camera", CAMERA["spec"])
    assert item["metadata"]["generation"] == 1
    assert set(item["metadata"]) >= {"name", "namespace", "uid", "creationTimestamp"}
    assert (await client("GET", "/v1/objects/camera/video/door"))[1] == item
    assert (await client("GET", "/v1/objects", kind="Camera", namespace="other"))[1]["items"] == []
    assert (await client("DELETE", "/v1/objects/Camera/video/door"))[0] == 202
    assert (await client("GET", "/v1/objects/Camera/video/door"))[0] == 404


async def test_refusals_name_everything_and_change_nothing(client: Client) -> None:
    bad = {**CAMERA, "spec": {**CAMERA["spec"], "uid": "short", "colour": "red"}}
    status, answer = await client("POST", "/v1/apply", {"documents": [SERVER, bad], "source": "f.yaml"})
    assert status == 422
    assert {(e["file"], e["field"]) for e in answer["errors"]} == {
        ("f.yaml", "spec.uid"),
        ("f.yaml", "spec.colour"),
    }
    assert all(e["text"].startswith("f.yaml: document 2 (Camera/video/door)") for e in answer["errors"])
    assert (await client("GET", "/v1/objects"))[1]["items"] == []


async def test_deleting_a_server_needs_to_be_acknowledged(client: Client) -> None:
    await client("POST", "/v1/apply", {"documents": [SERVER], "source": "-"})
    status, answer = await client("DELETE", "/v1/objects/RopServer/video/home")
    assert (status, answer["error"]["reason"]) == (409, "AcknowledgementMissing")
    wanted = {**SERVER, "spec": {"host": "192.0.2.1", "acknowledge": [{"edge": "DeleteServer", "value": "home"}]}}
    await client("POST", "/v1/apply", {"documents": [wanted], "source": "-"})
    assert (await client("DELETE", "/v1/objects/RopServer/video/home"))[0] == 202


async def test_sessions_and_discovery(client: Client) -> None:
    path = "/v1/servers/video/home/initialization-session"
    assert (await client("POST", path, {"uid": UID}))[0] == 404
    await client("POST", "/v1/apply", {"documents": [SERVER], "source": "-"})
    status, answer = await client("POST", path, {"uid": UID})
    assert status == 200
    assert answer == {"document": {"uid": UID, "code": "Secret12"}, "expiresAt": "2026-01-01T00:00:00Z"}
    assert (await client("POST", path, {"uid": "X"}))[1]["error"]["reason"] == "AuthFailed"
    assert (await client("POST", "/v1/discover", {"seconds": 1}))[1]["items"] == [
        {"uid": UID, "address": "192.0.2.44", "port": 9527}
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/objects/Pod/video/door", None, 404),
        ("GET", "/v1/objects/Camera/video/none", None, 404),
        ("DELETE", "/v1/objects/Camera/video/none", None, 404),
        ("POST", "/v1/apply", [], 400),
        ("POST", "/v1/apply", {"documents": {}}, 400),
        ("POST", "/v1/apply", {"documents": [1]}, 400),
        ("POST", "/v1/discover", {"seconds": -1}, 400),
        ("POST", "/v1/discover", {"seconds": True}, 400),
        ("GET", "/v1/watch?since=x", None, 400),
        ("PUT", "/v1/objects", None, 405),
    ],
)
async def test_bad_requests_are_answered_with_a_reason(
    client: Client, method: str, path: str, body: Any, status: int
) -> None:
    code, answer = await client(method, path, body)
    assert code == status
    assert answer["error"]["reason"]
    assert answer["error"]["message"]
    assert (await client("GET", "/v1/health"))[1]["status"] == "ok"


async def test_a_body_that_is_no_json(client: Client) -> None:
    if len(os.fsencode(client.path)) > 100:
        return
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(client.path))) as session,
        session.post("http://agent/v1/apply", data=b"\xff{") as answer,
    ):
        assert answer.status == 400


async def test_health_shows_errors_of_files_and_the_socket_is_not_for_everybody(client: Client) -> None:
    fleet = client.path.parent.parent / "fleet"
    (fleet / "bad.yaml").write_text("kind: Secret\napiVersion: v1\n")
    await client("POST", "/v1/apply", {"documents": [SERVER], "source": "-"})
    _, health = await client("GET", "/v1/health")
    assert (health["source"], health["manager"]) == ("Ok", "rop-agent/x")
    assert [e["file"] for e in health["errors"]] == ["bad.yaml"]
    assert stat.S_IMODE(client.path.stat().st_mode) == 0o660


async def test_events_and_watch(client: Client) -> None:
    _, first = await client("GET", "/v1/watch", since=0, wait=0)
    await client("POST", "/v1/apply", {"documents": [SERVER, CAMERA], "source": "-"})
    _, second = await client("GET", "/v1/watch", since=first["next"], wait=5)
    assert sorted(second["refs"]) == ["Camera/video/door", "RopServer/video/home"]
    assert (await client("GET", "/v1/events", kind="camera", namespace="video", name="door"))[1]["items"] == []


async def test_devices_and_questions_about_a_server(client: Client) -> None:
    await client("POST", "/v1/apply", {"documents": [SERVER], "source": "f.yaml"})
    status, answer = await client("GET", "/v1/servers/video/home/devices")
    assert (status, answer["items"][0]["state"], answer["items"][0]["uid"]) == (200, "Asleep", UID)
    assert (await client("GET", "/v1/servers/video/other/devices"))[0] == 404
    path = "/v1/servers/video/home/questions"
    status, answer = await client("POST", path, {"verb": "DeadAlarms", "arguments": {"uid": UID}})
    assert (status, answer) == (200, {"server": "RopServer/video/home", "verb": "DeadAlarms", "uid": UID})
    status, answer = await client("POST", path, {"verb": "Config", "arguments": {}})
    assert (status, answer["error"]["reason"]) == (400, "BadRequest")
    assert "Alarms, DeadAlarms" in answer["error"]["message"]
