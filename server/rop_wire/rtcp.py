"""RTCP the server sends: sender reports and the end of a stream; and what is told apart of a client's packets.

Sources: RFC 3550 section 6; ROP v1.0 wire specification, client-api 3.4 and 3.5; discrepancies C4.17.
"""

import struct

from rop_wire.errors import ProtocolError

SENDER_REPORT, RECEIVER_REPORT, DESCRIPTION, BYE = 200, 201, 202, 203
# Seconds from 1900, where NTP time begins, to 1970.
NTP_EPOCH = 2_208_988_800


def _packet(kind: int, count: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body


def ntp_time(wall: float) -> int:
    """64-bit NTP time of epoch seconds."""
    return int((wall + NTP_EPOCH) * 2**32) & (2**64 - 1)


def sender_report(ssrc: int, wall: float, timestamp: int, packets: int, octets: int, name: str = "rop") -> bytes:
    """A compound packet: sender report and the track's canonical name. `wall`: epoch seconds of `timestamp`."""
    body = struct.pack(
        ">IQIII",
        ssrc & 0xFFFFFFFF,
        ntp_time(wall),
        timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    text = name.encode()[:255]
    item = b"\x01" + bytes([len(text)]) + text + b"\x00"
    return _packet(SENDER_REPORT, 0, body) + _packet(DESCRIPTION, 1, struct.pack(">I", ssrc & 0xFFFFFFFF) + item)


def bye(ssrc: int) -> bytes:
    """A compound packet that ends a track: an empty receiver report comes first, as every compound needs one."""
    source = struct.pack(">I", ssrc & 0xFFFFFFFF)
    return _packet(RECEIVER_REPORT, 0, source) + _packet(BYE, 1, source)


def packet_kinds(data: bytes) -> list[int]:
    """The packet types of a compound packet. Raises ProtocolError."""
    kinds = []
    while data:
        if len(data) < 4 or data[0] >> 6 != 2:
            raise ProtocolError("not an RTCP packet")
        length = 4 + 4 * int.from_bytes(data[2:4], "big")
        if length > len(data):
            raise ProtocolError("RTCP packet beyond its end")
        kinds.append(data[1])
        data = data[length:]
    return kinds
