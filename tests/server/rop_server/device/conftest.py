"""A whole server in its data directory, in this process or as the command a user runs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import uvloop

from free_ports import free_ports
from rop_server.app import Server, running

ROOT = Path(__file__).parents[4]
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
UID = "95270000000TEST1"
LIMIT = 20.0


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


def _camera_module() -> ModuleType:
    return _load("rop_server_device_camera", Path(__file__).parents[1] / "net" / "camera.py")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


clients = _load("rop_server_device_client", Path(__file__).with_name("client.py"))


@pytest.fixture
def scribe() -> ModuleType:
    """The module that writes the reference of 61009."""
    return _load("rop_server_device_reference", Path(__file__).with_name("reference.py"))


@pytest.fixture
def told() -> ModuleType:
    """The module with the client of 61009 and the answers of a camera."""
    return clients


@pytest.fixture
def wire() -> ModuleType:
    """The module of the test camera."""
    return _camera_module()


class Directory:
    """A data directory with free ports, and the command on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environment = {**os.environ, "ROP_HOSTNAME": "127.0.0.1"}
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def members(self) -> dict[str, Any]:
        """Port members as a patch."""
        return {f"ports.{name}": number for name, number in self.numbers.items()}

    def command(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run `rop-server` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "rop_server", *words],
            input=text,
            capture_output=True,
            text=True,
            env={**self.environment, "PYTHONPATH": str(ROOT / "server")},
            timeout=60,
            check=False,
        )

    def configure(self, **more: Any) -> None:
        """Prepare the directory offline."""
        patch = json.dumps({**self.members, **more})
        done = self.command("configure", "--data", str(self.path), "--patch", "-", text=patch)
        assert done.returncode == 0, done.stderr

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start the server."""
        process = subprocess.Popen(
            [sys.executable, "-m", "rop_server", "--data", str(self.path), "--bind", "127.0.0.1", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, "PYTHONPATH": str(ROOT / "server")},
        )
        self.processes.append(process)
        return process

    def ready(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for its line `ready`."""
        assert process.stdout is not None
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        try:
            for line in iter(process.stdout.readline, ""):
                told: dict[str, Any] = json.loads(line)
                if told["action"] == "ready":
                    return told
        finally:
            limit.cancel()
        raise AssertionError(f"the server did not become ready: {process.communicate()[1]}")

    def stop(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """SIGTERM; exit status, output, errors."""
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    """An unprepared data directory."""
    made = Directory(tmp_path / "data")
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.communicate()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest_asyncio.fixture
async def server(directory: Directory) -> AsyncIterator[Server]:
    """A server in this process."""
    from datetime import UTC, datetime

    from rop_data.layout import DataDir
    from rop_data.store import prepare

    data = DataDir(directory.path)
    with data.lock():
        prepare(data, directory.environment, datetime.now(UTC), directory.members)
    async with running(directory.path, "127.0.0.1") as made:
        yield made


@pytest_asyncio.fixture
async def camera(server: Server, directory: Directory, wire: ModuleType, tmp_path: Path) -> AsyncIterator[Any]:
    """An enrolled camera of the server in this process."""
    folder = tmp_path / "camera"
    folder.mkdir()
    made = wire.Camera(UID, directory.numbers, folder, server.site.root_pem.decode())
    await made.enrol(server.devices.issue_code(UID).code)
    yield made
    await made.close()


async def until(condition: Callable[[], Any], limit: float = LIMIT) -> None:
    """Turn the loop until the condition holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """Poll a condition with a deadline."""
    return until


@pytest_asyncio.fixture
async def client(server: Server, directory: Directory) -> AsyncIterator[Any]:
    """Calls the client interface of the server in this process."""
    async with aiohttp.ClientSession() as session:
        yield clients.Client(session, directory.numbers["clientHttp"])


@pytest_asyncio.fixture
async def manage(directory: Any) -> AsyncIterator[Any]:
    """Calls of the management interface."""
    connector = aiohttp.UnixConnector(str(directory.path / "run/manage.sock"))
    async with aiohttp.ClientSession(connector=connector) as http:

        async def call(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
            url = f"http://localhost/manage/v1{path}"
            headers = {"Rop-Manager": "engine"}
            content = {"data": body} if isinstance(body, bytes) else {"json": body}
            async with http.request(method, url, **content, params=query, headers=headers) as answer:
                return answer.status, await answer.json()

        yield call


@pytest_asyncio.fixture
async def line(camera: Any) -> Any:
    """The signaling connection of a camera that can do everything."""
    made = await camera.signaling()
    clients.equip(made)
    return made
