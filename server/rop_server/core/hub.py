"""Packets of the device connections in, decisions and replies out. `net` feeds it, one ticker drives it.

Source: ROP v1.0 wire specification, device-protocol 7 and 9; discrepancies C3.2 to C3.6, C3.12 to C3.15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from rop_server.core.calls import Wake, should_sleep
from rop_server.core.connection import KEEP_ALIVE, PORT_NAMES, SIGNALING, Connection
from rop_server.core.facade import Admission, Battery, CoreEvents, DeviceLink
from rop_server.core.key_turns import KeyTurns
from rop_server.core.pending import Answer, Outcome, PendingTable
from rop_server.core.registry import Announcement, Registry
from rop_server.core.settings import Settings
from rop_server.core.snapshots import Snapshots
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.errors import WireError
from rop_wire.packet import OK, REQUEST, Packet

log = structlog.get_logger("rop.core")

CHARGE_STATES = {0: "none", 1: "charging", 2: "completed"}
DEVICE_COMMANDS = frozenset({Command.HEARTBEAT, Command.HANDSHAKE, Command.ALARM, Command.NETWORK_REPORT})
HELLO_LIMIT = 10.0
"""Seconds for the hello, and again for the handshake, on 61003 (discrepancies C2.8)."""
CONNECTIONS_OF_DEVICE = 256
"""A recorder may use a media connection for every stream of its channels; no device needs more than this."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks: `monotonic` for timers, `wall` (epoch seconds) for facts."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


