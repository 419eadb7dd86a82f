"""Encrypted TCP (61003 and 61007): hello, keys, outer packets. Both sides, sans-IO.

Source: ROP v1.0 wire specification, device-protocol 6. MACs, sequence numbers and clear packets are checked
(discrepancies C2.4); `Policy.REPORT` counts what breaks the rules instead of refusing it.
"""

import base64
import hashlib
import hmac
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms

from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.packet import HEADER_LENGTH, MAX_DATA, Packet, PacketReader

HELLO_LENGTH = 100
KEY_LENGTH = 32
MAC_LENGTH = 32
OUTER_HEADER_LENGTH = 12
MAX_BODY = MAX_DATA - MAC_LENGTH
HELLO_OK = 200
HELLO_STALE_KEY = 400

_HELLO_HEAD = struct.Struct("<HH")
_OUTER = struct.Struct("<HHII")


def _hmac(key: str, message: bytes) -> bytes:
    return hmac.digest(key.encode(), message, "sha256")


def uid_hash(uid: str) -> str:
    """First 16 characters of the lower-case hex SHA-256 of the UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def access_key(key_index: str, uid: str) -> str:
    """Key index (16) and UID hash (16)."""
    return key_index + uid_hash(uid)


def secret_access_key(device_key: str, hashed_uid: str) -> str:
    """The device's HMAC key: first 32 characters of base64(HMAC(device key, UID hash))."""
    return base64.b64encode(_hmac(device_key, hashed_uid.encode())).decode()[:KEY_LENGTH]


