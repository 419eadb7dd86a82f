"""Any order of what devices and strangers do on 61000, 61001 and 61002, against a model of codes and connections.

The services are the server's own, fed with bytes; sockets and TLS handshakes are left out. What has to hold: a
request is answered once and as the model says, however it is cut; codes are good for one certificate, a lost
answer may be asked for again for a while, guesses are limited; nobody holds a connection longer than its time.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from rop_pki.authority import Authority, create_intermediate, create_root
from rop_server.core.codes import GUESSES_PER_MINUTE, RETRIES, RETRY_S, Enrolment, SignedCertificate
from rop_server.core.hub import Clock
from rop_server.core.settings import Ports, Settings
from rop_server.net import provisioning as services
from rop_server.net.gate import Gate
from rop_wire.encrypted import access_key

INDEX = "KEYINDEX00000001"
UIDS = ["95270000000TEST1", "95270000000TEST2"]
ADDRESSES = ["10.0.0.1", "10.0.0.2"]
CODE_LIFE = 60.0
PORTS = ["61000", "61001", "61002"]
OFTEN = st.sampled_from([True, True, True, False])
CUTS = st.sampled_from([0, 0, 0, 1, 2, 7, 64])
NO_BODIES = [b"", b"{", b"[]", b'{"uid":7,"code":8}', b'{"uid":"x","code":"y"}', b"\xff"]
ROOT = "-----BEGIN CERTIFICATE-----\n"
POSTS = {"61001": "/v1.0/devices/credetials", "61002": "/v1.0/devices/registration"}


@cache
def certificate(uid: str) -> bytes:
    """A device certificate, as the TLS layer hands it on."""
    now = datetime.now(UTC)
    root_key, root = create_root(now)
    e1_key, e1 = create_intermediate(root_key, root, "127.0.0.1", now)
    made = Authority(root, e1, e1_key, "127.0.0.1").device_certificate(uid, 30, now)
    return x509.load_pem_x509_certificate(made.chain_pem).public_bytes(Encoding.DER)


class Pipe(asyncio.Transport):
    """The far end of a connection, in memory. `told`: what the server wrote."""

    def __init__(self, der: bytes | None) -> None:
        super().__init__()
        self.told = bytearray()
        self.der = der
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peercert": {}, "ssl_object": self}
        return known.get(name, default) if self.der is not None else default

    def getpeercert(self, _binary: bool) -> bytes | None:
        return self.der

    def write(self, data: Any) -> None:
        self.told += data

    def close(self) -> None:
        self.closed = True

    abort = close


class Everybody:
    """Lets everybody in and counts certificates."""

    def __init__(self) -> None:
        self.issued: Counter[str] = Counter()

    def admit(self, *_: Any) -> None:
        return None

    may_enrol = admit

    def certificate_issued(self, uid: str, *_: Any) -> None:
        self.issued[uid] += 1

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args: None


@dataclass(eq=False)
class Peer:
    """A device's end of a connection; `rest`: what is still to come of a request."""

    port: str
    uid: str
    address: str
    pipe: Pipe
    protocol: Any
    deadline: float
    rest: bytes = b""
    gone: bool = False

    def say(self, data: bytes) -> bytes:
        """Send bytes; what the server answers."""
        self.pipe.told.clear()
        self.protocol.data_received(data)
        return bytes(self.pipe.told)


@dataclass(eq=False)
class Code:
    """A short-term code and what became of it."""

    text: str
    uid: str
    until: float
    first: tuple[str, float] | None = None
    issued: int = 0
    used_up: bool = False


@dataclass
class Guesses:
    """Failures of one address within a minute."""

    began: float = 0.0
    count: int = 0
    blocked: bool = field(default=False, init=False)