class Hub:
    """Connected devices, waiting requests and wake-ups of one server."""

    def __init__(self, settings: Settings, events: CoreEvents, admission: Admission, clock: Clock) -> None:
        self.settings = settings
        self.events = events
        self.admission = admission
        self.clock = clock
        self.registry = Registry()
        self.key_turns = KeyTurns(clock.monotonic, lambda: len(self.registry))
        self.pending = PendingTable()
        self.snapshots = Snapshots()
        # Each hears every accepted handshake, before the caller of a wake-up goes on.
        self.on_handshake: list[Callable[[DeviceLink], None]] = []
        self.wakes: dict[str, Wake] = {}
        self.keep_awake: dict[str, float] = {}
        self.open: set[Connection] = set()
        self._of_device: Counter[str] = Counter()

    # -- connections ------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection is there: from now on the ticker looks after it until `lost`."""
        connection.heartbeat_at = self.clock.monotonic()
        signaling = connection.transport_kind == SIGNALING
        connection.heartbeat_limit = self.settings.socket_timeout if signaling else HELLO_LIMIT
        self.open.add(connection)

    def proved(self, connection: Connection, device: str) -> bool:
        """The transport proved whose connection it is; False when that device has too many."""
        connection.device = device
        self._of_device[device] += 1
        return self._of_device[device] <= CONNECTIONS_OF_DEVICE

    def admitted(self, connection: Connection) -> bool:
        """Ask the admission for a connection whose UID is known; a refusal is reported as a fact."""
        wall = self.clock.wall()
        certificate = connection.certificate
        if certificate is None:
            reason = self.admission.admit(connection.uid, None, None, None, wall)
        else:
            reason = self.admission.admit(
                connection.uid, certificate.serial, certificate.issuer, certificate.not_after, wall
            )
        if reason is None:
            return True
        self.events.refused(connection.uid, PORT_NAMES[connection.transport_kind], reason, wall)
        return False

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection is of no use any more, whoever ended it; `gone` follows."""
        if not connection.announced:
            return
        connection.announced = False
        current = self.registry.detach(connection)
        self._drop_requests(connection)
        if not current:
            return
        uid = connection.uid
        entry = self.registry.entry(uid)
        if connection.transport_kind == KEEP_ALIVE:
            wake = self.wakes.pop(uid, None)
            if wake is not None:
                wake.failed("device_offline")
        if entry is None:
            self.keep_awake.pop(uid, None)
        kind = connection.transport_kind
        what = "device-offline" if entry is None else "device-connection-lost"
        log.info(what, uid=uid, connection=connection.name, reason=reason)
        self.events.disconnected(
            uid,
            entry.link() if entry is not None else None,
            kind,
            reason,
            self.clock.wall(),
        )

    def gone(self, connection: Connection) -> None:
        """Nothing is left of the connection."""
        self.open.discard(connection)
        device, connection.device = connection.device, ""
        if device:
            self._of_device[device] -= 1
            if not self._of_device[device]:
                del self._of_device[device]

    def reconnect(self, uid: str) -> None:
        """End the connections of a device, which comes again."""
        for connection in self.connections_of(uid):
            connection.close("reconnect")

    def connections_of(self, uid: str) -> list[Connection]:
        """Every connection that proved this UID, with or without a handshake so far."""
        return [each for each in self.open if each.uid == uid]

    # -- packets ----------------------------------------------------------------------------------

    def received(self, connection: Connection, packet: Packet) -> None:
        """One packet of a device. Bad content closes the connection; unknown responses are ignored."""
        try:
            if packet.is_request and packet.command in DEVICE_COMMANDS:
                self._request(connection, packet)
            elif packet.command == Command.SNAPSHOT and self.snapshots.take(connection, packet):
                connection.active_at = self.clock.monotonic()
            elif not self.pending.resolve(
                connection, packet.request_id, packet.command, packet.status, packet.payload
            ):
                log.debug("ignored", uid=connection.uid, connection=connection.name, command=packet.command)
        except WireError as error:
            connection.close(f"protocol: {error}")

    def _request(self, connection: Connection, packet: Packet) -> None:
        if packet.command == Command.HEARTBEAT:
            self._heartbeat(connection, packet)
        elif packet.command == Command.HANDSHAKE:
            self._handshake(connection, packet)
        elif connection.transport_kind != SIGNALING:
            log.debug("ignored", uid=connection.uid, connection=connection.name, command=packet.command)
        elif packet.command == Command.ALARM:
            self._alarm(connection, packet)
        else:
            self._network_report(connection, packet)

    def _handshake(self, connection: Connection, packet: Packet) -> None:
        told = messages.Handshake.decode(packet.payload)
        if not self._identified(connection, told.uid):
            return
        now, wall = self.clock.monotonic(), self.clock.wall()
        announcement = Announcement(told.uid, told.family, told.model, told.firmware, None, told.network)
        interval = self._heartbeat_interval(told)
        connection.announced = True
        connection.heartbeat_at = connection.active_at = now
        older = self.registry.attach(connection, announcement, wall)
        if older is not None:
            self._replace(older)
        if connection.transport_kind == SIGNALING:
            connection.heartbeat_limit = self.settings.socket_timeout
            connection.send(packet.reply())
        else:
            connection.heartbeat_limit = 2 * interval / 1000
            reply = messages.HandshakeReply(heartbeat_interval_ms=interval)
            connection.send(packet.reply(payload=reply.encode()))
        entry = self.registry.entry(told.uid)
        if entry is None:  # the send above ended the connection
            return
        link = entry.link()
        self.events.connected(link, connection.transport_kind, wall)
        for listener in self.on_handshake:
            listener(link)
        log.info("device-online", uid=told.uid, connection=connection.name, firmware=told.firmware)
        if connection.transport_kind == SIGNALING:
            wake = self.wakes.pop(told.uid, None)
            if wake is not None:
                wake.connected(connection)
        elif told.uid in self.wakes and older is not None:
            self._ask_to_wake(self.wakes[told.uid], connection)

    def _identified(self, connection: Connection, uid: str) -> bool:
        """The UID of the handshake must be the one the transport proved."""
        if not connection.proves(uid):
            connection.close("device_not_matched")
            return False
        connection.uid = uid
        if not self.admitted(connection):
            connection.close("refused")
            return False
        return True

    def _replace(self, older: Connection) -> None:
        older.announced = False
        self._drop_requests(older)
        older.close("replaced")

    def _drop_requests(self, connection: Connection) -> None:
        self.pending.drop(connection)
        self.snapshots.drop(connection)

    def _heartbeat_interval(self, told: messages.Handshake) -> int:
        """Milliseconds. Source: device-protocol 7 (table by mobile operator)."""
        special = messages.heartbeat_interval_ms(told.network, told.operator)
        return special or int(self.settings.socket_timeout * 500)

    def _heartbeat(self, connection: Connection, packet: Packet) -> None:
        now, wall = self.clock.monotonic(), self.clock.wall()
        if connection.announced or connection.transport_kind == SIGNALING:
            connection.heartbeat_at = now
        battery: Battery | None = None
        silent = False
        if connection.transport_kind == KEEP_ALIVE and packet.payload:
            beat = messages.Heartbeat.decode(packet.payload)
            silent = beat.no_reply
            state = beat.battery
            if state is not None and state.percent is not None:
                charge = CHARGE_STATES.get(state.charge) if state.charge is not None else None
                battery = Battery(min(100, max(0, state.percent)), charge, wall)
        if connection.announced:
            if battery is not None:
                self.registry.report_battery(connection.uid, battery)
            self.events.heartbeat(connection.uid, battery, wall)
        if not silent:
            connection.send(packet.reply(payload=messages.HeartbeatReply.at(wall).encode()))

    def _alarm(self, connection: Connection, packet: Packet) -> None:
        alarm = messages.AlarmMessage.decode(packet.payload)
        connection.active_at = self.clock.monotonic()
        wall = self.clock.wall()
        for event in alarm.events:
            told = {"channelId": event.channel, "status": event.status, "AItype": event.ai_type}
            self.events.alarm(connection.uid, {key: text for key, text in told.items() if text is not None}, wall)
        # The device hears of it when the alarm is safe: after this it never tells it again.
        connection.send(packet.reply())

    def _network_report(self, connection: Connection, packet: Packet) -> None:
        entry = self.registry.entry(connection.uid)
        if not packet.payload or entry is None:
            return
        try:
            report = messages.NetworkReport.decode(packet.payload)
        except WireError:
            log.info("network-report", uid=connection.uid, connection=connection.name, message="unreadable")
            return
        wired = report.network == "wire"
        self.registry.report_network(connection.uid, wired)
        self.events.networked(connection.uid, wired, self.clock.wall())

    # -- requests of ours -------------------------------------------------------------------------

    def request(
        self,
        connection: Connection,
        command: int,
        payload: bytes,
        timeout: float,
        done: Callable[[Outcome], None],
        extension: bytes = b"",
        number: int | None = None,
    ) -> Callable[[], None]:
        """Send a request; `done` hears the outcome. Returns a function that forgets it.

        `number`: one allotted before (the handle of a stream).
        """
        number = connection.allot() if number is None else number
        deadline = self.clock.monotonic() + timeout
        waiting = self.pending.add(connection, number, command, deadline, done)
        try:
            connection.send(Packet(REQUEST, command, number, OK, payload, extension))
        except WireError:
            self.pending.discard(waiting)
            raise
        return lambda: self.pending.discard(waiting)

    def wake(self, uid: str, keep_alive: Connection) -> Wake:
        """The wake-up of this device: the one under way, or a new one."""
        wake = self.wakes.get(uid)
        if wake is not None:
            return wake
        limits = self.settings
        now = self.clock.monotonic()
        wake = self.wakes[uid] = Wake(now, limits.wake_answer_timeout, limits.wake_connect_timeout)
        self._ask_to_wake(wake, keep_alive)
        self.events.woken(uid, self.clock.wall())
        return wake

    def _ask_to_wake(self, wake: Wake, keep_alive: Connection) -> None:
        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Answer):
                wake.answered(self.clock.monotonic())

        self.request(keep_alive, Command.WAKE_UP, b"", self.settings.wake_answer_timeout, done)

    def hold_awake(self, uid: str, seconds: float) -> None:
        """A play session was created: no sleep before it expires."""
        now = self.clock.monotonic()
        self.keep_awake[uid] = max(self.keep_awake.get(uid, 0.0), now + seconds)
        entry = self.registry.entry(uid)
        if entry is not None and entry.signaling is not None:
            entry.signaling.active_at = now

    # -- the ticker -------------------------------------------------------------------------------

    def tick(self) -> None:
        """Every timer of the core; called once per second."""
        now = self.clock.monotonic()
        self.pending.expire(now)
        for uid, wake in list(self.wakes.items()):
            if wake.tick(now) and self.wakes.get(uid) is wake:
                del self.wakes[uid]
        for connection in list(self.open):
            if now - connection.heartbeat_at > connection.heartbeat_limit:
                connection.close("heartbeat" if connection.announced else "no handshake")
            elif connection.announced and connection.transport_kind == SIGNALING:
                entry = self.registry.entry(connection.uid)
                if entry is not None and entry.sleeps:
                    self._maybe_sleep(connection, now)

    def _maybe_sleep(self, connection: Connection, now: float) -> None:
        uid = connection.uid
        waiting = self.pending.count(connection) + self.snapshots.busy(connection)
        keep = self.keep_awake.get(uid, 0.0)
        if not should_sleep(now, connection.active_at, keep, waiting, self.settings.signaling_idle):
            return

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Answer):  # it answered, but stayed: not again before another idle time
                connection.active_at = self.clock.monotonic()

        self.request(connection, Command.SLEEP, b"", self.settings.call_timeout, done)
