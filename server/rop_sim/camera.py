"""The life of one camera: wait for set-up, register, connect, answer, sleep, renew, reconnect."""

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rop_sim.answers import Answers
from rop_sim.backoff import Backoff
from rop_sim.device import Device, Settings, Traits
from rop_sim.extras import Extras
from rop_sim.faults import Faults
from rop_sim.files import DeviceLog
from rop_sim.film import Films
from rop_sim.firmware import Installation, Return, Upgrade
from rop_sim.identity import Identity, IdentityStore, check_host
from rop_sim.link import KeepAliveLink, Link, SignalingLink
from rop_sim.provision import SetupError, hand_over, register, renew
from rop_sim.recordings import Shelf
from rop_sim.streams import Streams
from rop_sim.watch import request_fault, response_fault
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.lan import SetupDocument
from rop_wire.nal import Codec
from rop_wire.packet import Packet

CONNECT_SECONDS = 15.0
LONGEST_AWAY = 1e8
RENEW_RETRY_SECONDS = 86_400.0
UNANSWERED_LIMIT = 3
_NET_FAULTS = (OSError, ssl.SSLError, TimeoutError, WireError)


class Camera:
    """One virtual camera in a state folder."""

    def __init__(
        self,
        folder: Path,
        traits: Traits,
        reconnect_min: float = 1.0,
        name: str | None = None,
        firmware: str | None = None,
        extras: Extras | None = None,
    ) -> None:
        extras = extras or Extras()
        self.log = DeviceLog(folder / "device.log")
        fresh = not (folder / "device.json").exists()
        shelf = Shelf.kept(folder / "recordings.json", extras.recordings, datetime.now())
        self.device = Device(traits, folder / "device.json", self.log, shelf)
        if fresh and name:
            self.device.settings.deviceName = name
        if fresh and firmware:
            self.device.settings.firmware = firmware
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
        self._connect_to = extras.connect_to
        self._must_register = False
        self._interval = 20.0
        self._awake_now = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking = False
        self._wake_again = False
        self._renew_after = 0.0
        self.on_violation: Callable[[], object] | None = None
        self.faults = Faults(extras.faults)
        films = Films(Codec.H265 if traits.h265 else Codec.H264, extras.media, folder / "media")
        self.streams = Streams(
            self.store, lambda: self.identity, self.device.handshake, films, shelf, self.faults, self.log
        )
        self.streams.on_violation = self._violated
        self.streams.on_stale = self._stale
        self._roam_seconds = reconnect_min
        self._upgrade = Upgrade(self.faults, extras.reboot_seconds)
        self._away_until = LONGEST_AWAY if self._astray else 0.0
        self._empty = False
        self.device.drain_per_hour = extras.drain_per_hour if traits.battery else 0.0
        self._answers = Answers(
            self.device, self.streams, films, self.faults, self._upgrade, self._install, self._roam
        )

    # -- set-up ---------------------------------------------------------------------------------

    async def set_up(self, document: SetupDocument) -> None:
        """A hand-over. Raises SetupError; nothing has changed then."""
        if self._setting_up.locked():
            raise SetupError("cmd_exec_error", "a set-up is running")
        if document.uid not in (None, self.traits.uid):
            raise SetupError("invalid_parameter", "the UID is not this camera's")
        async with self._setting_up:
            try:
                identity = await hand_over(document, self.traits.uid, self.store, self._connect_to)
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
        self.streams.stop_all()
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
                if self.away:
                    await self._stay_away()
                    continue
                if self._flat():
                    continue
                await self._connect_once(self.identity)
                await self._pause()
        finally:
            self.disconnect()
            self._answers.close()
            for task in self._tasks:
                task.cancel()

    @property
    def away(self) -> bool:
        """Whether it is restarting or its battery is flat."""
        return self._away_until > asyncio.get_running_loop().time()

    async def _stay_away(self) -> None:
        """Until the restart is over, or somebody charges the battery or sets the camera up again."""
        self._changed.clear()
        seconds = min(self._away_until - asyncio.get_running_loop().time(), LONGEST_AWAY)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        if self._changed.is_set() or not self.away:
            self._away_until = 0.0
            self._backoff.reset()
            self.log("restarted", firmware=self.device.settings.firmware)

    def _leave(self, seconds: float) -> None:
        """Be away for so long, after what was sent."""
        self._away_until = asyncio.get_running_loop().time() + seconds
        self.streams.stop_all()
        for link in (self.signaling, self.keep_alive):
            if link is not None:
                link.finish()

    def _install(self, plan: Installation) -> None:
        """Restart with another firmware, or as a fault wants it."""
        if plan.factory_reset:
            self.device.settings = Settings()
        self.device.settings.firmware = plan.firmware
        self.device.save()
        self.log("installing", firmware=plan.firmware, back=plan.back.value)
        self._leave(LONGEST_AWAY if plan.back is Return.NEVER else plan.away)

    @property
    def _astray(self) -> bool:
        """Whether it uses WiFi and is in no network."""
        return self.traits.network == "wifi" and self.device.settings.astray

    def _roam(self) -> None:
        """A camera without a wire changes its network: it is away for a moment, or for good."""
        if self.traits.network == "wifi":
            self._leave(LONGEST_AWAY if self._astray else self._roam_seconds)

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
        """Renew the certificate at two thirds of its life, register when the server wants it. A failed attempt
        is told and the camera goes on with what it has.
        """
        if await self.renew_if_due():
            identity = self.identity or identity
        if self._must_register or not identity.registered:
            try:
                context = self.store.client_context(identity)
                registered = await register(identity, context, self.traits.uid)
            except SetupError as failure:
                if not identity.registered:
                    raise
                self.log("refused", at=failure.symbol)
                return identity
            identity = self._keep(identity, registered)
            self._must_register = False
            self.log("registered")
        return identity

    async def renew_if_due(self, now: float | None = None) -> bool:
        """Get a new certificate when less than a third of its life is left; True when it was got. A failure is
        told, and tried again after a day (at once when the certificate has ended). `now` in epoch seconds.
        """
        old, now = self.identity, time.time() if now is None else now
        if old is None:
            return False
        start, end = old.certificate_life()
        if now <= start + (end - start) * 2 / 3 or (now < self._renew_after and now < end):
            return False
        try:
            renewed = await renew(old, self.traits.uid)
        except SetupError as failure:
            self._renew_after = now + RENEW_RETRY_SECONDS
            self.log("refused", at=failure.symbol)
            return False
        self._keep(old, renewed)
        self._renew_after = 0.0
        self._must_register = True
        self.log("certificate", until=int(renewed.certificate_life()[1]))
        return True

    async def renew(self) -> bool:
        """As if the certificate had come to its end; True when there is a new one and it is registered."""
        if self.identity is None or not await self.renew_if_due(self.identity.certificate_life()[1]):
            return False
        self._must_register = False
        await self._register_quietly()
        return not self._must_register

    def _keep(self, old: Identity, new: Identity) -> Identity:
        """Store what came of the old identity, unless a reset or another set-up has replaced it meanwhile."""
        if self.identity is old:
            self.identity = new
            self.store.save(new)
        return new

    async def _signaling(self, identity: Identity) -> None:
        link = SignalingLink(self.device.handshake(), self._packet, self._ended)
        context = self.store.client_context(identity)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, _ = await loop.create_connection(
                lambda: link,
                identity.reach,
                identity.signaling_port,
                ssl=context,
                server_hostname=identity.host,
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
            await loop.create_connection(lambda: link, identity.reach, identity.keep_alive_port)
        self.keep_alive = link
        await self._beat(link, self.device.heartbeat, None)
        if link.stale:
            self._must_register = True
        self._judge(link)

    async def _beat(self, link: Link, payload: Any, seconds: float | None) -> None:
        """Heartbeats until the connection ends. The interval of 61003 comes with the handshake's answer."""
        assert link.ended is not None
        loop = asyncio.get_running_loop()
        patience = loop.time() + CONNECT_SECONDS
        while not link.lost:
            pause = seconds or self._interval
            pause = pause if link.ready else min(pause, CONNECT_SECONDS)
            done, _ = await asyncio.wait([link.ended], timeout=pause)
            if done:
                return
            if not link.ready and loop.time() < patience:
                continue
            if not link.ready or len(link.asked) > UNANSWERED_LIMIT:
                link.close()
                continue
            if "no-heartbeats" not in self.faults:
                link.ask(Command.HEARTBEAT, payload())
            if self._flat():
                return
            if await self.renew_if_due():
                self._must_register = False
                await self._register_quietly()

    def _flat(self) -> bool:
        """Whether a battery that drains is empty; the camera is away then until somebody charges it."""
        if not self.device.drain_per_hour or self.device.settings.battery > 0:
            return False
        self._empty = True
        self.log("flat")
        self._leave(LONGEST_AWAY)
        return True

    async def _register_quietly(self) -> None:
        """Register after a renewal, while the connections stay."""
        identity = self.identity
        if identity is None:
            return
        try:
            registered = await register(identity, self.store.client_context(identity), self.traits.uid)
        except SetupError as failure:
            self._must_register = True
            self.log("refused", at=failure.symbol)
            return
        self._keep(identity, registered)
        self.log("registered")

    def _judge(self, link: Link) -> None:
        """What the end of a connection says."""
        if link.violation:
            self._violated(link.violation)
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

    def _stale(self) -> None:
        """The server wants a new registration."""
        self._must_register = True

    # -- packets --------------------------------------------------------------------------------

    def _violated(self, what: str) -> None:
        """The server broke the protocol."""
        self.violations += 1
        self.log("violation", what=what)
        if self.on_violation is not None:
            self.on_violation()

    def _packet(self, link: Link, packet: Packet) -> None:
        if not packet.is_request:
            self._response(link, packet)
            return
        fault = request_fault(packet, self.traits.battery or self._upgrade.active, link.keep_alive, link.ready)
        if fault is not None:
            self._violated(fault)
        if link.keep_alive:
            if packet.command == Command.WAKE_UP:
                link.send(packet.reply(payload=messages.EMPTY_DOCUMENT))
                self._wake()
        else:
            self._answers.take(link, packet)

    def _response(self, link: Link, packet: Packet) -> None:
        fault = response_fault(packet, link.asked, link.keep_alive)
        if fault is not None:
            self._violated(fault)
            return
        if packet.command != Command.HANDSHAKE or link.ready:
            return
        link.ready = True
        self._backoff.reset()
        if link.keep_alive:
            self._interval = messages.HandshakeReply.decode(packet.payload).heartbeat_interval_ms / 1000
            self.log("online", transport="KeepAlive")
            link.ask(Command.HEARTBEAT, self.device.heartbeat())
        else:
            self._awake_now.set()
            self.log("online", transport="Signaling")
            link.ask(Command.NETWORK_REPORT, messages.NetworkReport(self.traits.network).encode())

    def _wake(self) -> None:
        """Open the signaling connection, or once more when it is just ending; one at a time."""
        self.log("woken")
        if self.identity is None or self.away:
            return
        if self._waking:
            self._wake_again = self.signaling is not None and self.signaling.closing
            return
        self._waking = True
        task = asyncio.get_running_loop().create_task(self._awake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _awake(self) -> None:
        """A signaling connection until it ends, and the next one when a wake-up came meanwhile."""
        try:
            while self.identity is not None:
                self._wake_again = False
                try:
                    await self._signaling(self.identity)
                except _NET_FAULTS as failure:
                    self._must_register = True
                    self.log("refused", at="connect", why=type(failure).__name__)
                if not self._wake_again:
                    return
        finally:
            self._waking = False

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
        event = messages.AlarmEvent("0", "MD", "none" if ai_type == "MD" else ai_type)
        self.signaling.ask(Command.ALARM, messages.AlarmMessage((event,)).encode())
        self.log("alarm", ai=ai_type)
        return True

    def change(self, **members: Any) -> None:
        """A change made at the camera, behind the server's back."""
        self.device.drain(time.monotonic())
        settings = self.device.settings
        for name, value in members.items():
            if name == "pir":
                settings.pir = replace(settings.pir, **value)
            else:
                setattr(settings, name, value)
        self.device.save()
        self.log("changed-locally", **members)
        if "wifi" in members:
            self._changed.set()
        if "battery" in members and not self._flat() and self._empty:
            self._empty = False
            self._changed.set()

    def status(self) -> dict[str, Any]:
        """For `ropsim ctl status`."""
        return {
            "uid": self.traits.uid,
            "provisioned": self.identity is not None,
            "signaling": self.signaling is not None and self.signaling.ready,
            "keepAlive": self.keep_alive is not None and self.keep_alive.ready,
            "deviceName": self.device.settings.deviceName,
            "violations": self.violations,
            "streams": [
                {"handle": each.handle, "type": each.stream_type, "mode": each.mode.value, "replay": each.replay}
                for each in self.streams.playing.values()
            ],
            "faults": self.faults.names,
            "firmware": self.device.settings.firmware,
            "battery": self.device.settings.battery if self.traits.battery else None,
            "wifi": self.device.settings.wifi if self.traits.radio else None,
            "ptz": self.device.head.told(time.monotonic()) if self.traits.ptz else None,
        }