def session_key(secret: str, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """32 bytes: AES-128 key and IV of a connection, the same for both directions."""
    return _hmac(secret, client_nonce + server_nonce)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of either side, 100 bytes."""

    status: int
    access_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def _signed(self) -> bytes:
        return _HELLO_HEAD.pack(HELLO_LENGTH, self.status) + self.access_key + self.nonce

    def encode(self, secret: str) -> bytes:
        """The message, signed with the device's secret."""
        if len(self.access_key) != KEY_LENGTH or len(self.nonce) != KEY_LENGTH:
            raise EncodeError("access key and nonce have 32 bytes")
        signed = self._signed()
        return signed + _hmac(secret, signed)

    @classmethod
    def decode(cls, data: bytes) -> tuple["Hello", bytes]:
        """The message and the signed bytes. `data` has 100 bytes; their length field is not looked at."""
        if len(data) != HELLO_LENGTH:
            raise ProtocolError(f"hello of {len(data)} bytes")
        _, status = _HELLO_HEAD.unpack_from(data)
        return cls(status, data[4:36], data[36:68], data[68:]), data[:68]


def _signed_right(secret: str, signed: bytes, signature: bytes) -> bool:
    return hmac.compare_digest(_hmac(secret, signed), signature)


class Policy(Enum):
    """What happens to packets that break the integrity rules."""

    ENFORCE = "Enforce"
    REPORT = "Report"


@dataclass(slots=True)
class _Direction:
    """Cipher state and sequence of one direction."""

    cipher: CipherContext
    sequence: int = 0


def _stream(key: bytes, encrypting: bool) -> CipherContext:
    cipher = Cipher(algorithms.AES(key[:16]), CFB(key[16:]))
    return cipher.encryptor() if encrypting else cipher.decryptor()


@dataclass(slots=True)
class _Outer:
    """Outer packets of both directions after the hello."""

    secret: str = field(repr=False)
    key: bytes = field(repr=False)
    policy: Policy
    clear_allowed: bool
    findings: Counter[str]
    out: _Direction = field(init=False)
    into: _Direction = field(init=False)
    buffer: bytearray = field(default_factory=bytearray)
    dead: bool = False

    def __post_init__(self) -> None:
        self.out = _Direction(_stream(self.key, True))
        self.into = _Direction(_stream(self.key, False))

    def wrap(self, body: bytes, encrypted: bool) -> bytes:
        """One outer packet around a body of at most 65503 bytes."""
        sealed = self.out.cipher.update(body) if encrypted else body
        head = _OUTER.pack(
            OUTER_HEADER_LENGTH, int(encrypted), len(sealed) + MAC_LENGTH, self.out.sequence & 0xFFFFFFFF
        )
        self.out.sequence += 1
        return head + sealed + _hmac(self.secret, head + sealed)

    def unwrap(self, data: bytes) -> list[bytes]:
        """Bodies of the complete outer packets, in clear. After a ProtocolError the channel kills it."""
        if self.dead:
            raise ProtocolError("the stream broke the protocol before")
        self.buffer += data
        bodies = []
        while len(self.buffer) >= OUTER_HEADER_LENGTH:
            length, encrypted, size, sequence = _OUTER.unpack_from(self.buffer)
            if length != OUTER_HEADER_LENGTH or not MAC_LENGTH <= size <= MAX_DATA or encrypted > 1:
                raise ProtocolError(f"outer packet: header {length}, flag {encrypted}, {size} bytes")
            end = OUTER_HEADER_LENGTH + size
            if len(self.buffer) < end:
                break
            raw = bytes(self.buffer[:end])
            del self.buffer[:end]
            bodies.append(self._open(raw, bool(encrypted), sequence))
        return bodies

    def kill(self) -> None:
        """Take nothing more: what came in broke the protocol."""
        self.dead = True
        self.buffer.clear()

    def _open(self, raw: bytes, encrypted: bool, sequence: int) -> bytes:
        body = raw[OUTER_HEADER_LENGTH:-MAC_LENGTH]
        if not _signed_right(self.secret, raw[:-MAC_LENGTH], raw[-MAC_LENGTH:]):
            self._broken("mac")
        if sequence != self.into.sequence & 0xFFFFFFFF:
            self._broken("sequence")
        if not encrypted and not self.clear_allowed:
            self._broken("clear")
        self.into.sequence = sequence + 1
        return self.into.cipher.update(body) if encrypted else body

    def _broken(self, rule: str) -> None:
        self.findings[rule] += 1
        if self.policy is Policy.ENFORCE:
            raise ProtocolError(f"integrity: {rule}")


class ServerChannel:
    """The server's side of one connection.

    `keys` maps key index to device key. `clear_allowed`: media connections may carry packets in clear, 61003 not.
    `stale(index, UID hash)`: whether a known index that is not the current one is refused; without it, always.
    After `feed`, send `outgoing()`; when `refused` is set, close after that. `findings` counts broken rules.
    """

    __slots__ = (
        "_clear_allowed",
        "_current",
        "_hello",
        "_keys",
        "_nonce",
        "_out",
        "_outer",
        "_packets",
        "_policy",
        "_stale",
        "findings",
        "key_index",
        "refused",
        "uid_hash",
    )

    def __init__(
        self,
        keys: Mapping[str, str],
        current_index: str,
        nonce: bytes,
        policy: Policy = Policy.ENFORCE,
        clear_allowed: bool = False,
        max_length: int = MAX_DATA,
        stale: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._keys = keys
        self._stale = stale
        self._current = current_index
        self._nonce = nonce
        self._policy = policy
        self._clear_allowed = clear_allowed
        self._hello = bytearray()
        self._outer: _Outer | None = None
        self._packets = PacketReader(max_length)
        self._out = bytearray()
        self.findings: Counter[str] = Counter()
        self.refused: str | None = None
        self.uid_hash: str | None = None
        self.key_index: str | None = None

    @property
    def established(self) -> bool:
        """Whether the hello was accepted."""
        return self._outer is not None

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of a message."""
        return len(self._hello) + self._packets.buffered + (len(self._outer.buffer) if self._outer else 0)

    def feed(self, data: bytes) -> list[Packet]:
        """Core packets after these bytes. ProtocolError: close without an answer."""
        if self.refused:
            return []
        if self._outer is None:
            missing = HELLO_LENGTH - len(self._hello)
            self._hello += data[:missing]
            data = data[missing:]
            if len(self._hello) < HELLO_LENGTH:
                return []
            self._greet(bytes(self._hello))
            self._hello.clear()
        if self._outer is None:
            return []
        try:
            return [packet for body in self._outer.unwrap(data) for packet in self._packets.feed(body)]
        except ProtocolError:
            self._outer.kill()
            raise

    def _greet(self, data: bytes) -> None:
        hello, signed = Hello.decode(data)
        try:
            shown = hello.access_key.decode("ascii")
        except UnicodeDecodeError:
            raise ProtocolError("access key is not ASCII") from None
        self.key_index, hashed = shown[:16], shown[16:]
        device_key = self._keys.get(self.key_index)
        if device_key is None:
            raise ProtocolError("unknown key index")
        secret = secret_access_key(device_key, hashed)
        if not _signed_right(secret, signed, hello.signature):
            raise ProtocolError("signature of the hello")
        self.uid_hash = hashed
        accepted = self.key_index == self._current or (
            self._stale is not None and not self._stale(self.key_index, hashed)
        )
        status = HELLO_OK if accepted else HELLO_STALE_KEY
        self._out += Hello(status, hello.access_key, self._nonce).encode(secret)
        if not accepted:
            self.refused = "stale key index"
            return
        key = session_key(secret, hello.nonce, self._nonce)
        self._outer = _Outer(secret, key, self._policy, self._clear_allowed, self.findings)

    def outgoing(self) -> bytes:
        """Bytes to send because of what came in (the hello's answer); empties itself."""
        waiting = bytes(self._out)
        self._out.clear()
        return waiting

    def encode(self, packet: Packet) -> bytes:
        """One core packet in one outer packet, encrypted, padded with zeros to 16 bytes (device-protocol 6.4)."""
        if self._outer is None:
            raise EncodeError("no hello yet")
        body = packet.encode()
        body += bytes(-len(body) % 16)
        if len(body) > MAX_BODY:
            raise EncodeError(f"{len(body)} bytes do not fit in an outer packet")
        return self._outer.wrap(body, True)


class DeviceChannel:
    """The device's side of one connection. Send `hello()` first; `established` after the server's answer.

    The server's answer 400 raises nothing: `status` is then 400 and the device registers again.
    """

    __slots__ = ("_access_key", "_hello", "_nonce", "_outer", "_secret", "findings", "status")

    def __init__(self, access_key_text: str, secret: str, nonce: bytes) -> None:
        self._access_key = access_key_text.encode()
        self._secret = secret
        self._nonce = nonce
        self._hello = bytearray()
        self._outer: _Outer | None = None
        self.status: int | None = None
        self.findings: Counter[str] = Counter()

    @property
    def established(self) -> bool:
        """Whether the server accepted the hello."""
        return self._outer is not None

    @property
    def buffered(self) -> int:
        """Bytes waiting for the rest of a message."""
        return len(self._hello) + (len(self._outer.buffer) if self._outer else 0)

    def hello(self) -> bytes:
        """The first message."""
        return Hello(0, self._access_key, self._nonce).encode(self._secret)

    def feed(self, data: bytes) -> list[Packet]:
        """Core packets of the server, one per outer packet, padding dropped. ProtocolError: close."""
        if self._outer is None:
            if self.status is not None:
                return []
            missing = HELLO_LENGTH - len(self._hello)
            self._hello += data[:missing]
            data = data[missing:]
            if len(self._hello) < HELLO_LENGTH:
                return []
            self._greeted(bytes(self._hello))
            self._hello.clear()
        if self._outer is None:
            return []
        try:
            return [_core_packet(body) for body in self._outer.unwrap(data)]
        except ProtocolError:
            self._outer.kill()
            raise

    def _greeted(self, data: bytes) -> None:
        answer, signed = Hello.decode(data)
        if answer.access_key != self._access_key or not _signed_right(self._secret, signed, answer.signature):
            raise ProtocolError("the server's hello is not for this device")
        self.status = answer.status
        if answer.status == HELLO_OK:
            key = session_key(self._secret, self._nonce, answer.nonce)
            self._outer = _Outer(self._secret, key, Policy.ENFORCE, True, self.findings)

    def encode(self, packet: Packet, encrypted: bool = True, clear_from: int | None = None) -> bytes:
        """One core packet, without padding, over as many outer packets as it needs.

        `clear_from`: bytes of the core packet from this offset on travel in clear; `MediaMode.clear_from` tells it
        for media. `encrypted=False` is the same as 0.
        """
        outer = self._outer
        if outer is None:
            raise EncodeError("the hello is not answered yet")
        data = packet.encode()
        border = len(data) if clear_from is None else min(clear_from, len(data))
        if not encrypted:
            border = 0
        pieces = [
            outer.wrap(data[start : min(start + MAX_BODY, border)], True) for start in range(0, border, MAX_BODY)
        ]
        pieces += [
            outer.wrap(data[start : start + MAX_BODY], False) for start in range(border, len(data), MAX_BODY)
        ]
        return b"".join(pieces)


def _core_packet(body: bytes) -> Packet:
    """The one core packet of a server's outer packet; the rest of the body is padding."""
    if len(body) < HEADER_LENGTH:
        raise ProtocolError(f"core packet of {len(body)} bytes")
    size: int = struct.unpack_from("<I", body, 8)[0]
    found = PacketReader().feed(body[: HEADER_LENGTH + size])
    if len(found) != 1:
        raise ProtocolError("outer packet without a whole core packet")
    return found[0]


class MediaMode(Enum):
    """How media travel; the words of the start command. Source: device-protocol 6.5."""

    TLS = "TLS"
    SELECTIVE = "encryptTCP"
    CLEAR = "TCP"

    def clear_from(self, offset: int, key_frame: bool) -> int:
        """Where the clear part of a media core packet begins whose payload starts at `offset` of its frame.

        Selective encryption hides every core header and the head of each frame: 1024 bytes of key frames, 128 of
        others. `TCP` hides nothing; under `TLS` the question does not arise.
        """
        if self is not MediaMode.SELECTIVE:
            return 0
        return HEADER_LENGTH + max(0, (1024 if key_frame else 128) - offset)
