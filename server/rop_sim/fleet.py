"""Many cameras in one process, for load: enrolled through the client API, kept connected, a few KiB each."""

import asyncio
import json
import resource
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from rop_sim.backoff import Backoff
from rop_sim.device import Device, Traits
from rop_sim.files import DeviceLog
from rop_sim.identity import Identity, IdentityStore
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.provision import fetch_ca, fetch_certificate, register
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.lan import SetupDocument
from rop_wire.packet import Packet

ATTEMPT_LIMIT = 60.0
"""Seconds for one attempt to connect, its handshake included."""


def cpu_seconds() -> float:
    """CPU of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def uids(prefix: str, count: int) -> Iterator[str]:
    """UIDs of 16 characters."""
    for number in range(count):
        yield f"{prefix}{number:0{16 - len(prefix)}d}"


@dataclass(slots=True)
class Member:
    """One camera of the fleet."""

    device: Device
    identity: Identity
    context: ssl.SSLContext | None
    link: Link | None = None
    keep: Link | None = None
    beat_at: float = 0.0
    answered: asyncio.Future[None] | None = None


@dataclass(slots=True)
class Fleet:
    """Cameras of one process. `url` is the client API of the server.

    `addresses`: where connections come from, in turn (127.0.0.2 and so on are all this machine).
    `rtts`: seconds from heartbeat to answer; `failed`: attempts to connect that failed; `ended`: connections lost;
    `alarms`: alarms that the server acknowledged.
    """

    url: str
    battery: bool
    parallel: int = 20
    addresses: tuple[str, ...] = ()
    members: list[Member] = field(default_factory=list)
    online: int = 0
    ended: int = 0
    failed: int = 0
    alarms: int = 0
    rtts: list[float] = field(default_factory=list)
    _all_online: asyncio.Event = field(default_factory=asyncio.Event)
    _ca: str | None = None

    async def enrol(self, names: list[str], report: Any) -> None:
        """Initialization session, certificate and registration for every UID."""
        gate = asyncio.Semaphore(self.parallel)
        log = DeviceLog(None)
        with tempfile.TemporaryDirectory(prefix="ropsim-") as scratch:
            async with aiohttp.ClientSession() as session:

                async def one(uid: str) -> None:
                    async with gate:
                        self.members.append(await self._enrol(session, uid, Path(scratch), log))
                        report(len(self.members))

                async with asyncio.TaskGroup() as group:
                    for uid in names:
                        group.create_task(one(uid))

    async def _enrol(self, session: aiohttp.ClientSession, uid: str, scratch: Path, log: DeviceLog) -> Member:
        body = {"uid": uid}
        async with session.post(f"{self.url}/v1.0/devices/initialization-session", json=body) as answer:
            document = SetupDocument.of(await answer.json(content_type=None))
        self._ca = self._ca or await fetch_ca(document)
        granted = await fetch_certificate(document.host, document.get_cert_port, self._ca, uid, document.code)
        identity = Identity(
            document.host,
            document.get_ca_port,
            document.get_cert_port,
            document.register_port,
            self._ca,
            granted.cert,
            granted.key,
            granted.code,
        )
        store = IdentityStore(scratch / uid)
        context = store.client_context(identity)
        store.forget()
        identity = await register(identity, context, uid)
        traits = Traits(uid, "ROP Fleet", battery=self.battery)
        return Member(Device(traits, None, log), identity, None if self.battery else context)

    async def connect(self) -> None:
        """Connect every member, `parallel` at a time; returns when all are online."""
        gate = asyncio.Semaphore(self.parallel)

        async def one(number: int, member: Member) -> None:
            async with gate:
                await self._until_connected(number, member)

        self.online = 0
        self._all_online.clear()
        async with asyncio.TaskGroup() as group:
            for number, member in enumerate(self.members):
                group.create_task(one(number, member))
        await self._all_online.wait()

    async def _until_connected(self, number: int, member: Member) -> None:
        """Attempts with growing pauses, as a camera makes them, until one is taken and its handshake answered."""
        local = (self.addresses[number % len(self.addresses)], 0) if self.addresses else None
        backoff = Backoff(1.0, 15.0)
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_LIMIT):
                    await self._connect(member, local)
                    if await self._answered(member):
                        return
            except OSError:  # TimeoutError is one
                pass
            self.failed += 1
            for link in (member.link, member.keep):
                if link is not None:
                    link.close()
            await asyncio.sleep(backoff.pause())

    async def _answered(self, member: Member) -> bool:
        """True once the handshake is answered, False when the connection ended instead."""
        link = member.keep if self.battery else member.link
        if link is None or link.ended is None:
            return False
        if not link.ready:
            member.answered = asyncio.get_running_loop().create_future()
            await asyncio.wait((link.ended, member.answered), return_when=asyncio.FIRST_COMPLETED)
        return link.ready

    async def _connect(self, member: Member, local: tuple[str, int] | None) -> None:
        loop, identity = asyncio.get_running_loop(), member.identity
        if self.battery:
            keep = KeepAliveLink(
                identity.access_key or "",
                identity.secret or "",
                member.device.handshake(),
                lambda link, packet: self._packet(member, link, packet),
                self._gone,
            )
            member.keep = keep
            await loop.create_connection(lambda: keep, identity.host, identity.keep_alive_port, local_addr=local)
        else:
            link = SignalingLink(
                member.device.handshake(), lambda link, packet: self._packet(member, link, packet), self._gone
            )
            member.link = link
            await loop.create_connection(
                lambda: link, identity.host, identity.signaling_port, ssl=member.context, local_addr=local
            )

    def _gone(self, link: Link) -> None:
        self.ended += 1

    def _packet(self, member: Member, link: Link, packet: Packet) -> None:
        if packet.is_request:
            if packet.command == Command.WAKE_UP:
                link.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
            else:
                for answer in member.device.answer(packet):
                    link.send(answer)
        elif packet.command == Command.HEARTBEAT:
            self.rtts.append(asyncio.get_running_loop().time() - member.beat_at)
        elif packet.command == Command.ALARM:
            self.alarms += 1
        elif packet.command == Command.HANDSHAKE and not link.ready:
            link.ready = True
            if member.answered is not None and not member.answered.done():
                member.answered.set_result(None)
            self.online += 1
            if self.online == len(self.members):
                self._all_online.set()

    def beat(self, member: Member) -> None:
        """One heartbeat."""
        member.beat_at = asyncio.get_running_loop().time()
        for link, payload in ((member.link, b""), (member.keep, member.device.heartbeat())):
            if link is not None and link.ready and not link.lost:
                link.asked.clear()
                link.ask(Command.HEARTBEAT, payload)

    def alarm(self, member: Member) -> bool:
        """Motion at a wired camera; False while it is not online."""
        link = member.link
        if link is None or link.lost or not link.ready:
            return False
        link.ask(Command.ALARM, messages.AlarmMessage((messages.AlarmEvent("0", "MD", "none"),)).encode())
        return True

    async def live(self, seconds: float, every: float = 15.0) -> None:
        """Heartbeats of everybody once per `every` seconds, evenly spread, for a time or until cancelled."""
        loop = asyncio.get_running_loop()
        start, sent, count = loop.time(), 0, len(self.members)
        while (passed := loop.time() - start) < seconds:
            due = int(passed / every * count)
            while sent < due:
                self.beat(self.members[sent % count])
                sent += 1
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Disconnect everybody."""
        for member in self.members:
            for link in (member.link, member.keep):
                if link is not None:
                    link.close()

    def summary(self) -> str:
        """One line of JSON."""
        told = {"devices": len(self.members), "online": self.online, "ended": self.ended, "failed": self.failed}
        return json.dumps({**told, "cpuSeconds": round(cpu_seconds(), 3)})
