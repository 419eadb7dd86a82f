"""The life of one camera: wait for set-up, register, connect, answer, sleep, renew, reconnect."""

import asyncio
import ssl
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rop_sim.backoff import Backoff
from rop_sim.device import Device, Traits
from rop_sim.files import DeviceLog
from rop_sim.identity import Identity, IdentityStore, check_host
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.provision import SetupError, hand_over, register, renew
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.lan import SetupDocument
from rop_wire.packet import Packet

CONNECT_SECONDS = 15.0
_NET_FAULTS = (OSError, ssl.SSLError, TimeoutError, WireError)


class Camera:
    """One virtual camera in a state folder."""

    def __init__(self, folder: Path, traits: Traits, reconnect_min: float = 1.0, name: str | None = None) -> None:
        self.log = DeviceLog(folder / "device.log")
        fresh = not (folder / "device.json").exists()
        self.device = Device(traits, folder / "device.json", self.log)
        if fresh and name:
            self.device.settings.deviceName = name
        self.device.save()
        self.store = IdentityStore(folder / "identity")
        self.identity = self.store.load()
        self.traits = traits
        self.signaling: Link | None = None
        self.keep_alive: Link | None = None
        self.violations = 0
        self._backoff = Backoff(reconnect_min)
        self._changed = asyncio.Event()
        self._setting_up = asyncio.Lock()
        self._must_register = False
        self._interval = 20.0
        self._awake_now = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- set-up ---------------------------------------------------------------------------------

    async def set_up(self, document: SetupDocument) -> None:
        """A hand-over. Raises SetupError; nothing has changed then."""
        if self._setting_up.locked():
            raise SetupError("cmd_exec_error", "a set-up is running")
        if document.uid not in (None, self.traits.uid):
            raise SetupError("invalid_parameter", "the UID is not this camera's")
        async with self._setting_up:
            try:
                identity = await hand_over(document, self.traits.uid, self.store)
            except SetupError as failure:
                self.log("setup-failed", symbol=failure.symbol)
                raise
            self.identity = identity
            self._must_register = False
            self._backoff.reset()
            self.log("setup", host=document.host)
            self.log("certificate", until=int(identity.certificate_life()[1]))
            self.log("registered")
        self.disconnect()
        self._changed.set()

    def disconnect(self) -> None:
        """Drop the connections; the camera comes back."""
        for link in (self.signaling, self.keep_alive):
            if link is not None:
                link.close()

    def reset(self) -> None:
        """Factory reset: forget the server."""
        self.identity = None
        self.store.forget()
        self.log("reset")
        self.disconnect()

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until cancelled."""
        try:
            while True:
                if self.identity is None:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                await self._connect_once(self.identity)
                await self._pause()
        finally:
            self.disconnect()
            for task in self._tasks:
                task.cancel()

    async def _pause(self) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), self._backoff.pause())

    async def _connect_once(self, identity: Identity) -> None:
        try:
            identity = await self._fresh(identity)
            if self.traits.battery:
                await self._keep_alive(identity)
            else:
                await self._signaling(identity)
        except SetupError as failure:
            self.log("refused", at=failure.symbol)
        except _NET_FAULTS as failure:
            self._must_register = True
            self.log("refused", at="connect", why=type(failure).__name__)

    async def _fresh(self, identity: Identity) -> Identity:
        """Renew the certificate at two thirds of its life, register when the server wants it."""
        start, end = identity.certificate_life()
        if time.time() > start + (end - start) * 2 / 3:
            identity = await renew(identity, self.traits.uid)
            self._keep(identity)
            self.log("certificate", until=int(identity.certificate_life()[1]))
            self._must_register = True
        if self._must_register or not identity.registered:
            context = self.store.client_context(identity)
            identity = await register(identity, context, self.traits.uid)
            self._keep(identity)
            self._must_register = False
            self.log("registered")
        return identity

    def _keep(self, identity: Identity) -> None:
        if self.identity is not None:  # not reset meanwhile
            self.identity = identity
            self.store.save(identity)

    async def _signaling(self, identity: Identity) -> None:
        link = SignalingLink(self.device.handshake(), self._packet, self._ended)
        context = self.store.client_context(identity)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, _ = await loop.create_connection(
                lambda: link, identity.host, identity.signaling_port, ssl=context
            )
        try:
            check_host(identity.host, transport.get_extra_info("peercert"))
        except ssl.SSLError:
            link.close()
            raise
        self.signaling = link
        await self._beat(link, lambda: b"", identity.heartbeat_interval)
        self._judge(link)

    async def _keep_alive(self, identity: Identity) -> None:
        link = KeepAliveLink(
            identity.access_key or "", identity.secret or "", self.device.handshake(), self._packet, self._ended
        )
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            await loop.create_connection(lambda: link, identity.host, identity.keep_alive_port)
        self.keep_alive = link
        await self._beat(link, self.device.heartbeat, None)
        if link.stale:
            self._must_register = True
        self._judge(link)

    async def _beat(self, link: Link, payload: Any, seconds: float | None) -> None:
        """Heartbeats until the connection ends. The interval of 61003 comes with the handshake's answer."""
        assert link.ended is not None
        while not link.lost:
            pause = (seconds or self._interval) if link.ready else CONNECT_SECONDS
            done, _ = await asyncio.wait([link.ended], timeout=pause)
            if done:
                return
            if link.ready:
                link.ask(Command.HEARTBEAT, payload())
            else:
                link.close()

    def _judge(self, link: Link) -> None:
        """What the end of a connection says."""
        if link.violation:
            self.violations += 1
            self.log("violation", what=link.violation)
        if not link.ready:
            self._must_register = True
            self.log("refused", at="handshake")

    def _ended(self, link: Link) -> None:
        if link.ready:
            asleep = link is self.signaling and self.keep_alive is not None and not self.keep_alive.lost
            self.log("asleep" if asleep else "offline")
        if link is self.signaling:
            self.signaling = None
            self._awake_now.clear()
        if link is self.keep_alive:
            self.keep_alive = None

    # -- packets --------------------------------------------------------------------------------

    def _packet(self, link: Link, packet: Packet) -> None:
        if not packet.is_request:
            self._response(link, packet)
        elif packet.command == Command.WAKE_UP and isinstance(link, KeepAliveLink):
            link.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
            self._wake()
        elif packet.command == Command.SLEEP and isinstance(link, SignalingLink):
            link.send(packet.reply())
            if self.traits.battery:
                link.close()
        elif isinstance(link, KeepAliveLink):
            self.violations += 1
            self.log("violation", what=f"command {packet.command} on the keep-alive connection")
        else:
            for answer in self.device.answer(packet):
                link.send(answer)

    def _response(self, link: Link, packet: Packet) -> None:
        if packet.command != Command.HANDSHAKE or link.ready:
            return
        link.ready = True
        self._backoff.reset()
        if isinstance(link, KeepAliveLink):
            self._interval = messages.HandshakeReply.decode(packet.payload).heartbeat_interval_ms / 1000
            self.log("online", transport="KeepAlive")
            link.ask(Command.HEARTBEAT, self.device.heartbeat())
        else:
            self._awake_now.set()
            self.log("online", transport="Signaling")
            link.ask(Command.NETWORK_REPORT, messages.NetworkReport(self.traits.network).encode())

    def _wake(self) -> None:
        self.log("woken")
        if self.signaling is None and self.identity is not None:
            task = asyncio.get_running_loop().create_task(self._awake(self.identity))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _awake(self, identity: Identity) -> None:
        try:
            await self._signaling(identity)
        except _NET_FAULTS as failure:
            self._must_register = True
            self.log("refused", at="connect", why=type(failure).__name__)

    # -- what happens at the camera itself ------------------------------------------------------

    async def raise_alarm(self, ai_type: str) -> bool:
        """Report an alarm when the switch is on; a sleeping camera connects first. False: not reported."""
        if not self.device.settings.alarm or self.identity is None:
            return False
        if self.signaling is None and self.traits.battery:
            self._wake()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake_now.wait(), CONNECT_SECONDS)
        if self.signaling is None or not self.signaling.ready:
            return False
        event = messages.AlarmEvent("0", "MD", ai_type)
        self.signaling.ask(Command.ALARM, messages.AlarmMessage((event,)).encode())
        self.log("alarm", ai=ai_type)
        return True

    def change(self, **members: Any) -> None:
        """A change made at the camera, behind the server's back."""
        settings = self.device.settings
        for name, value in members.items():
            if name == "pir":
                settings.pir = replace(settings.pir, **value)
            else:
                setattr(settings, name, value)
        self.device.save()
        self.log("changed-locally", **members)

    def status(self) -> dict[str, Any]:
        """For `ropsim ctl status`."""
        return {
            "uid": self.traits.uid,
            "provisioned": self.identity is not None,
            "signaling": self.signaling is not None and self.signaling.ready,
            "keepAlive": self.keep_alive is not None and self.keep_alive.ready,
            "deviceName": self.device.settings.deviceName,
            "violations": self.violations,
        }
