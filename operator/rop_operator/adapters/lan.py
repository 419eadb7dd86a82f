"""The cameras' LAN: discovery by broadcast and the hand-over. Source: ROP v1.0 wire specification, lan-setup."""

import asyncio
import fcntl
import ipaddress
import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence

import aiohttp

from rop_operator.api.facts import Found, Session
from rop_operator.ports import NothingSent, PortError
from rop_wire.errors import ProtocolError
from rop_wire.lan import DISCOVERY_PORT, SETUP_PATH, DiscoveryReply, discovery_request, setup_answer

ANY = "0.0.0.0"  # noqa: S104  (answers come on whatever interface the camera is on)
LIMITED_BROADCAST = "255.255.255.255"
REQUESTS = 3
REQUEST_INTERVAL = 1.0
SETUP_TIMEOUT = 60.0
CONNECT_TIMEOUT = 5.0
MAX_SETUP_ANSWER = 65536
MAX_FOUND = 4096
_SIOCGIFADDR, _SIOCGIFBRDADDR, _SIOCGIFNETMASK = 0x8915, 0x8919, 0x891B

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NetworkLan:
    """`Lan` of this machine. Hand-overs go only to unicast addresses inside `cidrs`; none: no LAN is reachable."""

    def __init__(
        self,
        cidrs: Iterable[str],
        discovery_address: str = LIMITED_BROADCAST,
        discovery_port: int = DISCOVERY_PORT,
        allow_loopback: bool = False,
    ) -> None:
        """ValueError for a text that is no network."""
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(c, strict=False) for c in cidrs)
        self._address = discovery_address
        self._port = discovery_port
        self._allow_loopback = allow_loopback

    async def discover(self, seconds: float) -> Sequence[Found]:
        """Ask three times, a second apart, and collect answers until `seconds` are over; sorted, no duplicates."""
        if not self._networks:
            raise PortError("NotReachableFromHere", "no camera network is reachable from here: give --lan-cidrs")
        loop = asyncio.get_running_loop()
        found: set[Found] = set()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Collector(found), sock=_broadcast_socket())
        except OSError as error:
            raise PortError("NotReachableFromHere", f"no UDP socket: {error.strerror}") from error
        listener = await self._listener(found)
        try:
            await self._ask(transport, seconds)
        finally:
            transport.close()
            if listener is not None:
                listener.close()
        return sorted(found, key=lambda f: (f.uid, f.address, f.port))

    async def _listener(self, found: set[Found]) -> asyncio.BaseTransport | None:
        """Cameras may also answer to the discovery port itself; somebody else may hold it, which is no error."""
        if self._address != LIMITED_BROADCAST:
            return None
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Collector(found), local_addr=(ANY, self._port)
            )
        except OSError:
            return None
        return transport

    async def _ask(self, transport: asyncio.DatagramTransport, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        sent = 0
        for number in range(REQUESTS):
            for address in self._targets():
                sent += _send(transport, address, self._port)
            pause = REQUEST_INTERVAL if number < REQUESTS - 1 else seconds
            await asyncio.sleep(max(0.0, min(pause, end - loop.time())))
            if loop.time() >= end:
                break
        if not sent:
            raise PortError("NotReachableFromHere", "no network took the discovery broadcast")

    def _targets(self) -> list[str]:
        if self._address != LIMITED_BROADCAST:
            return [self._address]
        return [LIMITED_BROADCAST, *sorted({broadcast for _, broadcast in interfaces() if broadcast})]

    def refused(self, address: str) -> str | None:
        """Why a hand-over to this address is refused, None when it is allowed."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return f"{address[:64]!r} is not an IP address"
        if ip.is_multicast or ip.is_unspecified or address == LIMITED_BROADCAST:
            return f"{ip} is not a unicast address"
        if ip.is_loopback and not self._allow_loopback:
            return f"{ip} is a loopback address"
        inside = [n for n in self._networks if ip in n]
        if not inside:
            return f"{ip} lies outside the camera networks of this engine (--lan-cidrs)"
        if any(n.num_addresses > 2 and ip == n.broadcast_address for n in inside if n.version == 4):
            return f"{ip} is a broadcast address"
        return None

    async def hand_over(self, address: str, port: int, session: Session) -> str | None:
        """POST the session. The camera answers after it fetched its certificate, which may take a minute."""
        why = self.refused(address)
        if why:
            raise NothingSent("NotReachableFromHere", why)
        body = json.dumps(dict(session.document), separators=(",", ":")).encode()
        timeout = aiohttp.ClientTimeout(total=SETUP_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
                http.post(
                    f"http://{host}:{port}{SETUP_PATH}",
                    data=body,
                    headers={"Content-Type": "application/json; charset=utf-8"},
                    allow_redirects=False,
                ) as answer,
            ):
                return setup_answer(answer.status, await answer.content.read(MAX_SETUP_ANSWER))
        except aiohttp.ConnectionTimeoutError as error:
            raise NothingSent("CameraSilent", f"{address}:{port}: no connection in time") from error
        except TimeoutError as error:
            raise PortError("CameraSilent", f"{address}:{port} did not answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise NothingSent(
                "CameraSilent", f"{address}:{port}: {error.os_error.strerror or 'no connection'}"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PortError("CameraSilent", f"{address}:{port} closed the connection without an answer") from error


class _Collector(asyncio.DatagramProtocol):
    """Keeps what parses; anything may arrive here."""

    def __init__(self, found: set[Found]) -> None:
        self._found = found

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One answer, or noise."""
        try:
            reply = DiscoveryReply.decode(data)
        except ProtocolError:
            return
        if len(self._found) < MAX_FOUND:
            self._found.add(Found(reply.uid, reply.ip, reply.port))


def _broadcast_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind((ANY, 0))
    return sock


def _send(transport: asyncio.DatagramTransport, address: str, port: int) -> int:
    """1 when the request left. Straight through the socket, so that `no route` is seen."""
    descriptor = transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        try:
            sock.sendto(discovery_request(), (address, port))
        except OSError:
            return 0
    return 1


def interfaces() -> list[tuple[ipaddress.IPv4Network, str | None]]:
    """Networks of this machine's interfaces that are up, with their directed broadcast address."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            address, mask = _interface(sock, name, _SIOCGIFADDR), _interface(sock, name, _SIOCGIFNETMASK)
            if address is None or mask is None:
                continue
            network = ipaddress.ip_network(f"{address}/{mask}", strict=False)
            if isinstance(network, ipaddress.IPv4Network) and not network.is_loopback:
                broadcast = _interface(sock, name, _SIOCGIFBRDADDR)
                found.append((network, broadcast if broadcast != ANY else None))
    return found


def _interface(sock: socket.socket, name: str, request: int) -> str | None:
    try:
        answer = fcntl.ioctl(sock.fileno(), request, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])
