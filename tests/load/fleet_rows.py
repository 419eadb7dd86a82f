"""Many cameras: connecting, heartbeats, all at once after a restart, and 20,000 strangers beside them."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from receiver import Receiver
from stand import Server

from rop_data.store import Site, prepare
from rop_sim.device import Device, Traits
from rop_sim.files import DeviceLog
from rop_sim.fleet import Fleet, Member, uids
from rop_sim.identity import Identity, IdentityStore
from rop_wire.encrypted import access_key, secret_access_key, uid_hash

# The limits count connections by address, and a site's cameras rarely share one.
ADDRESSES = tuple(f"127.1.{number // 250}.{number % 250 + 1}" for number in range(10_000))
HEARTBEAT_SECONDS = 20.0
# Cameras that raise an alarm before a restart and another one as soon as they are back.
ALARMING = 100
ALARM_LIMIT = 60.0
Rows = dict[str, float]


def percentile(values: list[float], part: float) -> float:
    """The value below which this part of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def open_files(most: int) -> int:
    """As many files as the system allows; how many connections this process can hold, at most `most`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(most, hard - 500)


async def enrolled(server: Server, count: int) -> Fleet:
    """Cameras with an identity, signed here by the site's authority; the server is a fresh process afterwards."""
    await server.open_enrolment()
    fleet = Fleet(server.url, battery=False, addresses=ADDRESSES)
    await asyncio.to_thread(server.stop)
    with server.data.lock(), tempfile.TemporaryDirectory(prefix="rop-bench-") as folder:
        site = prepare(server.data, {}, datetime.now(UTC))
        for uid in uids("BENCH", count):
            fleet.members.append(_member(server, site, uid, Path(folder)))
    await asyncio.to_thread(server.run)
    return fleet


def _member(server: Server, site: Site, uid: str, folder: Path) -> Member:
    made = site.authority.device_certificate(uid, 180, datetime.now(UTC))
    index = site.config.current_key_index
    identity = Identity(
        host="127.0.0.1",
        get_ca_port=server.ports["getCAHttps"],
        get_cert_port=server.ports["getCertHttps"],
        register_port=server.ports["registerHttps"],
        ca=site.root_pem.decode(),
        cert=made.chain_pem.decode(),
        key=made.key_pem.decode(),
        code="",
        access_key=access_key(index, uid),
        secret=secret_access_key(site.config.device_keys[index], uid_hash(uid)),
        signaling_port=server.ports["signalingTLS"],
        keep_alive_port=server.ports["keepAliveTCP"],
    )
    context = IdentityStore(folder).client_context(identity)
    return Member(Device(Traits(uid, "ROP Fleet"), None, DeviceLog(None)), identity, context)


async def connects(server: Server, fleet: Fleet, kind: str) -> Rows:
    """CPU, memory and failures of cameras that connect, 20 at a time."""
    count = len(fleet.members)
    cpu, memory, failed = server.cpu(), server.resident(), fleet.failed
    living = asyncio.create_task(fleet.live(float("inf"), HEARTBEAT_SECONDS))
    await fleet.connect()
    living.cancel()
    return {
        f"{kind}.cpuPer1000": (server.cpu() - cpu) * 1000 / count,
        f"{kind}.kibPerDevice": (server.resident() - memory) / count,
        f"{kind}.residentMiB": server.resident() / 1024,
        f"{kind}.failures": fleet.failed - failed,
    }


async def heartbeats(server: Server, fleet: Fleet, seconds: float) -> Rows:
    """CPU per cent of one core and round trip while everybody sends a heartbeat every 20 s."""
    fleet.rtts.clear()
    cpu, start = server.cpu(), time.monotonic()
    await fleet.live(seconds, HEARTBEAT_SECONDS)
    used, lasted = server.cpu() - cpu, time.monotonic() - start
    return {
        "beat.cpuPercent": used / lasted * 100,
        "beat.cpuPercentAt10000": used / lasted * 100 * 10_000 / len(fleet.members),
        "beat.rttP99Ms": percentile(fleet.rtts, 0.99) * 1000,
        "beat.answered": len(fleet.rtts),
    }


