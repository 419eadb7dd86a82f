"""Requests made from the OpenAPI document of the management interface, right and wrong ones, to a whole server.

Every answer is one the document tells: its status, its type, its body; never a 5xx but the documented one.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_server.app import Server, running

DOCUMENT = Path(__file__).parents[4] / "docs" / "reference" / "management-openapi.json"
TOLD = json.loads(DOCUMENT.read_text())
OPERATIONS = {
    f"{each.method.upper()} {each.path}": each
    for each in (found.ok() for found in schemathesis.openapi.from_dict(TOLD).get_all_operations())
}
EXAMPLES = 12
PORTS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


def _free_ports() -> list[int]:
    with ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in PORTS]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A whole server on free ports."""
    environment = {"ROP_HOSTNAME": "127.0.0.1"}
    members = {f"ports.{name}": port for name, port in zip(PORTS, _free_ports(), strict=True)}
    directory = DataDir(tmp_path / "data")
    with directory.lock():
        prepare(directory, environment, datetime.now(UTC), members)
    async with running(directory.root, "127.0.0.1", "127.0.0.1", environment) as made:
        yield made


def cases(operation: Any, mode: GenerationMode) -> list[Any]:
    """Some requests of one operation, the same at every run."""
    found: list[Any] = []

    @hypothesis_settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def _schema(operation: Any, status: int, kind: str) -> dict[str, Any] | None:
    told = TOLD["paths"][operation.path][operation.method]["responses"]
    assert str(status) in told, f"{operation.method} {operation.path} answered {status}"
    content = told[str(status)].get("content", {})
    assert not content or kind in content, f"{kind} instead of {list(content)}"
    schema: dict[str, Any] | None = content.get(kind, {}).get("schema")
    return schema


async def _check(session: aiohttp.ClientSession, case: Any, manager: dict[str, str], fence: int) -> None:
    operation = case.operation
    query = {name: str(value) for name, value in (case.query or {}).items() if name != "wait"}
    if "fence" in query and case.headers is not None and "Rop-Manager" in case.headers:
        query["fence"] = str(fence)  # as the manager, or nothing would ever be changed
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    body = (
        None if isinstance(case.body, type(schemathesis)) or "requestBody" not in _told(operation) else case.body
    )
    data = None if body is None else json.dumps(body, default=str).encode()
    async with session.request(
        operation.method, f"http://server{path}", params=query, data=data, headers=manager
    ) as answer:
        raw = await answer.read()
        schema = _schema(operation, answer.status, answer.content_type)
        assert answer.status < 500 or operation.path.endswith("/ready")
        if schema is not None and answer.content_type == "application/json":
            errors = Draft202012Validator({**schema, "components": TOLD["components"]}).iter_errors(
                json.loads(raw)
            )
            assert [f"{each.json_path}: {each.message}" for each in errors] == []


def _told(operation: Any) -> dict[str, Any]:
    told: dict[str, Any] = TOLD["paths"][operation.path][operation.method]
    return told


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
async def test_answers_are_those_of_the_document(server: Server, tmp_path: Path, mode: GenerationMode) -> None:
    connector = aiohttp.UnixConnector(str(DataDir(tmp_path / "data").manage_socket))
    sent = 0
    async with aiohttp.ClientSession(connector=connector) as session:
        for operation in OPERATIONS.values():
            if mode is GenerationMode.NEGATIVE and not (
                _told(operation).get("parameters") or "requestBody" in _told(operation)
            ):
                continue
            take = {"id": "schema", "takeOver": True}
            async with session.put("http://server/manage/v1/manager", json=take) as answer:
                fence = (await answer.json())["fence"]
            for case in cases(operation, mode):
                await _check(session, case, {"Rop-Manager": "schema"}, fence)
                sent += 1
    assert sent > 100
    assert all(server.ready().values())
