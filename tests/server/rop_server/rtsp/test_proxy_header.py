"""The PROXY protocol, both versions, in pieces and malformed. Source: haproxy's proxy-protocol.txt."""

from __future__ import annotations

import pytest

from rop_server.rtsp.proxy import Header, HeaderReader
from rop_wire.errors import ProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REST = b"OPTIONS rtsp://x RTSP/1.0\r\n\r\n"
V4 = bytes([192, 0, 2, 1, 127, 0, 0, 1]) + b"\x10\x00\x20\x00"
V6 = bytes.fromhex("20010db8000000000000000000000001") + bytes(16) + b"\x10\x00\x20\x00"
MAPPED = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1]) + bytes(16) + bytes(4)
HEADERS = [
    (b"PROXY TCP4 192.0.2.1 127.0.0.1 4096 61004\r\n", "192.0.2.1"),
    (b"PROXY TCP6 2001:db8:0::1 ::1 4096 61004\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4096 61004\r\n", "192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN whatever\r\n", None),
    (SIGNATURE + b"\x21\x11\x00\x0c" + V4, "192.0.2.1"),
    (SIGNATURE + b"\x21\x21\x00\x24" + V6, "2001:db8::1"),
    (SIGNATURE + b"\x21\x21\x00\x24" + MAPPED, "192.0.2.1"),
    (SIGNATURE + b"\x21\x11\x00\x0f" + V4 + b"\x04\x00\x00", "192.0.2.1"),  # with an extension
    (SIGNATURE + b"\x20\x00\x00\x00", None),
    (SIGNATURE + b"\x21\x31\x00\x02xx", None),
]


@pytest.mark.parametrize(("head", "address"), HEADERS)
def test_addresses(head: bytes, address: str | None) -> None:
    assert HeaderReader().feed(head + REST) == Header(address, REST)


@pytest.mark.parametrize(("head", "address"), HEADERS)
def test_byte_by_byte(head: bytes, address: str | None) -> None:
    reader = HeaderReader()
    for number in range(len(head) - 1):
        assert reader.feed(head[number : number + 1]) is None
    assert reader.feed(head[-1:] + REST) == Header(address, REST)


@pytest.mark.parametrize(
    "data",
    [
        REST,
        b"PROXY\r\n",
        b"PROXX",
        b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        b"PROXY TCP4 999.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY " + b"x" * 200,
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + V4,
        SIGNATURE + b"\x22\x11\x00\x0c" + V4,
        SIGNATURE + b"\x21\x11\xff\xff" + V4,
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        HeaderReader().feed(data)
