"""Requests made from an OpenAPI document, whether the answers are those it tells, a whole server to send to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from free_ports import free_ports
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_server.app import Server, running

REFERENCE = Path(__file__).parents[4] / "docs" / "reference"
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


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A whole server on free ports."""
    environment = {"ROP_HOSTNAME": "127.0.0.1"}
    members = {f"ports.{name}": port for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    directory = DataDir(tmp_path / "data")
    with directory.lock():
        prepare(directory, environment, datetime.now(UTC), members)
    async with running(directory.root, "127.0.0.1", "127.0.0.1", environment) as made:
        yield made


@dataclass(frozen=True)
class Call:
    """One request. `body` None: none is sent."""

    operation: str
    method: str
    template: str
    parameters: dict[str, Any]
    query: dict[str, Any]
    headers: dict[str, Any]
    body: Any

    @property
    def path(self) -> str:
        """The path with its parameters, quoted."""
        path = self.template
        for name, value in self.parameters.items():
            path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        return path

    @property
    def data(self) -> bytes | None:
        """The bytes of the body."""
        return self.body if self.body is None or isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Document:
    """An OpenAPI document of docs/reference: requests out, verdicts in."""

    def __init__(self, name: str) -> None:
        self.told = json.loads((REFERENCE / f"{name}-openapi.json").read_text())
        found = (each.ok() for each in schemathesis.openapi.from_dict(self.told).get_all_operations())
        self.operations = {self._told(each)["operationId"]: each for each in found}

    def _told(self, operation: Any) -> dict[str, Any]:
        told: dict[str, Any] = self.told["paths"][operation.path][operation.method]
        return told

    def calls(self, name: str, mode: GenerationMode) -> list[Call]:
        """Some requests of an operation, the same at every run; none when nothing can be wrong about them."""
        operation, found = self.operations[name], list[Call]()
        told = self._told(operation)
        if mode is GenerationMode.NEGATIVE and not (told.get("parameters") or "requestBody" in told):
            return found

        @hypothesis_settings(
            max_examples=EXAMPLES,
            database=None,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def collect(case: Any) -> None:
            body = _plain(case.body) if "requestBody" in told else None
            parts = (dict(part or {}) for part in (case.path_parameters, case.query, case.headers))
            found.append(Call(name, operation.method, operation.path, *parts, body))

        collect()
        return found

    def check(self, call: Call, status: int, kind: str, raw: bytes) -> None:
        """The answer must be one of those the document tells: status, type and body."""
        told = self._told(self.operations[call.operation])["responses"]
        said = f"{call.operation}: {status} {kind} {raw[:200]!r}"
        assert str(status) in told, said
        content = told[str(status)]["content"]
        assert kind in content, said
        schema = content[kind].get("schema")
        if schema is not None and kind == "application/json":
            validator = Draft202012Validator({**schema, "components": self.told["components"]})
            errors = [f"{each.json_path}: {each.message}" for each in validator.iter_errors(json.loads(raw))]
            assert errors == [], said


def _plain(body: Any) -> Any:
    """A body as JSON has it, or bytes."""
    if type(body).__name__ == "NotSet":
        return None
    return bytes(body.data) if hasattr(body, "data") else body


@pytest.fixture
def document() -> Callable[[str], Document]:
    """Reads `client` or `management`."""
    return Document
