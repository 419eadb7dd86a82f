"""What a camera offers on its LAN: discovery (UDP) and set-up (HTTP). Source: lan-setup 1 and 2."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from aiohttp import web

from rop_sim.camera import Camera
from rop_sim.provision import SetupError
from rop_wire import lan
from rop_wire.errors import ProtocolError
from rop_wire.lan import DiscoveryReply, SetupDocument, is_discovery_request

MAX_BODY = 65536


class Discovery(asyncio.DatagramProtocol):
    """Answers discovery requests, silent on anything else. `reply` gives the answer for an asker's address."""

    def __init__(self, reply: Callable[[str], DiscoveryReply]) -> None:
        self._reply = reply
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket."""
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer to the sender."""
        if is_discovery_request(data) and self._transport is not None:
            self._transport.sendto(self._reply(addr[0]).encode(), addr)


def discovery_socket(address: str, port: int) -> socket.socket:
    """A socket that shares its port with other cameras of this host.

    Linux gives a broadcast datagram to every socket bound to the port with SO_REUSEADDR, a unicast one to one of
    them only; several cameras on one host bind to the network's broadcast address (127.255.255.255 on loopback).
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def address_towards(asker: str) -> str:
    """Our IPv4 address on the way to an asker."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((asker, 9))
        own: str = probe.getsockname()[0]
        return own


def is_local(address: str | None) -> bool:
    """Whether a set-up request came from the local network (lan-setup 2)."""
    try:
        return address is not None and not ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False


def setup_app(camera: Camera) -> web.Application:
    """The HTTP service of a camera."""

    async def set_up(request: web.Request) -> web.Response:
        if not is_local(request.remote):
            return _json(400, lan.setup_error("cmd_exec_error", "set-up from the local network only"))
        try:
            document = SetupDocument.decode(await request.read())
            await camera.set_up(document)
        except ProtocolError as failure:
            return _json(400, lan.setup_error("invalid_parameter", _plain(str(failure))))
        except SetupError as failure:
            return _json(400, lan.setup_error(failure.symbol))
        return _json(200, lan.setup_ok())

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post(lan.SETUP_PATH, set_up)
    app.router.add_post(lan.SETUP_PATH + "/", set_up)
    return app


def _plain(text: str) -> str:
    """Messages are letters and blanks."""
    return "".join(c if c.isascii() and c.isalpha() else " " for c in text)[:256]


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8")


async def serve_setup(camera: Camera, address: str, port: int) -> tuple[web.AppRunner, int]:
    """Start the HTTP service; the runner to clean up and the port."""
    runner = web.AppRunner(setup_app(camera), access_log=None, shutdown_timeout=1)
    await runner.setup()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    await web.SockSite(runner, sock).start()
    chosen: int = sock.getsockname()[1]
    return runner, chosen
