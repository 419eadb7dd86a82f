"""Sockets that somebody else opened and keeps, as systemd does: a restart loses no connection attempt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rop_server.net.inherited import Inherited

# What systemd does between fork and exec.
LAUNCH = """
import os, sys
numbers = [os.dup2(int(each), 200 + index) for index, each in enumerate(sys.argv[1].split(","))]
for index, number in enumerate(numbers):
    os.dup2(number, 3 + index)
os.closerange(200, 200 + len(numbers))
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers))}
os.execv(sys.executable, [sys.executable, "-m", "rop_server", *sys.argv[2:]])
"""


@pytest.fixture
def kept(directory: Any) -> Iterator[list[socket.socket]]:
    """Listening sockets of every port, and one that no service has."""
    with contextlib.ExitStack() as stack:
        numbers = [*directory.numbers.values(), 0]
        yield [stack.enter_context(socket.create_server(("127.0.0.1", number))) for number in numbers]


def launch(directory: Any, sockets: list[socket.socket]) -> subprocess.Popen[str]:
    numbers = [each.fileno() for each in sockets]
    words = [",".join(map(str, numbers)), "--data", str(directory.path), "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *words],
        pass_fds=numbers,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**directory.environment, "PYTHONPATH": str(Path(__file__).parents[4] / "server")},
    )
    directory.processes.append(process)
    return process


async def version(port: int) -> int:
    url = f"http://127.0.0.1:{port}/v1.0/devices"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status


async def root_ca(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /v1.0/cert/root HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_clients_that_come_during_a_restart_are_served_after_it(
    directory: Any, kept: list[socket.socket]
) -> None:
    directory.configure()
    process = launch(directory, kept)
    await asyncio.to_thread(directory.ready, process)
    assert await version(directory.numbers["clientHttp"]) == 200
    status, _, errors = directory.stop(process)
    assert status == 0, errors
    # Nobody runs now; these wait in the kernel's queue.
    early = asyncio.create_task(version(directory.numbers["clientHttp"]))
    device = asyncio.create_task(root_ca(directory.numbers["getCAHttps"]))
    with socket.create_connection(("127.0.0.1", directory.numbers["clientRtsp"])) as player:
        player.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n")
        player.setblocking(False)
        process = launch(directory, kept)
        await asyncio.to_thread(directory.ready, process)
        async with asyncio.timeout(20):
            assert await early == 200
            assert (await device).startswith(b"HTTP/1.1 ")
            answer = await asyncio.get_running_loop().sock_recv(player, 1000)
        assert answer.startswith(b"RTSP/1.0 200") and b"CSeq: 7" in answer
    assert directory.stop(process)[0] == 0


def test_sockets_for_another_process_are_left_alone() -> None:
    told = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"}
    assert len(Inherited.of(told)) == 0
    assert told == {}
    assert len(Inherited.of({})) == 0


def test_only_listening_tcp_sockets_are_taken() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        idle = stack.enter_context(socket.socket())
        datagram = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        first = 300
        for index, each in enumerate((server, idle, datagram)):
            os.dup2(each.fileno(), first + index)
        told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "4"}
        found = Inherited.of(told, first)
        assert len(found) == 1
        port = server.getsockname()[1]
        taken = found.take(port)
        assert taken is not None and not taken.getblocking() and not os.get_inheritable(taken.fileno())
        taken.close()
        assert found.take(port) is None
