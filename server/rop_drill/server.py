"""The restored server, run as the program that it is in production, and spoken to as its users do."""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from rop_data.layout import DataDir
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.strip import LOOPBACK

PROGRAM = (sys.executable, "-m", "rop_server")
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "FAKETIME", "LD_PRELOAD")
_STOP_SECONDS = 15.0
_MANAGER = "rop-drill"
_LOOK_AGAIN = 0.05


class RestoredServer:
    """A `rop-server --drill` on a scratch directory. It ends with its standard input: also when we are killed."""

    def __init__(self, directory: DataDir, client_port: int, program: Sequence[str] = PROGRAM) -> None:
        self._directory = directory
        self._program = tuple(program)
        self._url = f"http://{LOOPBACK}:{client_port}"
        self._log = directory.root.parent / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self._manage: aiohttp.ClientSession | None = None
        self._client: aiohttp.ClientSession | None = None
        self._fence = 0

    async def start(self, seconds: float) -> None:
        """Start and wait until every port listens. Raises DrillFailed."""
        with self._log.open("wb") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._program,
                    *("serve", "--drill", "--data", str(self._directory.root)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                )
            except OSError as failure:
                raise DrillFailed(Reason.SERVER_FAILED, f"{self._program[0]}: {failure.strerror}") from None
        path = str(self._directory.manage_socket)
        limit = aiohttp.ClientTimeout(total=60)
        self._manage = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), timeout=limit)
        self._client = aiohttp.ClientSession(timeout=limit)
        try:
            async with asyncio.timeout(seconds):
                await self._until_ready(self._process)
        except TimeoutError:
            raise DrillFailed(Reason.SERVER_FAILED, f"not ready within {seconds:g} s; {self._last()}") from None

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while True:
            if process.returncode is not None:
                raise DrillFailed(Reason.SERVER_FAILED, f"ended with status {process.returncode}: {self._last()}")
            with suppress(aiohttp.ClientError, OSError):
                status, _ = await self.manage("GET", "/ready")
                if status == 200:
                    return
            await asyncio.sleep(_LOOK_AGAIN)

    def _last(self) -> str:
        """The last line of its log, which holds no secret."""
        with self._log.open("rb") as log:
            lines = deque((line for line in log if line.strip()), maxlen=1)
        return lines[0].decode(errors="replace").strip()[:500] if lines else "it said nothing"

    async def manage(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call of the management interface: status and document."""
        assert self._manage is not None
        return await _ask(self._manage, method, f"http://server/manage/v1{path}", body)

    async def client(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call of the client API: status and document."""
        assert self._client is not None
        return await _ask(self._client, method, f"{self._url}/v1.0{path}", body)

    async def claim(self, uids: Sequence[str]) -> bool:
        """Let these UIDs enrol, as the manager of this copy; False when the server does not."""
        status, told = await self.manage("PUT", "/manager", {"id": _MANAGER, "takeOver": True})
        if status != 200:
            return False
        path = f"/claims?fence={told['fence']}"
        status, _ = await self.manage("PUT", path, {"policy": "Documented", "uids": list(uids)})
        return status == 200

    async def online(self, uid: str) -> bool:
        """Whether the client API lists the device."""
        status, told = await self.client("GET", "/devices")
        return status == 200 and any(each["uid"] == uid for each in told["items"])

    async def stop(self) -> None:
        """End it, kill it when it does not."""
        for session in (self._manage, self._client):
            if session is not None:
                await session.close()
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
        await process.wait()


async def _ask(session: aiohttp.ClientSession, method: str, url: str, body: Any) -> tuple[int, Any]:
    headers = {"Rop-Manager": _MANAGER}
    async with session.request(method, url, json=body, headers=headers) as answer:
        raw = await answer.read()
        with suppress(ValueError):
            return answer.status, json.loads(raw)
        return answer.status, None
