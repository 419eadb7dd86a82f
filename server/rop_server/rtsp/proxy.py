"""The PROXY protocol: the first bytes of a connection, in which the gateway tells who is behind it.

Source: haproxy's proxy-protocol.txt, versions 1 and 2. Bytes in, address out; nothing else of a header is used.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from rop_wire.errors import ProtocolError

_LINE_MOST = 107
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = 16
_V2_MOST = 4096
# Family byte of version 2: address length.
_V2_ADDRESS = {0x11: 4, 0x21: 16}


@dataclass(frozen=True, slots=True)
class Header:
    """The address behind the gateway, None when it does not know; and the bytes that came after."""

    address: str | None
    rest: bytes


class HeaderReader:
    """Collects the header of one connection."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Header | None:
        """The header once it is complete. Raises ProtocolError when it is none."""
        self._data += data
        if self._data.startswith(_SIGNATURE[: len(self._data)]):
            return _binary(self._data)
        return _text(self._data)


def _text(data: bytes) -> Header | None:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        if len(data) > _LINE_MOST or not data.startswith(b"PROXY "[: len(data)]):
            raise ProtocolError("no PROXY header")
        return None
    words = line.decode("ascii", "replace").split(" ")
    if len(line) > _LINE_MOST or words[0] != "PROXY" or len(words) < 2:
        raise ProtocolError("no PROXY header")
    if words[1] == "UNKNOWN":
        return Header(None, rest)
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProtocolError("a PROXY header of another kind")
    try:
        return Header(plain(words[2]), rest)
    except ValueError:
        raise ProtocolError("a PROXY header without address") from None


def _binary(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21) or length > _V2_MOST:
        raise ProtocolError("a PROXY header of another kind")
    if len(data) < _V2_HEAD + length:
        return None
    rest = data[_V2_HEAD + length :]
    size = _V2_ADDRESS.get(family)
    if command == 0x20 or size is None or length < size:  # a health check of the proxy itself, or no address
        return Header(None, rest)
    return Header(plain(ipaddress.ip_address(data[_V2_HEAD : _V2_HEAD + size]).compressed), rest)


def plain(address: str) -> str:
    """An address in one spelling, IPv4 inside IPv6 as IPv4. Raises ValueError."""
    told = ipaddress.ip_address(address.partition("%")[0])
    mapped = told.ipv4_mapped if isinstance(told, ipaddress.IPv6Address) else None
    return str(mapped or told)
