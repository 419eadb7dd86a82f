"""RTSP 1.0 messages of both sides, and packets interleaved with them.

Sources: ROP v1.0 wire specification, client-api 3.2 to 3.4; RFC 2326. Header names in any case, blanks optional,
lengths checked (discrepancies C1.1).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from rop_wire.errors import EncodeError, ProtocolError

VERSION = "RTSP/1.0"
METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "TEARDOWN", "PLAY", "GET_PARAMETER", "SET_PARAMETER")
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    451: "Parameter Not Understood",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}
MAX_HEAD = 16_384
MAX_BODY = 65_536

Headers = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_REQUEST = re.compile(r"([A-Z_]{1,32}) (\S{1,8192}) RTSP/([0-9])\.[0-9]")
_RESPONSE = re.compile(r"RTSP/1\.[0-9] ([1-5][0-9]{2})(?: (.*))?")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


def _write(first: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    every = list(headers)
    if body:
        every.append(("Content-Length", str(len(body))))
    for name, value in every:
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise EncodeError("a header that RTSP cannot carry")
    lines = [first, *(f"{name}: {value}" for name, value in every)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `Content-Length` is made from the body when writing."""

    method: str
    url: str = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return _header(self.headers, name)

    @property
    def sequence(self) -> str | None:
        """CSeq, to be echoed."""
        return self.header("CSeq")

    @property
    def path(self) -> str:
        """The URL without scheme, host and port."""
        return url_path(self.url)

    def encode(self) -> bytes:
        """The bytes. Raises EncodeError."""
        if not _REQUEST.fullmatch(f"{self.method} {self.url} {VERSION}"):
            raise EncodeError("a request that RTSP cannot carry")
        return _write(f"{self.method} {self.url} {VERSION}", self.headers, self.body)

    def reply(self, status: int = 200, headers: Headers = (), body: bytes = b"") -> "Response":
        """The response with CSeq echoed."""
        echo = () if self.sequence is None else (("CSeq", self.sequence),)
        return Response(status, (*echo, *headers), body)


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `reason` empty: the usual one."""

    status: int
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    reason: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return _header(self.headers, name)

    @property
    def sequence(self) -> str | None:
        """CSeq."""
        return self.header("CSeq")

    def encode(self) -> bytes:
        """The bytes. Raises EncodeError."""
        reason = self.reason or REASONS.get(self.status, "Unknown")
        if not 100 <= self.status <= 599 or _CONTROL.search(reason):
            raise EncodeError("a status that RTSP cannot carry")
        return _write(f"{VERSION} {self.status} {reason}", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A packet on a channel of the connection."""

    channel: int
    data: bytes = field(repr=False)


Message = Request | Response | Interleaved


