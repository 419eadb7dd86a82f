"""Any order of what devices, strangers and the server do on 61003, 61005, 61006 and 61007, against a model.

The connections are the server's own, fed with bytes; only the sockets and the TLS handshakes are left out, so that
thousands of orders are tried. What has to hold after every step: which connections are open, who is online, how
many places of strangers are taken, what waits for an answer, and that every question ends exactly once.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from rop_pki.authority import Authority, create_intermediate, create_root
from rop_server.core.hub import Clock, Hub
from rop_server.core.pending import Answer, End, Outcome
from rop_server.core.settings import Ports, Settings
from rop_server.media.relay import Relay
from rop_server.net.gate import Gate
from rop_server.net.lines import KeepAliveLine, SignalingLine
from rop_server.net.streams import StreamTcpLine, StreamTlsLine
from rop_wire import messages
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, access_key, secret_access_key, uid_hash
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import Codec
from rop_wire.packet import REQUEST, Packet, PacketReader

INDEX = "KEYINDEX00000001"
KEY = "abcdefghijklmnopqrstuvwxyz012345"
UIDS = ["95270000000TEST1", "95270000000TEST2"]
KEEP_ALIVE, SIGNALING, STREAM_TLS, STREAM_TCP = "61003", "61005", "61006", "61007"
KINDS = (KEEP_ALIVE, SIGNALING, STREAM_TLS, STREAM_TCP)
MEDIA = (STREAM_TLS, STREAM_TCP)
HELLO_LIMIT, SOCKET_LIMIT, ANSWER_LIMIT, SILENCE_LIMIT = 10.0, 40.0, 10.0, 30.0
PICTURE = Frame(FrameKind.KEY, b"\0\0\0\1\x67\1\2\3\0\0\0\1\x68\1\0\0\0\1\x65\x88abc", 0, Codec.H264).encode()


@cache
def certificate(uid: str) -> bytes:
    """A device certificate, as the TLS layer hands it on."""
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "127.0.0.1", now)
    made = Authority(root, e1, e1_key, "127.0.0.1").device_certificate(uid, 30, now)
    return x509.load_pem_x509_certificate(made.chain_pem).public_bytes(Encoding.DER)


class Pipe(asyncio.Transport):
    """The far end of a connection, in memory."""

    def __init__(self, der: bytes | None) -> None:
        super().__init__()
        self.written = bytearray()
        self.der = der

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peercert": {}, "ssl_object": self}
        return known.get(name, default) if self.der is not None else default

    def getpeercert(self, _binary: bool) -> bytes | None:
        return self.der

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        """The machine looks at the line itself."""

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


class Everybody:
    """Lets everybody in and counts what it hears."""

    def __init__(self) -> None:
        self.alarms = 0

    def admit(self, *_: Any) -> None:
        return None

    may_enrol = admit

    def alarm(self, *_: Any) -> None:
        self.alarms += 1

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args: None


@dataclass(eq=False)
class Peer:
    """The device's end of a connection, and what the model says of the server's end."""

    uid: str
    kind: str
    line: Any
    pipe: Pipe
    channel: DeviceChannel | None
    beat: float
    limit: float
    open: bool = True
    announced: bool = False
    gone: bool = False
    reader: PacketReader = field(default_factory=PacketReader)
    got: list[Packet] = field(default_factory=list)

    @property
    def proved(self) -> bool:
        """Whether packets may be sent: TLS is up, or the hello is answered."""
        return self.channel is None or self.channel.established

    def send(self, packet: Packet) -> None:
        self.line.data_received(packet.encode() if self.channel is None else self.channel.encode(packet))
        self.receive()

    def receive(self) -> None:
        """What the server wrote."""
        data, self.pipe.written = bytes(self.pipe.written), bytearray()
        self.got += self.reader.feed(data) if self.channel is None else self.channel.feed(data)


@dataclass(eq=False)
class Question:
    """A request of the server on its way."""

    peer: Peer
    deadline: float
    number: int = -1
    outcomes: list[Outcome] = field(default_factory=list)


class PortsMachine(RuleBasedStateMachine):
    """Connections come, prove themselves or not, talk, and go."""

    peers = Bundle("peers")
    questions = Bundle("questions")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.facts = Everybody()
        facts: Any = self.facts
        told = Settings(Ports(0, 0, 0, 0, 0), "sign", {INDEX: KEY}, INDEX)
        self.hub = Hub(told, facts, facts, Clock(lambda: self.now, time.time))
        self.relay = Relay(lambda: self.now, lambda: SILENCE_LIMIT)
        self.gate = Gate()
        self.all: list[Peer] = []
        self.waiting: list[Question] = []
        self.answered: list[Question] = []
        self.alarms = 0
        self.streams: dict[tuple[str, int], list[str]] = {}

    # -- connections --------------------------------------------------------------------------------

    @rule(
        target=peers,
        uid=st.sampled_from(UIDS),
        kind=st.sampled_from(KINDS),
        stage=st.sampled_from([0, 1, 2, 2, 2]),
    )
    def connect(self, uid: str, kind: str, stage: int) -> Peer:
        """`stage`: 0 says nothing, 1 says hello where there is one, 2 is online."""
        ticket = self.gate.enter("10.0.0.1")
        assert ticket is not None
        makes: dict[str, Callable[[], Any]] = {
            KEEP_ALIVE: lambda: KeepAliveLine(self.hub, "10.0.0.1", ticket),
            SIGNALING: lambda: SignalingLine(self.hub, "10.0.0.1", ticket),
            STREAM_TLS: lambda: StreamTlsLine(self.hub, self.relay, "10.0.0.1", ticket),
            STREAM_TCP: lambda: StreamTcpLine(self.hub, self.relay, "10.0.0.1", ticket),
        }
        tls = kind in (SIGNALING, STREAM_TLS)
        channel = None if tls else DeviceChannel(access_key(INDEX, uid), _secret(uid), bytes(32))
        pipe = Pipe(certificate(uid) if tls else None)
        peer = Peer(uid, kind, makes[kind](), pipe, channel, self.now, SOCKET_LIMIT if tls else HELLO_LIMIT)
        peer.line.connection_made(pipe)
        self.all.append(peer)
        if stage:
            self.hello(peer)
        if stage == 2:
            self.handshake(peer, False)
        return peer

    @rule(peer=peers)
    def hello(self, peer: Peer) -> None:
        if peer.channel is not None and peer.open and not peer.proved:
            peer.line.data_received(peer.channel.hello())
            peer.receive()
            assert peer.proved
            peer.beat = self.now

    @rule(peer=peers, other=st.sampled_from([False, False, True]))
    def handshake(self, peer: Peer, other: bool) -> None:
        """The device announces itself, or somebody else."""
        if not (peer.open and peer.proved):
            return
        uid = UIDS[UIDS.index(peer.uid) ^ 1] if other else peer.uid
        before = len(peer.got)
        peer.send(Packet(REQUEST, Command.HANDSHAKE, 1, 200, messages.Handshake(uid, family="powered").encode()))
        if other:
            self._ended(peer)
            return
        peer.beat, peer.limit = self.now, SOCKET_LIMIT
        if peer.kind in MEDIA:
            return
        for older in self.all:
            if (
                older is not peer
                and older.open
                and older.announced
                and older.kind == peer.kind
                and older.uid == uid
            ):
                self._ended(older)
        peer.announced = True
        # A wake-up that is under way is asked for again on the newer connection.
        self._answer_wake_ups(peer, before)

    @rule(peer=peers, silent=st.booleans())
    def heartbeat(self, peer: Peer, silent: bool) -> None:
        if not (peer.open and peer.proved):
            return
        told = messages.Heartbeat(messages.BatteryState(50, 0), no_reply=silent).encode()
        before = len(peer.got)
        peer.send(Packet(REQUEST, Command.HEARTBEAT, 2, 200, told))
        if peer.kind in MEDIA:
            self._ended(peer)
            return
        if peer.announced or peer.kind == SIGNALING:
            peer.beat = self.now
        assert len(peer.got) - before == (0 if silent and peer.kind == KEEP_ALIVE else 1)

    @rule(peer=peers)
    def alarm(self, peer: Peer) -> None:
        if peer.open and peer.proved:
            event = messages.AlarmMessage((messages.AlarmEvent("0", "MD", "people"),))
            peer.send(Packet(REQUEST, Command.ALARM, 3, 200, event.encode()))
            self.alarms += peer.kind == SIGNALING
            if peer.kind in MEDIA:
                self._ended(peer)

    @rule(peer=peers, wrong=st.sampled_from(["length", "noise", "document"]))
    def garbage(self, peer: Peer, wrong: str) -> None:
        """Bytes that are no packet, or a packet that is none."""
        if not peer.open:
            return
        if wrong == "document" and peer.proved:
            peer.send(Packet(REQUEST, Command.HANDSHAKE, 4, 200, b"<body"))
        elif peer.channel is None:
            peer.line.data_received(struct.pack("<6I", 0, 0, 2**31, 1, 200, 0))
        else:
            peer.line.data_received(b"\xff" * 200)
        self._ended(peer)

    @rule(peer=peers, error=st.booleans())
    def lost(self, peer: Peer, error: bool) -> None:
        if not peer.gone:
            peer.line.connection_lost(OSError() if error else None)
            peer.gone = True
            if peer.open:
                self._ended(peer)

    # -- questions of the server --------------------------------------------------------------------

    @rule(target=questions, peer=peers)
    def ask(self, peer: Peer) -> Question:
        """A command on a signaling connection."""
        question = Question(peer, self.now + ANSWER_LIMIT)
        if peer.open and peer.announced and peer.kind == SIGNALING:
            self.waiting.append(question)
            self.answered.append(question)
            before = len(peer.got)
            self.hub.request(peer.line, Command.GET_GENERAL, b"", ANSWER_LIMIT, question.outcomes.append)
            peer.receive()
            (asked,) = peer.got[before:]
            question.number = asked.request_id
        return question

    @rule(question=questions, how=st.sampled_from(["right", "right", "status", "number", "command"]))
    def answer(self, question: Question, how: str) -> None:
        """The device answers, once or again, or something else."""
        peer = question.peer
        if question.number < 0 or not peer.open:
            return
        asked = Packet(REQUEST, Command.GET_GENERAL, question.number)
        reply = asked.reply(403 if how == "status" else 200, b"<body/>")
        if how == "number":
            reply = Packet(reply.kind, reply.command, question.number ^ 0x40000000, 200)
        elif how == "command":
            reply = Packet(reply.kind, Command.GET_PIR, question.number, 200)
        peer.send(reply)
        if how in ("right", "status") and question in self.waiting:
            self.waiting.remove(question)
            assert question.outcomes == [Answer(reply.status, reply.payload)]

    @rule(peer=peers)
    def wake(self, peer: Peer) -> None:
        """Somebody needs a device that may sleep: asked once, whoever needs it."""
        if peer.open and peer.announced and peer.kind == KEEP_ALIVE:
            ends: list[Any] = []
            before = len(peer.got)
            self.hub.wake(peer.uid, peer.line).listen(ends.append)
            peer.receive()
            assert [each.command for each in peer.got[before:]] in ([], [Command.WAKE_UP])
            self._answer_wake_ups(peer, before)

    def _answer_wake_ups(self, peer: Peer, since: int) -> None:
        for asked in peer.got[since:]:
            if asked.is_request and asked.command == Command.WAKE_UP:
                peer.send(asked.reply())

    # -- media --------------------------------------------------------------------------------------

    @rule(uid=st.sampled_from(UIDS), handle=st.integers(1, 2))
    def stream(self, uid: str, handle: int) -> None:
        """A stream that a camera may send from now on."""
        if self.relay.taken(uid, handle):
            return
        ends = self.streams[uid, handle] = []
        self.relay.open(uid, handle, False, ends.append).begin(InfoBlock(15, Codec.H264))

    @rule(peer=peers, handle=st.integers(1, 3))
    def media(self, peer: Peer, handle: int) -> None:
        """A picture, for a stream that is known or not."""
        if not (peer.open and peer.proved):
            return
        unknown = self.relay.unknown
        known = self.relay.taken(peer.uid, handle)
        peer.send(Packet(REQUEST, Command.LIVE_START, handle, 200, PICTURE))
        if peer.kind == STREAM_TCP and peer.limit == HELLO_LIMIT:
            self._ended(peer)  # who it is has not been told yet
        elif peer.kind in MEDIA:
            peer.beat = self.now
            assert self.relay.unknown - unknown == (not known)

    # -- time ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0, 31.0, 41.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()
        self.relay.tick()
        for peer in self.all:
            if peer.open and self.now - peer.beat > peer.limit:
                self._ended(peer)
        for question in [each for each in self.waiting if each.deadline <= self.now]:
            # What expires and what loses its connection in the same second ends either way.
            self.waiting.remove(question)

    def _ended(self, peer: Peer) -> None:
        peer.open = peer.announced = False
        self.waiting = [each for each in self.waiting if each.peer is not peer]

    # -- what holds always --------------------------------------------------------------------------

    @invariant()
    def connections_are_as_they_should_be(self) -> None:
        assert [peer.line.closed for peer in self.all] == [not peer.open for peer in self.all]
        assert self.hub.open == {peer.line for peer in self.all if not peer.gone}

    @invariant()
    def who_is_online(self) -> None:
        online = {peer.uid for peer in self.all if peer.open and peer.announced}
        assert {link.uid for link in self.hub.registry.online()} == online
        for link in self.hub.registry.online():
            kinds = {peer.kind for peer in self.all if peer.announced and peer.uid == link.uid}
            assert (link.signaling, link.keep_alive) == (SIGNALING in kinds, KEEP_ALIVE in kinds)

    @invariant()
    def places_of_strangers(self) -> None:
        strangers = [peer for peer in self.all if not (peer.proved or peer.gone)]
        assert self.gate.open == len(strangers)

    @invariant()
    def questions_end_once(self) -> None:
        assert len(self.hub.pending) == len(self.waiting)
        for question in self.answered:
            assert len(question.outcomes) == (question not in self.waiting)
            assert all(isinstance(each, Answer | End) for each in question.outcomes)

    @invariant()
    def streams_end_with_their_connections(self) -> None:
        running = {(each.uid, each.handle) for each in self.relay.streams}
        assert {name for name, ends in self.streams.items() if not ends} == running
        assert all(len(ends) <= 1 for ends in self.streams.values())
        for each in self.relay.streams:
            assert not any(carrier.closed for carrier in each.carriers)  # type: ignore[attr-defined]

    @invariant()
    def alarms_count(self) -> None:
        assert self.facts.alarms == self.alarms


def _secret(uid: str) -> str:
    return secret_access_key(KEY, uid_hash(uid))


PortsMachine.TestCase.settings = settings(
    max_examples=400, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPorts = PortsMachine.TestCase
