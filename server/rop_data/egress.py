"""Outgoing HTTP to addresses that a document names: the address that was checked is the one that is dialled,
answers and their time are bounded, redirects are not followed (they would carry credentials anywhere).
"""

import io
import ipaddress
import socket
import ssl
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_S, READ_S = 10.0, 30.0
# What tells how the bytes came over the wire; they are here already.
_FRAMING = {"content-encoding", "content-length", "transfer-encoding"}


class Forbidden(Exception):
    """The name leads to an address that is never dialled."""


class NotReached(Exception):
    """Nobody answers at the name."""


class TooMuch(Exception):
    """An answer is longer, or takes longer, than allowed."""


def permitted(address: str) -> bool:
    """False for loopback, link-local, multicast and unspecified addresses, also when written as IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def resolve(host: str, port: int, loopback: bool) -> list[tuple[Any, ...]]:
    """Addresses of a host, each checked. `loopback` permits all. Raises Forbidden and NotReached."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotReached(f"the name {host} is not known") from None
    allowed = [each for each in found if loopback or permitted(str(each[4][0]))]
    if not allowed:
        raise Forbidden(f"{host} is an address of this machine or link, which is never dialled")
    return allowed


def _dial(connection: HTTPConnection, loopback: bool) -> socket.socket:
    """Connect to the first checked address that answers."""
    last = "no answer"
    for family, kind, protocol, _, address in resolve(connection.host, connection.port, loopback):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(CONNECT_S)
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as failure:
            made.close()
            last = failure.strerror or str(failure)
            continue
        return made
    raise NotReached(f"{connection.host}:{connection.port}: {last}")


def _pools(loopback: bool, seconds: float) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections dial checked addresses; `seconds` bounds the sending of a request's body."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, loopback)

        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(seconds)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, loopback)

        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(seconds)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class Outgoing(urllib3.PoolManager):
    """A pool for one exchange with one server. `limit`: bytes of an answer; `seconds`: for the whole exchange."""

    def __init__(self, ca_pem: str | None, loopback: bool, limit: int, seconds: float) -> None:
        context = ssl.create_default_context(cadata=ca_pem)
        timeout = urllib3.Timeout(connect=min(CONNECT_S, seconds), read=min(READ_S, seconds))
        super().__init__(num_pools=2, maxsize=1, ssl_context=context, retries=False, timeout=timeout)
        self.pool_classes_by_scheme = _pools(loopback, seconds)
        self._limit = limit
        self._ends = time.monotonic() + seconds

    def urlopen(self, method: str, url: str, redirect: bool = False, **kw: Any) -> Any:  # type: ignore[override]
        """One request. The body of the answer is read whole, within the bounds. Raises TooMuch."""
        preload = kw.pop("preload_content", True)
        answer = super().urlopen(method, url, redirect=False, preload_content=False, **kw)
        try:
            body = self._read(answer)
        finally:
            answer.close()
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _FRAMING}
        return urllib3.HTTPResponse(
            io.BytesIO(body),
            headers,
            answer.status,
            reason=answer.reason,
            preload_content=preload,
            request_method=method,
        )

    def _read(self, answer: Any) -> bytes:
        found = bytearray()
        while True:
            if time.monotonic() > self._ends:
                raise TooMuch("the answer takes too long")
            # One system call at a time, so that a trickle is noticed.
            piece = answer.read1(65_536)
            if not piece:
                return bytes(found)
            found += piece
            if len(found) > self._limit:
                raise TooMuch(f"the answer has more than {self._limit} bytes")