class MessageReader:
    """Collects messages and interleaved packets from a byte stream split anywhere.

    Holds at most one unfinished message. After a ProtocolError it stays dead.
    """

    __slots__ = ("_buffer", "_dead", "_max_body", "_max_head", "_pending", "_searched")

    def __init__(self, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._searched = 0
        self._pending: tuple[Request | Response, int] | None = None
        self._dead = False

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Complete messages after these bytes. Raises ProtocolError."""
        if self._dead:
            raise ProtocolError("the stream broke the protocol before")
        self._buffer += data
        messages: list[Message] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except ProtocolError:
            self._dead = True
            self._pending = None
            self._buffer.clear()
            raise
        return messages

    def _next(self) -> Message | None:
        if self._pending is not None:
            return self._with_body(*self._pending)
        while self._buffer.startswith((b"\r", b"\n")):  # empty lines between messages
            del self._buffer[:1]
        if not self._buffer:
            return None
        if self._buffer[0] == ord("$"):
            return self._interleaved()
        end = _HEAD_END.search(self._buffer, self._searched)
        if end is None:
            if len(self._buffer) > self._max_head:
                raise ProtocolError("RTSP header too long")
            self._searched = max(0, len(self._buffer) - 3)
            return None
        if end.start() > self._max_head:
            raise ProtocolError("RTSP header too long")
        head = bytes(self._buffer[: end.start()])
        self._drop(end.end())
        self._pending = self._head(head)
        return self._with_body(*self._pending)

    def _interleaved(self) -> Interleaved | None:
        if len(self._buffer) < 4:
            return None
        end = 4 + int.from_bytes(self._buffer[2:4], "big")
        if len(self._buffer) < end:
            return None
        packet = Interleaved(self._buffer[1], bytes(self._buffer[4:end]))
        self._drop(end)
        return packet

    def _head(self, head: bytes) -> tuple[Request | Response, int]:
        """The message without its body, and the length of that."""
        try:
            first, *lines = head.decode().replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError:
            raise ProtocolError("RTSP header is not UTF-8") from None
        headers = _read_headers(lines)
        return _read_first(first, headers), _content_length(headers, self._max_body)

    def _with_body(self, message: Request | Response, length: int) -> Message | None:
        if len(self._buffer) < length:
            return None
        self._pending = None
        if length:
            message = replace(message, body=bytes(self._buffer[:length]))
            self._drop(length)
        return message

    def _drop(self, length: int) -> None:
        del self._buffer[:length]
        self._searched = 0


def _read_headers(lines: list[str]) -> Headers:
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.replace("\t", " ").partition(":")  # both are blanks, and we write one of them
        if not colon or not _TOKEN.fullmatch(name.strip()) or _CONTROL.search(value):
            raise ProtocolError("malformed RTSP header")
        headers.append((name.strip(), value.strip()))
    return tuple(headers)


def _content_length(headers: Headers, limit: int) -> int:
    told = {value for name, value in headers if name.lower() == "content-length"}
    if not told:
        return 0
    (text,) = told if len(told) == 1 else ("",)
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) > limit:
        raise ProtocolError("Content-Length is not a number within the limit")
    return int(text)


def _read_first(first: str, headers: Headers) -> Request | Response:
    request = _REQUEST.fullmatch(first)
    if request:
        return Request(request[1], request[2], headers)
    response = _RESPONSE.fullmatch(first)
    if response and not _CONTROL.search(first):
        return Response(int(response[1]), headers, reason=response[2] or "")
    raise ProtocolError("not an RTSP message")


def url_path(url: str) -> str:
    """Path and query of an RTSP URL; a bare path stays as it is."""
    if "://" not in url:
        return url
    rest = url.partition("://")[2]
    slash = rest.find("/")
    return rest[slash:] if slash >= 0 else "/"


@dataclass(frozen=True, slots=True)
class Transport:
    """One way to send a track: channels of the connection, or ports of UDP (pairs RTP, RTCP)."""

    interleaved: tuple[int, int] | None = None
    client_port: tuple[int, int] | None = None
    server_port: tuple[int, int] | None = None
    ssrc: int | None = None

    def encode(self) -> str:
        """The header's value."""
        words = ["RTP/AVP/TCP" if self.interleaved else "RTP/AVP", "unicast"]
        for name, pair in (
            ("interleaved", self.interleaved),
            ("client_port", self.client_port),
            ("server_port", self.server_port),
        ):
            if pair is not None:
                words.append(f"{name}={pair[0]}-{pair[1]}")
        if self.ssrc is not None:
            words.append(f"ssrc={self.ssrc & 0xFFFFFFFF:08X}")
        return ";".join(words)

    @classmethod
    def decode(cls, value: str) -> "Transport":
        """The first usable way the header offers. Raises ProtocolError (answer 461)."""
        for offer in value.split(","):
            words = [word.strip() for word in offer.split(";")]
            told = {name.lower(): text for name, _, text in (word.partition("=") for word in words[1:])}
            channels = _pair(told.get("interleaved"), 255)
            ports = _pair(told.get("client_port"), 65535)
            profile = words[0].upper()
            if "multicast" in told or not profile.startswith("RTP/AVP"):
                continue
            ssrc = told.get("ssrc", "")
            number = int(ssrc, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", ssrc) else None
            if channels is not None:
                return cls(interleaved=channels, ssrc=number)
            if ports is not None and not profile.endswith("/TCP"):
                return cls(client_port=ports, server_port=_pair(told.get("server_port"), 65535), ssrc=number)
        raise ProtocolError("no usable transport")


def _pair(text: str | None, limit: int) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text or "", re.ASCII)
    if not found:
        return None
    first = int(found[1])
    second = int(found[2]) if found[2] else first + 1
    return (first, second) if first <= limit and second <= limit else None


def range_start(value: str | None) -> float | None:
    """Where a `Range: npt=` begins, in seconds; None for `now` or no range. Raises ProtocolError (answer 457)."""
    if value is None:
        return None
    found = re.fullmatch(r"npt=\s*(now|[0-9]{1,9}(?:\.[0-9]{0,9})?)?\s*-.*", value.strip(), re.ASCII | re.DOTALL)
    if not found:
        raise ProtocolError("range is not in normal play time")
    return None if found[1] in (None, "now") else float(found[1])
