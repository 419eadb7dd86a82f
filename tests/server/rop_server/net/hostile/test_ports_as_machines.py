"""Any order of what devices and strangers do on 61003 and 61007, against a model of who is online.

The connections are the server's own, fed with bytes; only the sockets are left out, so that thousands of orders
are tried. What has to hold after every step: who is online, how many places of strangers are taken, that nothing
waits for connections that are gone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rop_server.core.hub import Clock, Hub
from rop_server.core.settings import Ports, Settings
from rop_server.media.relay import Relay
from rop_server.net.gate import Gate
from rop_server.net.lines import KeepAliveLine
from rop_server.net.streams import StreamTcpLine
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, access_key, secret_access_key, uid_hash
from rop_wire.packet import Packet

INDEX = "KEYINDEX00000001"
KEY = "abcdefghijklmnopqrstuvwxyz012345"
UIDS = ["95270000000TEST1", "95270000000TEST2"]


class Pipe(asyncio.Transport):
    """The far end of a connection, in memory."""

    def __init__(self, line: Any) -> None:
        super().__init__()
        self.line = line
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0


class Everybody:
    """Lets everybody in and hears nothing."""

    def admit(self, *_: Any) -> None:
        return None

    def may_enrol(self, _uid: str) -> None:
        return None

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args: None


class PortsMachine(RuleBasedStateMachine):
    """Connections come, prove themselves or not, and go."""

    lines = Bundle("lines")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        facts: Any = Everybody()
        told = Settings(Ports(0, 0, 0, 0, 0), "sign", {INDEX: KEY}, INDEX)
        self.hub = Hub(told, facts, facts, Clock(lambda: self.now, time.time))
        self.relay = Relay(lambda: self.now, lambda: 30.0)
        self.gate = Gate()
        self.online: dict[str, Any] = {}
        self.strangers: set[int] = set()
        self.pipes: dict[int, Pipe] = {}

    @rule(target=lines, uid=st.sampled_from(UIDS), media=st.booleans(), stage=st.sampled_from([0, 1, 2, 2, 2]))
    def connect(self, uid: str, media: bool, stage: int) -> Any:
        """`stage`: 0 says nothing, 1 says hello, 2 is online."""
        ticket = self.gate.enter("10.0.0.1")
        assert ticket is not None
        if media:
            line: Any = StreamTcpLine(self.hub, self.relay, "10.0.0.1", ticket)
        else:
            line = KeepAliveLine(self.hub, "10.0.0.1", ticket)
        pipe = self.pipes[id(line)] = Pipe(line)
        line.connection_made(pipe)
        self.strangers.add(id(line))
        channel = DeviceChannel(access_key(INDEX, uid), secret_access_key(KEY, uid_hash(uid)), bytes(32))
        each = (line, uid, channel)
        if stage:
            self._hello(each)
        if stage == 2:
            self._handshake(each, False)
        return each

    @rule(each=lines)
    def hello(self, each: Any) -> None:
        self._hello(each)

    def _hello(self, each: Any) -> None:
        line, _, channel = each
        if id(line) in self.strangers and not line.closed:
            line.data_received(channel.hello())
            channel.feed(bytes(self.pipes[id(line)].written))
            self.strangers.discard(id(line))

    @rule(each=lines, other=st.booleans())
    def handshake(self, each: Any, other: bool) -> None:
        self._handshake(each, other)

    def _handshake(self, each: Any, other: bool) -> None:
        line, uid, channel = each
        if not channel.established or line.closed:
            return
        told = UIDS[UIDS.index(uid) ^ 1] if other else uid
        packet = Packet(0, Command.HANDSHAKE, 1, 200, messages.Handshake(told, family="battery").encode())
        line.data_received(channel.encode(packet))
        assert line.closed is other
        if not other and isinstance(line, KeepAliveLine):
            self.online[uid] = line

    @rule(each=lines)
    def heartbeat(self, each: Any) -> None:
        line, _, channel = each
        if channel.established and not line.closed and isinstance(line, KeepAliveLine):
            line.data_received(channel.encode(Packet(0, Command.HEARTBEAT, 2, 200, messages.Heartbeat().encode())))
            assert not line.closed

    @rule(each=lines, noise=st.binary(min_size=140, max_size=200).map(lambda raw: b"\xff" * 4 + raw))
    def garbage(self, each: Any, noise: bytes) -> None:
        line, _, _ = each
        line.data_received(noise)
        assert line.closed

    @rule(each=consumes(lines))
    def lost(self, each: Any) -> None:
        line, _, _ = each
        line.connection_lost(None)
        assert line.closed
        self.strangers.discard(id(line))

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0, 41.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()
        self.relay.tick()

    @invariant()
    def who_is_online(self) -> None:
        self.online = {uid: line for uid, line in self.online.items() if not line.closed}
        told = {entry for entry in UIDS if self.hub.registry.entry(entry) is not None}
        assert told == set(self.online)

    @invariant()
    def places_of_strangers(self) -> None:
        assert self.gate.open == len(self.strangers)
        assert len(self.hub.pending) == 0


PortsMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPorts = PortsMachine.TestCase
