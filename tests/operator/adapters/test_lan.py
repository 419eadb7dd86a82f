"""Discovery and hand-over on a real loopback network, with a camera made of sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import cast

import pytest
from aiohttp import web

from rop_operator.adapters.lan import NetworkLan, interfaces
from rop_operator.api.facts import Found, Session
from rop_operator.ports import NothingSent, PortError
from rop_wire.lan import is_discovery_request

LOOPBACK = ("127.0.0.0/8",)
UID = "95270001ABCDEFGH"
DOCUMENT = {"uid": UID, "caHash": "x", "code": "Secret12", "host": "h", "getCAPort": 1, "time": 1}
SESSION = Session(UID, DOCUMENT, expires_at=datetime(2026, 1, 1, tzinfo=UTC))
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Camera(asyncio.DatagramProtocol):
    """Answers discovery with the given datagrams."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if is_discovery_request(data):
            self.asked += 1
            for answer in self.answers:
                self.transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, Camera]]:
    loop = asyncio.get_running_loop()
    transport, camera = await loop.create_datagram_endpoint(
        lambda: Camera(*answers), local_addr=("127.255.255.255", 0), allow_broadcast=True
    )
    try:
        yield transport.get_extra_info("sockname")[1], camera
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def serving(handler: Answering) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_post("/rop/setup", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def lan(port: int = 2000, cidrs: tuple[str, ...] = LOOPBACK, allow_loopback: bool = True) -> NetworkLan:
    return NetworkLan(cidrs, "127.255.255.255", port, allow_loopback)


async def test_cameras_are_found_once_each_and_noise_is_ignored() -> None:
    good = json.dumps({"uid": UID, "ip": "127.0.0.1", "port": 9527, "more": 1}).encode()
    noise = [b"", b"\xff" * 600, b"[]", b'{"uid":"x","ip":"127.0.0.1","port":9527}', good.replace(b"9527}", b"1}")]
    async with answering(*noise, good, good) as (port, camera):
        assert await lan(port).discover(1.2) == [Found(UID, "127.0.0.1", 9527)]
        assert camera.asked == 2, "asked again after a second"


async def test_without_a_camera_network_nothing_is_asked() -> None:
    async with answering() as (port, camera):
        with pytest.raises(PortError) as refused:
            await lan(port, cidrs=()).discover(0.1)
        assert refused.value.reason == "NotReachableFromHere"
        assert camera.asked == 0


@pytest.mark.parametrize(
    ("address", "cidrs", "allow_loopback"),
    [
        ("192.0.2.7", ("192.168.0.0/16",), True),
        ("127.0.0.1", LOOPBACK, False),
        ("224.0.0.1", ("224.0.0.0/4",), True),
        ("255.255.255.255", ("0.0.0.0/0",), True),
        ("192.168.1.255", ("192.168.1.0/24",), True),
        ("0.0.0.0", ("0.0.0.0/0",), True),
        ("camera.example", LOOPBACK, True),
        ("127.0.0.1", (), True),
    ],
)
async def test_other_addresses_are_never_contacted(
    address: str, cidrs: tuple[str, ...], allow_loopback: bool
) -> None:
    asked: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response({"message": "ok"})

    async with serving(handler) as port:
        with pytest.raises(NothingSent) as refused:
            await lan(cidrs=cidrs, allow_loopback=allow_loopback).hand_over(address, port, SESSION)
    assert refused.value.reason == "NotReachableFromHere"
    assert not asked


async def test_the_session_is_posted_as_it_is() -> None:
    got: list[tuple[str, object]] = []

    async def handler(request: web.Request) -> web.Response:
        got.append((request.headers["Content-Type"], await request.json()))
        return web.json_response({"message": "ok"})

    async with serving(handler) as port:
        assert await lan().hand_over("127.0.0.1", port, SESSION) is None
    assert got == [("application/json; charset=utf-8", DOCUMENT)]


@pytest.mark.parametrize(
    ("status", "body", "symbol"),
    [
        (400, {"error": {"symbol": "download_ca_failed", "message": "no"}}, "download_ca_failed"),
        (400, {"error": {"symbol": "registe_failed", "message": "no"}}, "registe_failed"),
        (400, {"error": {"symbol": "made up\x1b[2J", "message": "no"}}, "cmd_exec_error"),
        (500, {}, "cmd_exec_error"),
        (404, None, "cmd_exec_error"),
    ],
)
async def test_a_refusal_is_its_symbol(status: int, body: object, symbol: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    async with serving(handler) as port:
        assert await lan().hand_over("127.0.0.1", port, SESSION) == symbol


async def test_a_redirect_is_not_followed() -> None:
    asked = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        raise web.HTTPTemporaryRedirect("/rop/setup")

    async with serving(handler) as port:
        assert await lan().hand_over("127.0.0.1", port, SESSION) == "cmd_exec_error"
    assert asked == 1


async def test_no_connection_means_that_nothing_was_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(NothingSent) as silent:
        await lan().hand_over("127.0.0.1", port, SESSION)
    assert silent.value.reason == "CameraSilent"
    assert "Secret12" not in silent.value.message


async def test_a_connection_that_ends_without_an_answer_leaves_it_open() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handler) as port:
        with pytest.raises(PortError) as silent:
            await lan().hand_over("127.0.0.1", port, SESSION)
    assert silent.value.reason == "CameraSilent"
    assert not isinstance(silent.value, NothingSent)


def test_own_networks_leave_out_loopback() -> None:
    assert all(not network.is_loopback for network, _ in interfaces())
