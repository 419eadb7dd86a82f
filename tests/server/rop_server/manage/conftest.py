"""The management interface on a real unix socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import uvloop

from rop_data.firmware import FirmwareStore
from rop_server.core.facade import CallError
from rop_server.core.holds import Holds
from rop_server.core.upgrades import Upgrades
from rop_server.core.uploads import Uploads
from rop_server.manage.app import build_manage_app
from rop_server.manage.listener import ManageListener
from rop_server.rotation.item import PHASE_AFTER, Item, Order, RotationState, Step, due


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Answer:
    """Status, headers and document."""

    status: int
    headers: Any
    body: Any

    @property
    def symbol(self) -> str:
        return str(self.body["error"]["symbol"])


@dataclass
class Manager:
    """Calls `/manage/v1` and carries the manager's header and fence once it has them."""

    session: aiohttp.ClientSession
    base: str = "http://localhost"
    id: str | None = None
    fence: int | None = None

    async def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        headers = {} if self.id is None else {"Rop-Manager": self.id}
        if self.fence is not None and method != "GET":
            query.setdefault("fence", self.fence)
        params = {name: str(value) for name, value in query.items() if value is not None}
        url = f"{self.base}/manage/v1{path}"
        options: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.session.request(method, url, params=params, headers=headers, **options) as answer:
            text = await answer.text()
            document = await answer.json() if "json" in answer.content_type else text
            return Answer(answer.status, answer.headers, document)

    async def take(self, name: str = "engine", take_over: bool = False) -> Answer:
        answer = await self("PUT", "/manager", {"id": name, "takeOver": take_over})
        if answer.status == 200:
            self.id, self.fence = name, answer.body["fence"]
        return answer


class Steps:
    """An item that only counts its steps."""

    item = Item.DEVICE_KEY
    steps = (Step.PREPARE, Step.ROLL, Step.RETIRE, Step.ABORT)

    def __init__(self) -> None:
        self.now = RotationState(self.item, 1)

    def state(self) -> RotationState:
        return self.now

    async def take(self, order: Order) -> RotationState:
        if due(self.now, order, self.steps):
            self.now = replace(self.now, target=order.to_generation, phase=PHASE_AFTER[order.step])
        return self.now


class NoUpgrades:
    """A server that upgrades nothing; upgrades of cameras have tests with a whole server."""

    def __init__(self) -> None:
        self.holds = Holds(time.monotonic)
        self.on_settled: list[Any] = []

    def newest(self) -> list[Any]:
        return []

    async def start(self, _wanted: Any) -> Any:
        raise CallError("device_offline")


@pytest.fixture
def firmware(tmp_path: Path) -> FirmwareStore:
    return FirmwareStore(tmp_path / "firmware")


@pytest.fixture
def app_of(clock: Any, firmware: FirmwareStore) -> Callable[[Any, Any, Any], Any]:
    """Makes the application of devices, a book and a control."""

    def make(devices: Any, book: Any, control: Any) -> Any:
        return build_manage_app(
            *(devices, book, control),
            clock=clock,
            uploads=Uploads(firmware),
            upgrades=cast(Upgrades, NoUpgrades()),
            rotations={Item.DEVICE_KEY: Steps()},
        )

    return make


@pytest.fixture
def app(app_of: Any, devices: Any, book: Any, control: Any) -> Any:
    return app_of(devices, book, control)


@pytest.fixture
async def socket_path(app: Any, tmp_path: Path) -> AsyncIterator[Path]:
    listener = ManageListener(app)
    path = tmp_path / "run" / "manage.sock"
    await listener.start_unix(path)
    yield path
    await asyncio.wait_for(listener.stop(), 15)


@pytest.fixture
async def manage(socket_path: Path) -> AsyncIterator[Manager]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as session:
        yield Manager(session)
