"""Core packets: a 24-byte header, optional extension XML, payload.

Source: ROP v1.0 wire specification, device-protocol 3. Lengths use all 32 bits (discrepancies C3.1).
"""

import struct
from dataclasses import dataclass, field

from rop_wire.errors import EncodeError, ProtocolError

REQUEST = 0
RESPONSE = 1
HEADER_LENGTH = 24
MAX_DATA = 65535
OK = 200
BAD_REQUEST = 400

_HEADER = struct.Struct("<6I")


@dataclass(frozen=True, slots=True)
class Packet:
    """One core packet. `request_id` pairs response and request; media packets carry the stream handle in it."""

    kind: int
    command: int
    request_id: int
    status: int = OK
    # Payloads carry WiFi keys: not in logs by way of the representation.
    payload: bytes = field(default=b"", repr=False)
    extension: bytes = field(default=b"", repr=False)

    @property
    def is_request(self) -> bool:
        """True unless the packet answers one (device-protocol 3: never answer a response)."""
        return self.kind == REQUEST

    def encode(self) -> bytes:
        """The bytes on the wire. Raises EncodeError above 65535 data bytes."""
        length = len(self.extension) + len(self.payload)
        if length > MAX_DATA:
            raise EncodeError(f"a core packet holds at most {MAX_DATA} bytes, not {length}")
        try:
            header = _HEADER.pack(
                self.kind, self.command, length, self.request_id, self.status, len(self.extension)
            )
        except struct.error:
            raise EncodeError("a field of the core header does not fit in 32 bits") from None
        return header + self.extension + self.payload

    def reply(self, status: int = OK, payload: bytes = b"", extension: bytes = b"") -> "Packet":
        """The response to this request: same command and request id."""
        return Packet(RESPONSE, self.command, self.request_id, status, payload, extension)


class PacketReader:
    """Collects core packets from a byte stream split anywhere.

    Holds at most one unfinished packet (24 + `max_length` bytes). After a ProtocolError it stays dead.
    """

    __slots__ = ("_buffer", "_dead", "_max_length")

    def __init__(self, max_length: int = MAX_DATA) -> None:
        self._max_length = max_length
        self._buffer = bytearray()
        self._dead = False

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished packet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Packet]:
        """Complete packets after these bytes. Raises ProtocolError on a length above the limit."""
        if self._dead:
            raise ProtocolError("the stream broke the protocol before")
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        packets: list[Packet] = []
        offset = self._take(source, packets)
        if source is self._buffer:
            del self._buffer[:offset]
        else:
            self._buffer += data[offset:]
        return packets

    def _take(self, source: bytes | bytearray, packets: list[Packet]) -> int:
        """Append the complete packets of `source`; how many bytes they took."""
        offset, end = 0, len(source)
        while end - offset >= HEADER_LENGTH:
            kind, command, length, request_id, status, extension = _HEADER.unpack_from(source, offset)
            if length > self._max_length or extension > length:
                self._dead = True
                self._buffer.clear()
                raise ProtocolError(f"core packet of {length} bytes with {extension} bytes of extension")
            if end - offset - HEADER_LENGTH < length:
                break
            start = offset + HEADER_LENGTH
            offset = start + length
            packets.append(
                Packet(
                    kind,
                    command,
                    request_id,
                    status,
                    bytes(source[start + extension : offset]),
                    bytes(source[start : start + extension]),
                )
            )
        return offset