def _probe(server: Server) -> subprocess.Popen[str]:
    """`probe.py` beside the fleet, on the fleet's core."""
    command = [sys.executable, str(Path(__file__).with_name("probe.py")), str(server.ports["clientHttp"])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def restart(server: Server, fleet: Fleet, receiver: Receiver, at_once: int) -> Rows:
    """Everybody after a restart, `at_once` in flight: until all are back, how late the server's loop was, what
    became of the alarms that waited and of those that came meanwhile.
    """
    raised = fleet.members[:ALARMING]
    for member in raised:
        fleet.alarm(member)
    await _acknowledged(fleet, len(raised))
    await asyncio.to_thread(server.restart)
    receiver.open = True
    failed = fleet.failed
    probe = _probe(server)
    fleet.parallel = at_once
    start, cpu = time.monotonic(), server.cpu()
    living = asyncio.create_task(fleet.live(float("inf"), HEARTBEAT_SECONDS))
    again = asyncio.create_task(_alarm_when_back(fleet, raised))
    await fleet.connect()
    lasted, used = time.monotonic() - start, server.cpu() - cpu
    told, _ = await asyncio.to_thread(probe.communicate)
    late = await server.metrics()
    busy = json.loads(told)
    await again
    await _acknowledged(fleet, 2 * len(raised))
    arrived = await receiver.arrived(fleet.alarms, ALARM_LIMIT)
    living.cancel()
    fleet.parallel = 20
    return {
        "storm.seconds": lasted,
        "storm.cpuPer1000": used * 1000 / len(fleet.members),
        "storm.attemptsRepeated": fleet.failed - failed,
        "storm.notBack": _away(fleet),
        "storm.lagP50Ms": late["rop_loop_lag_seconds{0.5}"] * 1000,
        "storm.lagP99Ms": late["rop_loop_lag_seconds{0.99}"] * 1000,
        "storm.lagMaxMs": late["rop_loop_lag_seconds{1}"] * 1000,
        "storm.probeP99Ms": percentile(busy, 0.99) * 1000,
        "storm.probeMaxMs": max(busy) * 1000,
        "storm.alarms": fleet.alarms,
        "storm.alarmsLost": fleet.alarms - arrived,
    }


def _away(fleet: Fleet) -> int:
    """Wired cameras without a connection that serves."""
    return sum(not (each.link and each.link.ready and not each.link.lost) for each in fleet.members)


async def _acknowledged(fleet: Fleet, count: int) -> None:
    async with asyncio.timeout(ALARM_LIMIT):
        while fleet.alarms < count:
            await asyncio.sleep(0.05)


async def _alarm_when_back(fleet: Fleet, members: list[Member]) -> None:
    """An alarm of each as soon as it is online again."""
    left = list(members)
    while left:
        left = [member for member in left if not fleet.alarm(member)]
        await asyncio.sleep(0.05)


async def killed(server: Server, fleet: Fleet, at_once: int) -> Rows:
    """`kill -9`, a start on the same directory, everybody again: seconds and CPU of the start and of the whole."""
    begin = time.monotonic()
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.run)
    started, cpu, failed = time.monotonic() - begin, server.cpu(), fleet.failed
    fleet.close()
    for member in fleet.members:
        member.link = None
    fleet.parallel = at_once
    living = asyncio.create_task(fleet.live(float("inf"), HEARTBEAT_SECONDS))
    await fleet.connect()
    living.cancel()
    fleet.parallel = 20
    return {
        "killed.notBack": _away(fleet),
        "killed.attemptsRepeated": fleet.failed - failed,
        "killed.startCpu": cpu,
        "killed.cpu": server.cpu(),
        "killed.startSeconds": started,
        "killed.seconds": time.monotonic() - begin,
    }


async def battery(server: Server, fleet: Fleet) -> Rows:
    """The same cameras on keep-alive connections, with a fresh server process."""
    fleet.close()
    await asyncio.to_thread(server.restart)
    fleet.battery = True
    for member in fleet.members:
        member.link = None
    return await connects(server, fleet, "battery")


async def to_online(server: Server, rounds: int = 20) -> Rows:
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
    return {"online.ms": percentile(times, 0.5)}


async def strangers(server: Server, count: int) -> Rows:
    """Idle connections from many addresses; beside them a camera that wants to come online."""
    await server.open_enrolment()
    friend = Fleet(server.url, battery=False)
    await friend.enrol(["FRIEND0000000001"], lambda _: None)
    loop = asyncio.get_running_loop()
    before = server.resident()
    crowd: list[socket.socket] = []
    cpu = server.cpu()
    for number in range(open_files(count)):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((ADDRESSES[number % 20], 0))
        crowd.append(sock)
        sock.connect_ex(("127.0.0.1", server.ports["keepAliveTCP"]))
        if number % 200 == 0:
            await asyncio.sleep(0)
    most = server.resident()
    start = loop.time()
    await friend.connect()
    waited = loop.time() - start
    for sock in crowd:
        sock.close()
    after = await _settled(server, before, 30.0)
    friend.close()
    return {
        "strangers.connections": len(crowd),
        "strangers.cameraOnlineSeconds": waited,
        "strangers.cpuSeconds": server.cpu() - cpu,
        "strangers.mostMiB": (most - before) / 1024,
        "strangers.leftMiB": (after - before) / 1024,
    }


async def _settled(server: Server, goal: float, limit: float) -> float:
    """Memory once it is near the goal or the time is over."""
    until = time.monotonic() + limit
    while (now := server.resident()) > goal + 1024 and time.monotonic() < until:
        await asyncio.sleep(0.2)
    return now
