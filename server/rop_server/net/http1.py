"""HTTP/1.1 for the provisioning services, sans-IO: bytes in, requests out.

Own code because these services differ from HTTP as libraries speak it (`Connection: closed`, raw prefix
match, orderly close after the answer) and are reachable by everyone: strict, bounded, a few states.
Source: ROP v1.0 wire specification, device-protocol 2; RFC 9112; discrepancies C3.17.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

MAX_HEAD = 16384
MAX_BODY = 65536
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HttpError(Exception):
    """Bytes that are no acceptable request; answered with `status`, then the connection ends."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; `target` raw, header names in lower case, the last of equal names wins."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class RequestReader:
    """Collects requests from a byte stream split anywhere; holds at most one head and one body."""

    __slots__ = ("_body", "_buffer", "_chunked", "_head", "_missing", "expects")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: HttpRequest | None = None
        self._body = bytearray()
        self._missing = 0
        self._chunked = False
        self.expects = False
        """True once after a head with `Expect: 100-continue`; the caller answers and clears it."""

    @property
    def idle(self) -> bool:
        """True between requests."""
        return self._head is None and not self._buffer

    def feed(self, data: bytes) -> list[HttpRequest]:
        """Requests completed by these bytes. Raises `HttpError`, after which the reader is useless."""
        self._buffer += data
        found: list[HttpRequest] = []
        while (request := self._next()) is not None:
            found.append(request)
            if len(found) > 16:
                raise HttpError(400, "Bad Request")
        return found

    def _next(self) -> HttpRequest | None:
        if self._head is None and not self._read_head():
            return None
        done = self._read_chunks() if self._chunked else self._read_length()
        if not done or self._head is None:
            return None
        head, self._head = self._head, None
        body, self._body = bytes(self._body), bytearray()
        return HttpRequest(head.method, head.target, head.headers, body)

    def _read_head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 2.2: an empty line before a request
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise HttpError(431, "Request Header Fields Too Large")
            return False
        head = _parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._head = head
        coding = head.headers.get("transfer-encoding")
        length = head.headers.get("content-length", "0")
        if coding is not None and (coding.lower() != "chunked" or "content-length" in head.headers):
            raise HttpError(501 if "content-length" not in head.headers else 400, "Bad Request")
        if not (length.isascii() and length.isdigit()):
            raise HttpError(400, "Bad Request")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise HttpError(413, "Content Too Large")
        self._chunked = coding is not None
        self._missing = -1 if self._chunked else int(length)
        self.expects = head.headers.get("expect", "").lower() == "100-continue"
        return True

    def _read_length(self) -> bool:
        take = min(self._missing, len(self._buffer))
        self._body += self._buffer[:take]
        del self._buffer[:take]
        self._missing -= take
        return self._missing == 0

    def _read_chunks(self) -> bool:
        """`_missing`: -1 a size line is next, -2 the trailer, else bytes of the chunk and its line end."""
        while True:
            if self._missing >= 0:
                take = min(self._missing, len(self._buffer))
                self._body += self._buffer[:take]
                del self._buffer[:take]
                self._missing -= take
                if self._missing:
                    return False
                if self._body[-2:] != b"\r\n":
                    raise HttpError(400, "Bad Request")
                del self._body[-2:]
                self._missing = -1
            line = self._line()
            if line is None:
                return False
            if self._missing == -2:
                if not line:
                    return True
                continue
            size = _chunk_size(line)
            if len(self._body) + size > MAX_BODY:
                raise HttpError(413, "Content Too Large")
            self._missing = size + 2 if size else -2

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, 1024)
        if end < 0:
            if len(self._buffer) >= 1024:
                raise HttpError(400, "Bad Request")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not 0 < len(digits) <= 8 or not all(byte in b"0123456789abcdefABCDEF" for byte in digits):
        raise HttpError(400, "Bad Request")
    return int(digits, 16)


def _parse_head(head: bytes) -> HttpRequest:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[0] or not parts[1] or not set(parts[0]) <= TOKEN:
        raise HttpError(400, "Bad Request")
    if parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505 if parts[2].startswith("HTTP/") else 400, "Bad Request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or not set(name) <= TOKEN:
            raise HttpError(400, "Bad Request")
        key = name.lower()
        if key in headers and key in ("content-length", "transfer-encoding"):
            raise HttpError(400, "Bad Request")
        headers[key] = value.strip(" \t")
    return HttpRequest(parts[0], parts[1], headers, b"")


def answer(status: int, body: bytes, wall: float) -> bytes:
    """A handled request's response, with the header the vendor's server sends.

    `Connection: closed` is spelled like this on the wire.
    """
    reason = {200: "OK", 400: "Bad Request"}.get(status, "Error")
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nConnection: closed\r\n"
        f"Date: {formatdate(wall, usegmt=True)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def not_found(method: str, keep_alive: bool, wall: float) -> bytes:
    """The 404 of these services: empty chunked body; `keep_alive` as on 61001 and 61002."""
    kept = "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n" if keep_alive else "Connection: close\r\n"
    body = b"" if method == "HEAD" else b"0\r\n\r\n"
    return (
        f"HTTP/1.1 404 NOT FOUND\r\nDate: {formatdate(wall, usegmt=True)}\r\n{kept}"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode() + body


def failure(error: HttpError) -> bytes:
    """The response to bytes that are no request."""
    return f"HTTP/1.1 {error.status} {error.reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
