"""HTTP to one core server: unix socket or TCP, bounded answers, no redirects, one egress rule for addresses."""

import asyncio
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rop_operator.ports import Endpoint, PortError

MAX_ANSWER = 64 * 1024 * 1024
CONNECT_TIMEOUT = 5.0
CALL_TIMEOUT = 75.0
SUN_PATH_LIMIT = 107
PIECE = 256 * 1024
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def forbidden_address(address: str, allow_loopback: bool) -> str | None:
    """Why an address may not be dialled, None when it may."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # The kernel and NAT64 gateways dial the IPv4 address that is inside.
        inside = ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None)
        ip = inside or ip
    if ip.is_loopback and not allow_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast or ip.is_unspecified:
        return "not a unicast address"
    return None


def check_literal(host: str, allow_loopback: bool) -> None:
    """Refuse a URL's host that is an address which may not be dialled; names are the resolver's. PortError."""
    try:
        why = forbidden_address(host, allow_loopback)
    except ValueError:
        return
    if why:
        raise PortError("EgressRefused", f"{host} is {why}, which is not dialled")


class EgressResolver(AbstractResolver):
    """Resolves once and dials exactly the addresses that were checked."""

    def __init__(self, allow_loopback: bool) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allow_loopback = allow_loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of a name; OSError when none is left."""
        found = await self._inner.resolve(host, port, family)
        allowed = [f for f in found if forbidden_address(f["host"], self._allow_loopback) is None]
        if found and not allowed:
            raise OSError(None, "resolves only to addresses that may not be dialled")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()


class Transport:
    """Requests to one endpoint. PortError: `Unreachable`, `EgressRefused`."""

    def __init__(self, endpoint: Endpoint, allow_loopback: bool) -> None:
        parts = urlsplit(endpoint.url)
        self._endpoint = endpoint
        self._allow_loopback = allow_loopback
        self._session: aiohttp.ClientSession | None = None
        self._folder: int | None = None
        self._socket = parts.path if parts.scheme == "unix" else None
        self._base = "http://server" if self._socket else endpoint.url.rstrip("/")
        if parts.scheme not in ("unix", "http", "https"):
            raise PortError(
                "Unreachable", f"a server's url starts with unix://, http:// or https://, not {parts.scheme}:"
            )
        if parts.scheme == "http" and endpoint.token is not None:
            raise PortError("EgressRefused", "a token is never sent without TLS: use https://")
        if self._socket is None:
            check_literal(parts.hostname or "", self._allow_loopback)

    def _socket_path(self, path: str) -> str:
        """A name of the socket short enough for sockaddr_un, through a descriptor of its folder if need be."""
        if len(os.fsencode(path)) <= SUN_PATH_LIMIT:
            return path
        if self._folder is None:
            self._folder = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{Path(path).name}"

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket is not None:
            return aiohttp.UnixConnector(self._socket_path(self._socket), limit=32)
        context: ssl.SSLContext | bool = True
        if self._endpoint.ca_pem is not None:
            context = ssl.create_default_context(cadata=self._endpoint.ca_pem.decode("ascii"))
        return aiohttp.TCPConnector(ssl=context, resolver=EgressResolver(self._allow_loopback), limit=32)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            headers = {"Authorization": f"Bearer {self._endpoint.token}"} if self._endpoint.token else {}
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
                trust_env=False,
            )
        return self._session

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> tuple[int, Any]:
        """Status and decoded JSON (None when the body is none). Raises PortError. A Path as body is that file."""
        limit = aiohttp.ClientTimeout(total=timeout or CALL_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        try:
            session = self._open()
            async with session.request(
                method,
                self._base + path,
                params=query,
                **_body(body),
                headers=headers,
                allow_redirects=False,
                timeout=limit,
                server_hostname=self._endpoint.server_name,
            ) as answer:
                raw = await _bounded(answer)
                return answer.status, decoded(raw)
        except TimeoutError as error:
            raise PortError("Unreachable", f"no answer from {self.where} in time") from error
        except (ssl.SSLError, aiohttp.ClientSSLError) as error:
            raise PortError("Unreachable", f"TLS with {self.where} failed: {_tls_reason(error)}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PortError("Unreachable", f"{self.where}: {_os_reason(error)}") from error

    async def fetch(
        self, path: str, query: Mapping[str, str | int], timeout: float = CALL_TIMEOUT
    ) -> tuple[int, bytes]:
        """Status and bytes of a GET. Raises PortError."""
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            async with self._open().get(
                self._base + path,
                params=query,
                allow_redirects=False,
                timeout=limit,
                server_hostname=self._endpoint.server_name,
            ) as answer:
                return answer.status, await _bounded(answer)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise PortError("Unreachable", f"{self.where}: {_os_reason(error)}") from error

    @property
    def where(self) -> str:
        """The address for people: no credentials, no query."""
        if self._socket is not None:
            return self._socket
        parts = urlsplit(self._endpoint.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    async def close(self) -> None:
        """Release connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)


def _body(body: Any) -> dict[str, Any]:
    if isinstance(body, Path):
        return {"data": _pieces(body)}
    return {"json": body}


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    """A file piece by piece, read beside the loop."""
    with await asyncio.to_thread(file.open, "rb") as source:
        while piece := await asyncio.to_thread(source.read, PIECE):
            yield piece


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in answer.content.iter_chunked(65536):
        size += len(piece)
        if size > MAX_ANSWER:
            raise ValueError("the answer is too long")
        pieces.append(piece)
    return b"".join(pieces)


def decoded(raw: bytes) -> Any:
    """JSON of an answer, None when it is none."""
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def _os_reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", error)
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno)
    if isinstance(inner, OSError) and inner.strerror:
        return str(inner.strerror)
    if isinstance(error, asyncio.IncompleteReadError | aiohttp.ServerDisconnectedError):
        return "the connection was closed"
    return type(error).__name__


def _tls_reason(error: BaseException) -> str:
    inner = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
    return str(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or type(inner).__name__)
