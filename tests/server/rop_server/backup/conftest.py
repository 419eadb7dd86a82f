"""A whole server with quick backups, people who can open its archives, and its management interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pyrage
import pytest
import uvloop

from free_ports import free_ports
from rop_data.archive.container import Opened
from rop_data.archive.items import Include
from rop_data.archive.restore import Expectation, examine
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_pki.envelope import Identities, parse_identities
from rop_server.app import Server, running
from rop_server.backup.due import Pace
from rop_server.backup.service import BackupOptions
from rop_server.net.ports import DEVICE_PORTS

LIMIT = 60.0
QUICK = Pace(poll=0.05, quiet=0.1, patience=1.0)


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class People:
    """Recipients as a policy has them, and the identities they keep."""

    recipients: list[dict[str, str]]
    identities: dict[str, Identities]


@pytest.fixture(scope="session")
def people() -> People:
    keys = {name: pyrage.x25519.Identity.generate() for name in ("alice", "bob", "drill")}
    recipients = [
        {"name": name, "key": str(key.to_public()), "scope": "WithoutRootKey" if name == "drill" else "All"}
        for name, key in keys.items()
    ]
    return People(recipients, {name: parse_identities(str(key).encode()) for name, key in keys.items()})


@dataclass
class Site:
    """A data directory, its server while one runs, and calls of its management interface."""

    directory: DataDir
    people: People
    includes: tuple[Include, ...] = ()
    server: Server | None = None
    http: aiohttp.ClientSession | None = None
    fence: int = 0
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def prepare(self) -> None:
        names = (*DEVICE_PORTS, "clientRtsp", "clientHttp")
        members = {f"ports.{name}": port for name, port in zip(names, free_ports(len(names)), strict=True)}
        with self.directory.lock():
            prepare(self.directory, {"ROP_HOSTNAME": "127.0.0.1"}, datetime.now(UTC), members)

    @asynccontextmanager
    async def running(self, pace: Pace = QUICK) -> AsyncIterator[Site]:
        options = BackupOptions(self.includes, loopback=True, pace=pace)
        async with running(self.directory.root, "127.0.0.1", "127.0.0.1", {}, backups=options) as server:
            server.book.subscribe(lambda event: self.events.append((event.type, event.data)))
            connector = aiohttp.UnixConnector(str(self.directory.manage_socket))
            async with aiohttp.ClientSession(connector=connector) as http:
                self.server, self.http = server, http
                _, taken = await self.call("PUT", "/manager", {"id": "engine", "takeOver": True})
                self.fence = taken["fence"]
                yield self

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        assert self.http is not None
        async with self.http.request(
            method,
            f"http://localhost/manage/v1{path}",
            json=body,
            params={"fence": str(self.fence), **query} if method != "GET" else query,
            headers={"Rop-Manager": "engine"},
        ) as answer:
            if answer.content_type == "application/octet-stream":
                return answer.status, await answer.read()
            return answer.status, await answer.json()

    def policy(self, *targets: Any, **more: Any) -> dict[str, Any]:
        """A policy for these directories (paths) or buckets (objects)."""
        listed = [
            each if isinstance(each, dict) else {"name": each.name, "directory": {"path": str(each)}}
            for each in targets
        ]
        return {"recipients": self.people.recipients, "targets": listed, **more}

    async def set(self, *targets: Any, **more: Any) -> Any:
        """Set a policy."""
        status, told = await self.call("PUT", "/backup", {"policy": self.policy(*targets, **more)})
        assert status == 200, told
        return told

    async def until(self, what: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The document `Backup` once it is as wanted."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            _, told = await self.call("GET", "/backup")
            if condition(told):
                assert isinstance(told, dict)
                return told
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what}: {told}")

    async def stored(self, *names: str) -> dict[str, Any]:
        """The archive stored last on each of these targets, once each has one."""

        def whole(told: dict[str, Any]) -> bool:
            return all(_target(told, name)["stored"] for name in names)

        told = await self.until(f"stored on {names}", whole)
        return {name: _target(told, name)["stored"] for name in names}

    def open(self, path: Path, who: str = "alice") -> Opened:
        """An archive, decrypted and checked."""
        from rop_data.archive.create import load

        header = load(path).header
        return examine(path, self.people.identities[who], Expectation(header.signer, header.root_sha256))


def _target(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in told["targets"] if each["name"] == name)
    return found


@pytest.fixture
def target() -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """A target of the document `Backup`."""
    return _target


@pytest.fixture
def site(tmp_path: Path, people: People) -> Site:
    made = Site(DataDir(tmp_path / "site"), people)
    made.prepare()
    return made


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory for archives."""
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"
