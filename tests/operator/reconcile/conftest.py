"""The engine with a world in memory: documents, one server with devices, a LAN, a runtime; all can fail.

Documents are in memory_store.py, the server and its devices in core_server.py."""

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_operator.api.facts import (
    Found,
    Ref,
    Session,
)
from rop_operator.ports import Drift, Endpoint, NothingSent, PortError, RuntimeState
from rop_operator.reconcile.engine import Engine

HOME = Ref("RopServer", "video", "home")
PATIENCE = 10.0
HERE = Path(__file__).parent


def _load(name: str) -> Any:
    """A file of this folder by path: folders of tests are not packages."""
    module_name = f"rop_operator_reconcile_{name}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


memory_store = _load("memory_store")
core_server = _load("core_server")


class FakeLan:
    """Cameras by address; `result` decides what a hand-over does: None, a symbol, or an error."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.found: list[Found] = []
        self.handed: list[tuple[str, int, str]] = []
        self.discoveries = 0
        self.error: PortError | None = None
        self.symbol: str | None = None
        self.joins = True
        self.before: Callable[[str], None] = lambda uid: None
        self.held: asyncio.Event | None = None

    async def discover(self, seconds: float) -> Sequence[Found]:
        self.discoveries += 1
        await asyncio.sleep(0)
        return list(self.found)

    async def hand_over(self, address: str, port: int, session: Session) -> str | None:
        self.before(session.uid)
        if self.held is not None:
            await self.held.wait()
        if isinstance(self.error, NothingSent):
            raise self.error
        self.handed.append((address, port, session.uid))
        if self.error is not None:
            raise self.error
        if self.symbol is None and self.joins:
            self.core.enrolled(session.uid)
        return self.symbol


class FakeRuntime:
    def __init__(self, core: Any) -> None:
        self.core = core
        self.calls: list[tuple[Any, ...]] = []
        self.state = "Running"
        self.message: str | None = None
        self.differs = Drift()

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        self.calls.append(("ensure", ref, dict(members), dict(environment)))
        if self.state == "Running":
            self.core.reachable = True
            self.core.config = {**members, **self.core.config}
        return RuntimeState(self.state, self.message, Endpoint("unix:///run/home.sock", "Management"))

    async def drift(self, ref: Ref) -> Drift:
        return self.differs

    async def restart(self, ref: Ref) -> RuntimeState:
        self.calls.append(("restart", ref))
        return RuntimeState("Starting", None, Endpoint("unix:///run/home.sock", "Management"))

    async def stop(self, ref: Ref) -> None:
        self.calls.append(("stop", ref))
        self.core.reachable = False


class FakeImages:
    """Files by hash; what `web` has can be fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web: dict[str, str] = {}
        self.error: PortError | None = None

    def find(self, sha256: str) -> Path | None:
        path = self.folder / sha256
        return path if path.exists() else None

    def keep(self, sha256: str, text: str) -> None:
        (self.folder / sha256).write_text(text)

    async def fetch(self, sha256: str, url: str) -> Path:
        if self.error is not None:
            raise self.error
        self.keep(sha256, self.web[url])
        return self.folder / sha256


class MovableClock:
    """The machine's time, moved ahead at will."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead.total_seconds()


class World:
    """Engine and surroundings; `start` and `kill` at will."""

    home = HOME

    def __init__(self, folder: Path) -> None:
        self.images = FakeImages(folder)
        self.store = memory_store.MemoryStore()
        self.secrets = memory_store.Secrets()
        self.core = core_server.Core()
        self.lan = FakeLan(self.core)
        self.runtime: FakeRuntime | None = FakeRuntime(self.core)
        self.clock = MovableClock()
        self.connected: list[Endpoint] = []
        self.engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def connect(self, endpoint: Endpoint) -> Any:
        self.connected.append(endpoint)
        return core_server.FakeServer(self.core)

    def start(self) -> None:
        self.store.restart()
        self._stop = asyncio.Event()
        self.engine = Engine(
            self.store, self.secrets, self, self.runtime, self.lan, self.clock, "engine-1", images=self.images
        )
        self._task = asyncio.create_task(self.engine.run(self._stop))

    async def kill(self) -> None:
        """As SIGKILL does: nothing is finished."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._stop.set()
            await asyncio.wait_for(self._task, PATIENCE)

    def look(self, ref: Ref) -> None:
        assert self.engine is not None
        self.engine.look_at(ref)

    def upgraded(self, uid: str) -> None:
        """The device came back with the version of the file that it was given."""
        (version,) = self.core.versions.values()
        upgrade = self.core.firmware.upgrades[uid].model_copy(update={"status": "upgrade_success"})
        upgrades = {**self.core.firmware.upgrades, uid: upgrade}
        self.core.firmware = replace(self.core.firmware, upgrades=upgrades)
        self.core.device(uid, firmware=version)

    # Documents

    def server(self, **spec: Any) -> None:
        self.store.apply(HOME, {"host": "192.0.2.1", **spec})

    def camera(self, name: str = "door", uid: str = "95270001ABCDEFGH", **spec: Any) -> Ref:
        ref = Ref("Camera", "video", name)
        self.store.apply(ref, {"serverRef": {"name": "home"}, "uid": uid, **spec})
        return ref

    # Waiting

    async def until(self, what: Callable[[], Any], why: str = "") -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not what():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            statuses = {str(ref): d.status for ref, d in self.store.documents.items()}
            raise AssertionError(f"never happened: {why}\n{statuses}\n{self.core.calls}") from None

    def condition(self, ref: Ref, type_: str) -> Mapping[str, Any]:
        document = self.store.documents.get(ref)
        conditions = document.status.get("conditions", ()) if document else ()
        return next((c for c in conditions if c["type"] == type_), {})

    async def reaches(self, ref: Ref, type_: str, status: str = "True", reason: str | None = None) -> None:
        def there() -> bool:
            found = self.condition(ref, type_)
            return found.get("status") == status and reason in (None, found.get("reason"))

        await self.until(there, f"{ref} {type_}={status} {reason or ''}")

    async def quiet(self) -> None:
        """Everything that is due now has been done: nothing is written or called for a while."""

        def sign() -> tuple[int, int, int]:
            return len(self.store.statuses), len(self.core.calls), self.core.lists

        async with asyncio.timeout(PATIENCE):
            while True:
                before = sign()
                await asyncio.sleep(0.6)
                if sign() == before:
                    return


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.stop()
