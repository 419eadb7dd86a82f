"""61009 on a real socket, spoken to with raw bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from rop_data.config import Config
from rop_server.client.app import build_client_app
from rop_server.client.listener import ClientListener

CA_HASH = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Answer:
    """Status line, headers (lower case) and body."""

    status_line: str
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def symbol(self) -> str:
        return str(self.json()["error"]["symbol"])


@dataclass(frozen=True)
class Client:
    """Sends requests exactly as they are written."""

    listener: ClientListener

    async def raw(self, data: bytes, *, head_only: bool = False) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        try:
            writer.write(data)
            return await read_answer(reader, head_only)
        finally:
            writer.close()
            await writer.wait_closed()

    async def __call__(self, method: str, target: str, body: Any = None) -> Answer:
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n"
        return await self.raw(head.encode("latin-1") + payload, head_only=method == "HEAD")


async def read_answer(reader: asyncio.StreamReader, head_only: bool = False) -> Answer:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if head_only else int(headers.get("content-length", 0))
    return Answer(status_line, headers, await asyncio.wait_for(reader.readexactly(length), 10))


@pytest.fixture
async def listener(devices: Any, config: Config, clock: Any) -> AsyncIterator[ClientListener]:
    running = ClientListener(build_client_app(devices, lambda: config, lambda: CA_HASH, clock))
    await running.start(socket.create_server(("127.0.0.1", 0)))
    yield running
    await running.stop(1)


@pytest.fixture
def client(listener: ClientListener) -> Client:
    return Client(listener)
