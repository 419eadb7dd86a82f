"""`make bench`: what the server costs, in CPU seconds, KiB and ratios. Prints a table; `BENCH_JSON=FILE` keeps it.

Goals are printed beside the results; nothing here asserts a wall-clock time. DEVICES=N changes the size.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from rop_data.layout import DataDir
from rop_pki import Authority, create_intermediate, create_root
from rop_sim.fleet import Fleet, uids

BIN = Path(sys.executable).parent
TICKS = os.sysconf("SC_CLK_TCK")
PORTS = (
    "getCAHttps",
    "getCertHttps",
    "registerHttps",
    "keepAliveTCP",
    "signalingTLS",
    "streamTLS",
    "streamTCP",
    "clientRtsp",
    "clientHttp",
)
REQUESTS = 10_000


class Server:
    """A running rop-server and what it has used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDir(folder / "data")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))

    def start(self) -> None:
        """Configure and start; returns when it is ready."""
        environment = {**os.environ, "ROP_HOSTNAME": "127.0.0.1"}
        members = json.dumps({f"ports.{name}": number for name, number in self.ports.items()})
        command = [f"{BIN}/rop-server", "configure", "--data", str(self.data.root), "--patch", "-"]
        subprocess.run(command, input=members, env=environment, text=True, check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [f"{BIN}/rop-server", "--data", str(self.data.root), "--bind", "127.0.0.1"],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr.log").open("wb"),
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if '"ready"' in line:
                break
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def stop(self) -> int:
        """Stop gracefully; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def url(self) -> str:
        """The client API."""
        return f"http://127.0.0.1:{self.ports['clientHttp']}"

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """KiB of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    async def open_enrolment(self) -> None:
        """Let any UID enrol."""
        connector = aiohttp.UnixConnector(str(self.data.manage_socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.put(
                "http://server/manage/v1/manager", json={"id": "bench", "takeOver": True}
            ) as answer:
                fence = (await answer.json())["fence"]
            body = {"policy": "Open", "uids": []}
            address = f"http://server/manage/v1/claims?fence={fence}"
            async with session.put(address, json=body, headers={"Rop-Manager": "bench"}) as answer:
                answer.raise_for_status()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A fresh server."""
    with tempfile.TemporaryDirectory(prefix="rop-bench-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


async def connects(server: Server, count: int, battery: bool) -> dict[str, float]:
    """CPU and memory of `count` devices that connect; the GET rate with wired ones online."""
    await server.open_enrolment()
    fleet = Fleet(server.url, battery)
    await fleet.enrol(list(uids("BENCH", count)), lambda _: None)
    cpu, memory = server.cpu(), server.resident()
    await fleet.connect()
    used = {
        "cpuPer1000": (server.cpu() - cpu) * 1000 / count,
        "kibPerDevice": (server.resident() - memory) / count,
    }
    if not battery:
        used["getDevicesPerCpuSecond"] = await list_rate(server)
    fleet.close()
    return used


async def list_rate(server: Server) -> float:
    """GET /v1.0/devices answered per CPU second of the server."""
    async with aiohttp.ClientSession() as session:
        before = server.cpu()
        for _ in range(REQUESTS // 100):
            await asyncio.gather(*(get(session, server) for _ in range(100)))
        return REQUESTS / (server.cpu() - before)


async def get(session: aiohttp.ClientSession, server: Server) -> None:
    """One request."""
    async with session.get(f"{server.url}/v1.0/devices") as answer:
        await answer.read()


async def to_online(server: Server, rounds: int = 20) -> float:
    """Milliseconds from the initialization session to the handshake's answer, median of some rounds."""
    await server.open_enrolment()
    times = []
    for uid in uids("ONLINE", rounds):
        start = time.perf_counter()
        fleet = Fleet(server.url, battery=False)
        await fleet.enrol([uid], lambda _: None)
        await fleet.connect()
        times.append((time.perf_counter() - start) * 1000)
        fleet.close()
    return sorted(times)[rounds // 2]


def certificates(count: int = 2000) -> float:
    """Device certificates per CPU second."""
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    key, certificate = create_intermediate(root_key, root, "rop.example.net", now)
    authority = Authority(root, certificate, key, "rop.example.net")
    before = time.process_time()
    for uid in uids("CERT", count):
        authority.device_certificate(uid, 180, now)
    return count / (time.process_time() - before)


def main() -> None:
    """Measure and print."""
    count = int(os.environ.get("DEVICES", "1000"))
    with running() as server:
        wired = uvloop.run(connects(server, count, battery=False))
    with running() as server:
        battery = uvloop.run(connects(server, count, battery=True))
    with running() as server:
        online = uvloop.run(to_online(server))
    rows: list[tuple[str, float, str]] = [
        ("wired mTLS connects: server CPU s per 1,000", wired["cpuPer1000"], "<= 4.5"),
        (f"wired: KiB per device at {count}", wired["kibPerDevice"], "<= 52"),
        ("battery keep-alive: server CPU s per 1,000", battery["cpuPer1000"], "<= 0.65"),
        (f"battery: KiB per device at {count}", battery["kibPerDevice"], "<= 12"),
        (f"GET devices per server CPU s, {count} online", wired["getDevicesPerCpuSecond"], ">= 2000"),
        ("initialization session to online, ms (median)", online, "<= 30"),
        ("device certificates per CPU s", certificates(), ">= 500"),
    ]
    for name, value, goal in rows:
        print(f"{name:50} {value:10.2f}   goal {goal}")
    report: list[dict[str, Any]] = [{"name": n, "value": round(v, 3), "goal": g} for n, v, g in rows]
    if target := os.environ.get("BENCH_JSON"):
        Path(target).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
