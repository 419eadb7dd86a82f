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

from rop_sim.device import Device, Traits
from rop_sim.files import DeviceLog
from rop_sim.identity import Identity, IdentityStore
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.provision import fetch_ca, fetch_certificate, register
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.lan import SetupDocument
from rop_wire.packet import Packet


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


@dataclass(slots=True)
class Fleet:
    """Cameras of one process. `url` is the client API of the server."""

    url: str
    battery: bool
    parallel: int = 20
    members: list[Member] = field(default_factory=list)
    online: int = 0
    ended: int = 0
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

        async def one(member: Member) -> None:
            async with gate:
                await self._connect(member)

        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(one(member))
        await self._all_online.wait()

    async def _connect(self, member: Member) -> None:
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
            await loop.create_connection(lambda: keep, identity.host, identity.keep_alive_port)
        else:
            link = SignalingLink(
                member.device.handshake(), lambda link, packet: self._packet(member, link, packet), self._gone
            )
            member.link = link
            await loop.create_connection(lambda: link, identity.host, identity.signaling_port, ssl=member.context)

    def _gone(self, link: Link) -> None:
        self.ended += 1

    def _packet(self, member: Member, link: Link, packet: Packet) -> None:
        if packet.is_request:
            if packet.command == Command.WAKE_UP:
                link.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
            else:
                for answer in member.device.answer(packet):
                    link.send(answer)
        elif packet.command == Command.HANDSHAKE and not link.ready:
            link.ready = True
            self.online += 1
            if self.online == len(self.members):
                self._all_online.set()

    def beat(self) -> None:
        """One heartbeat of everybody."""
        for member in self.members:
            for link, payload in ((member.link, b""), (member.keep, member.device.heartbeat())):
                if link is not None and link.ready and not link.lost:
                    link.ask(Command.HEARTBEAT, payload)

    async def live(self, seconds: float) -> None:
        """Heartbeats every 15 s, for a time or until cancelled."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        never = loop.create_future()
        while (left := until - loop.time()) > 0:
            await asyncio.wait([never], timeout=min(15.0, left))
            self.beat()

    def close(self) -> None:
        """Disconnect everybody."""
        for member in self.members:
            for link in (member.link, member.keep):
                if link is not None:
                    link.close()

    def summary(self) -> str:
        """One line of JSON."""
        told = {"devices": len(self.members), "online": self.online, "ended": self.ended}
        return json.dumps({**told, "cpuSeconds": round(cpu_seconds(), 3)})