class ServicesMachine(RuleBasedStateMachine):
    """Devices enrol, register and ask again; strangers guess, dawdle and talk nonsense."""

    peers = Bundle("peers")
    codes = Bundle("codes")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.facts = Everybody()
        facts: Any = self.facts
        told = Settings(Ports(0, 0, 0, 61003, 61005), "sign", {INDEX: "k" * 32}, INDEX, code_life=CODE_LIFE)
        clock = Clock(lambda: self.now, lambda: 1_700_000_000 + self.now)
        self.enrolment = Enrolment(told, facts, facts, clock, _sign)
        self.services = {
            "61000": services.ca_service(lambda: ROOT, clock),
            "61001": services.certificate_service(self.enrolment, clock),
            "61002": services.registration_service(self.enrolment, clock, facts, facts),
        }
        self.gate = Gate()
        self.all: list[Peer] = []
        self.known: list[Code] = []
        self.guesses: dict[str, Guesses] = {}
        self.issued: Counter[str] = Counter()

    @rule(
        target=peers,
        port=st.sampled_from(PORTS),
        uid=st.sampled_from(UIDS),
        address=st.sampled_from(ADDRESSES),
    )
    def connect(self, port: str, uid: str, address: str) -> Peer:
        ticket = self.gate.enter(address)
        assert ticket is not None
        pipe = Pipe(certificate(uid) if port == "61002" else None)
        protocol = self.services[port].protocol(address, ticket)
        protocol.connection_made(pipe)
        self.all.append(Peer(port, uid, address, pipe, protocol, self.now + services.REQUEST_LIMIT))
        return self.all[-1]

    @rule(target=codes, uid=st.sampled_from(UIDS))
    def issue(self, uid: str) -> Code:
        self.known.append(Code(self.enrolment.issue_code(uid).code, uid, self.now + CODE_LIFE))
        return self.known[-1]

    @rule(target=codes)
    def guess(self) -> Any:
        """Codes that nobody issued."""
        return multiple(Code("Zzzzzzz0", UIDS[0], 0.0), Code("toString", UIDS[0], 0.0))

    # -- requests, each on a connection of its own --------------------------------------------------

    @rule(port=st.sampled_from(PORTS), address=st.sampled_from(ADDRESSES), cut=CUTS)
    def download(self, port: str, address: str, cut: int) -> None:
        """The root, by a GET; on the other ports there is no such path, and the connection may stay."""
        peer = self.connect(port, UIDS[0], address)
        status, body = self._request(peer, b"GET /v1.0/ca?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", cut)
        if port == "61000":
            assert (status, body["ca"], body["now"]) == (200, ROOT, 1_700_000_000 + int(self.now))
            self._closing(peer)
        else:
            assert status == 404
            peer.deadline = self.now + services.IDLE_LIMIT

    @rule(code=codes, own=OFTEN, address=st.sampled_from(ADDRESSES), cut=CUTS, times=st.sampled_from([1, 1, 2, 8]))
    def enrol(self, code: Code, own: bool, address: str, cut: int, times: int) -> None:
        """A certificate for a code: the device's own or another's, fresh, used, old, made up; again and again."""
        uid = code.uid if own else UIDS[UIDS.index(code.uid) ^ 1]
        for _ in range(times):
            peer = self.connect("61001", uid, address)
            status, body = self._request(peer, _post("61001", {"uid": uid, "code": code.text}), cut)
            self._closing(peer)
            symbol = body.get("error", {}).get("symbol")
            assert (status, symbol) == self._verdict(code, uid, address), (code, uid)
            if symbol is None:
                self.issued[uid] += 1
                assert body["key"] == "key" and body["code"].count(".") == 1

    @rule(uid=st.sampled_from(UIDS), own=OFTEN, cut=CUTS)
    def register(self, uid: str, own: bool, cut: int) -> None:
        """The keys of the encrypted transport; the certificate of one device does not register another."""
        peer = self.connect("61002", uid, ADDRESSES[0])
        told = uid if own else UIDS[UIDS.index(uid) ^ 1]
        status, body = self._request(peer, _post("61002", {"uid": told}), cut)
        self._closing(peer)
        if not own:
            assert (status, body["error"]["symbol"]) == (400, "invalid_parameter")
            return
        assert (status, body["accesskey"]) == (200, access_key(INDEX, uid))
        for code in self.known:
            if code.uid == uid and code.first is not None:
                code.used_up = True

    @rule(port=st.sampled_from(["61001", "61002"]), body=st.sampled_from(NO_BODIES), cut=CUTS)
    def nonsense(self, port: str, body: bytes, cut: int) -> None:
        """Bodies that are no request."""
        peer = self.connect(port, UIDS[0], ADDRESSES[0])
        status, told = self._request(peer, _raw_post(POSTS[port], body), cut)
        assert (status, told["error"]["symbol"]) == (400, "invalid_parameter")
        self._closing(peer)

    @rule(
        peer=peers,
        data=st.sampled_from([b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"a" * 17_000])
        | st.binary(min_size=1, max_size=60).map(lambda raw: b"\0" + raw + b"\r\n\r\n"),
    )
    def garbage(self, peer: Peer, data: bytes) -> None:
        """Bytes that are no HTTP: told so once, and closed."""
        if peer.gone or peer.pipe.closed:
            return
        said = peer.say(data)
        if said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
            self._closing(peer)
        else:  # it went on with a request that had begun
            assert peer.rest or said == b""
            self._drop(peer)

    @rule(peer=peers)
    def begin(self, peer: Peer) -> None:
        """A request that does not end."""
        if not (peer.gone or peer.pipe.closed or peer.rest):
            whole = _raw_post("/v1.0/x", b"x" * 100)
            assert peer.say(whole[:-1]) == b""
            peer.rest = whole[-1:]

    @rule(peer=peers)
    def finish(self, peer: Peer) -> None:
        """The rest of it; there is no such path anywhere."""
        if peer.rest and not (peer.gone or peer.pipe.closed):
            rest, peer.rest = peer.rest, b""
            assert peer.say(rest).startswith(b"HTTP/1.1 404 NOT FOUND\r\n")
            if peer.port == "61000":
                self._closing(peer)
            else:
                peer.deadline = self.now + services.IDLE_LIMIT

    @rule(peer=peers)
    def lost(self, peer: Peer) -> None:
        self._drop(peer)

    @rule(seconds=st.sampled_from([1.0, 1.0, 4.0, 6.0, 11.0, 16.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for service in self.services.values():
            service.tick()
        self.enrolment.purge()
        for peer in self.all:
            if not peer.gone and self.now >= peer.deadline:
                assert peer.pipe.closed, "its time is over"
                self._drop(peer)

    # -- the model ----------------------------------------------------------------------------------

    def _request(self, peer: Peer, raw: bytes, cut: int) -> tuple[int, Any]:
        """Send a request in pieces of `cut` bytes, 0: whole; status and document of the answer."""
        step = cut or len(raw)
        *first, last = [raw[start : start + step] for start in range(0, len(raw), step)]
        assert [peer.say(piece) for piece in first] == [b""] * len(first)
        return _split(peer.say(last))

    def _verdict(self, code: Code, uid: str, address: str) -> tuple[int, str | None]:
        """Status and symbol of a request for a certificate. Source: device-protocol 2.2, discrepancies C2.2."""
        guesses = self.guesses.setdefault(address, Guesses())
        if guesses.count >= GUESSES_PER_MINUTE and self.now - guesses.began < 60:
            return 200, "code_invalid"
        refusal = self._refusal(code, uid, address)
        if refusal is None:
            code.issued += 1
            code.first = code.first or (address, self.now)
            return 200, None
        if self.now - guesses.began >= 60 or not guesses.count:
            guesses.began, guesses.count = self.now, 0
        guesses.count += 1
        return refusal

    def _refusal(self, code: Code, uid: str, address: str) -> tuple[int, str] | None:
        if code not in self.known or code.until + 300 <= self.now:
            return 200, "code_invalid"
        if code.uid != uid:
            return 400, "device_not_matched"
        if code.until <= self.now:
            return 400, "code_invalid"
        if code.first is None:
            return None
        where, at = code.first
        again = not code.used_up and where == address and self.now - at < RETRY_S and code.issued < RETRIES
        return None if again else (200, "code_invalid")

    def _closing(self, peer: Peer) -> None:
        """The server closes after its answer; nothing more is heard there."""
        assert peer.pipe.closed
        assert peer.say(b"GET /v1.0/ca HTTP/1.1\r\n\r\n") == b""
        self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        if not peer.gone:
            peer.protocol.connection_lost(None)
            peer.gone = True

    # -- what holds always --------------------------------------------------------------------------

    @invariant()
    def connections(self) -> None:
        there = [peer for peer in self.all if not peer.gone]
        assert sum(len(service.connections) for service in self.services.values()) == len(there)
        assert self.gate.open == len(there)

    @invariant()
    def certificates(self) -> None:
        assert self.facts.issued == self.issued


def _sign(_uid: str, _days: float) -> SignedCertificate:
    return SignedCertificate("01", "issuer", 0.0, "chain", "key")


def _raw_post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _post(port: str, document: dict[str, str]) -> bytes:
    return _raw_post(POSTS[port], json.dumps(document).encode())


def _split(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else None


ServicesMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestServices = ServicesMachine.TestCase
