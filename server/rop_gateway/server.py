"""What the gateway asks rop-server, over the unix socket that rop-server keeps for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

ROOT = "http://rop-server/gateway/v1"
TIMEOUT = aiohttp.ClientTimeout(total=10.0)
SOCKET = "authorize.sock"


class ServerError(Exception):
    """rop-server does not answer, or refuses. `symbol` is its own word, `unreachable` without an answer."""

    def __init__(self, symbol: str, message: str) -> None:
        super().__init__(message)
        self.symbol = symbol


class RopServer:
    """Calls to rop-server."""

    def __init__(self, sockets: Path) -> None:
        self._path = sockets / SOCKET
        self._session: aiohttp.ClientSession | None = None

    async def authorize(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whether a caller may do this: `decision` (`allowed`, `unknown`, `forbidden`), `caller`, `pass`.

        Raises ServerError.
        """
        return await self._call("POST", "/authorize", request)

    async def certificate(self, request_pem: str) -> str:
        """A chain for a certificate request. Raises ServerError."""
        told = await self._call("POST", "/certificate", {"csr": request_pem})
        return str(told["chain"])

    async def report(self, status: Mapping[str, Any]) -> None:
        """Tell how we are. Raises ServerError."""
        await self._call("PUT", "/status", status)

    async def _call(self, method: str, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._session is None:
            connector = aiohttp.UnixConnector(path=str(self._path))
            self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        try:
            async with self._session.request(method, ROOT + path, json=body) as answer:
                told = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            text = f"rop-server does not answer on {self._path} ({type(error).__name__})"
            raise ServerError("unreachable", text) from None
        if answer.status != 200:
            why = told.get("error", {}) if isinstance(told, dict) else {}
            raise ServerError(str(why.get("symbol", "refused")), str(why.get("message", "rop-server refuses")))
        return dict(told)

    async def close(self) -> None:
        """Release the connections."""
        if self._session is not None:
            await self._session.close()
