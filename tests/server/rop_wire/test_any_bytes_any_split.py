"""Whatever bytes arrive, split anywhere: messages or the protocol's own error, and bounded memory."""

import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_wire.encrypted import (
    HELLO_LENGTH,
    OUTER_HEADER_LENGTH,
    DeviceChannel,
    Policy,
    ServerChannel,
    access_key,
    secret_access_key,
    uid_hash,
)
from rop_wire.errors import ProtocolError
from rop_wire.packet import HEADER_LENGTH, MAX_DATA, Packet, PacketReader

UID = "95270000000TEST1"
INDEX = "KEYINDEX00000001"
KEYS = {INDEX: "abcdefghijklmnopqrstuvwxyz012345"}
SECRET = secret_access_key(KEYS[INDEX], uid_hash(UID))
U32 = st.integers(0, 2**32 - 1)
PACKETS = st.builds(
    Packet,
    kind=st.integers(0, 1),
    command=U32,
    request_id=U32,
    status=U32,
    payload=st.binary(max_size=300),
    extension=st.binary(max_size=60),
)
# Headers whose lengths lie around the limits, followed by anything.
HEADERS = st.builds(
    lambda length, extension, rest: struct.pack("<6I", 0, 3, length, 1, 200, extension) + rest,
    st.one_of(st.integers(0, 64), st.integers(65500, 65600), U32),
    st.one_of(st.integers(0, 64), U32),
    st.binary(max_size=80),
)
CORE_BYTES = st.lists(st.one_of(st.binary(max_size=80), HEADERS, PACKETS.map(Packet.encode)), max_size=6).map(
    b"".join
)
OUTER_HEADERS = st.builds(
    lambda length, flag, size, sequence, rest: struct.pack("<HHII", length, flag, size, sequence) + rest,
    st.sampled_from([12, 12, 12, 0, 13]),
    st.integers(0, 2),
    st.one_of(st.integers(0, 80), st.integers(65500, 65600), U32),
    st.one_of(st.integers(0, 2), U32),
    st.binary(max_size=120),
)
OUTER_BYTES = st.lists(st.one_of(st.binary(max_size=80), OUTER_HEADERS), max_size=5).map(b"".join)
CUTS = st.lists(st.integers(0, 4000), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The bytes in pieces, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[start:end] for start, end in pairwise(places))


def joined(policy: Policy = Policy.ENFORCE) -> tuple[ServerChannel, DeviceChannel]:
    """Both sides of a connection after the hello."""
    device = DeviceChannel(access_key(INDEX, UID), SECRET, bytes(32))
    server = ServerChannel(KEYS, INDEX, b"n" * 32, policy, clear_allowed=True)
    server.feed(device.hello())
    device.feed(server.outgoing())
    return server, device


@given(CORE_BYTES, CUTS)
def test_core_packets_do_not_depend_on_the_split(data: bytes, cuts: list[int]) -> None:
    def outcome(parts: Iterator[bytes]) -> tuple[list[Packet], bool]:
        reader, found = PacketReader(), []
        for part in parts:
            try:
                found += reader.feed(part)
            except ProtocolError:
                assert reader.buffered == 0
                with pytest.raises(ProtocolError):
                    reader.feed(b"")
                return found, True
            assert reader.buffered <= HEADER_LENGTH + MAX_DATA
        return found, False

    byte_by_byte, dead = outcome(data[at : at + 1] for at in range(len(data)))
    found, broken = outcome(pieces(data, cuts))
    assert broken == dead
    # Packets in the same piece as the break go down with it.
    assert found == (byte_by_byte[: len(found)] if dead else byte_by_byte)
    assert all(len(each.payload) + len(each.extension) <= MAX_DATA for each in byte_by_byte)


@given(st.lists(PACKETS, max_size=8), CUTS)
def test_core_packets_come_out_as_they_went_in(packets: list[Packet], cuts: list[int]) -> None:
    reader, found = PacketReader(), []
    for part in pieces(b"".join(each.encode() for each in packets), cuts):
        found += reader.feed(part)
    assert found == packets
    assert reader.buffered == 0


@given(st.integers(MAX_DATA + 1, 2**32 - 1))
def test_a_32_bit_length_reserves_nothing(length: int) -> None:
    reader = PacketReader()
    with pytest.raises(ProtocolError):
        reader.feed(struct.pack("<6I", 0, 3, length, 1, 200, 0) + bytes(100))
    assert reader.buffered == 0


@given(st.binary(max_size=2 * HELLO_LENGTH), CUTS)
def test_a_server_meets_any_hello(data: bytes, cuts: list[int]) -> None:
    channel = ServerChannel(KEYS, INDEX, b"n" * 32)
    try:
        for part in pieces(data, cuts):
            assert channel.feed(part) == []
            assert channel.buffered <= HELLO_LENGTH
    except ProtocolError:
        with pytest.raises(ProtocolError):
            channel.feed(b"more")
    assert not channel.established
    assert channel.outgoing() == b""


@given(st.binary(max_size=2 * HELLO_LENGTH), CUTS)
def test_a_device_meets_any_answer(data: bytes, cuts: list[int]) -> None:
    channel = DeviceChannel(access_key(INDEX, UID), SECRET, bytes(32))
    try:
        for part in pieces(data, cuts):
            assert channel.feed(part) == []
            assert channel.buffered <= HELLO_LENGTH
    except ProtocolError:
        with pytest.raises(ProtocolError):
            channel.feed(b"more")
    assert not channel.established


@given(OUTER_BYTES, CUTS, st.sampled_from(Policy))
def test_any_bytes_after_the_hello(data: bytes, cuts: list[int], policy: Policy) -> None:
    for channel in joined(policy):
        dead = False
        for part in pieces(data, cuts):
            try:
                channel.feed(part)
                assert not dead
            except ProtocolError:
                dead = True
            # One unfinished outer packet, and at the server one unfinished core packet.
            assert channel.buffered <= OUTER_HEADER_LENGTH + HEADER_LENGTH + 2 * MAX_DATA
        if dead:
            with pytest.raises(ProtocolError):
                channel.feed(b"")


@given(st.lists(PACKETS, max_size=6), CUTS)
def test_a_device_reads_what_the_server_sends(packets: list[Packet], cuts: list[int]) -> None:
    server, device = joined()
    found: list[Packet] = []
    for part in pieces(b"".join(server.encode(each) for each in packets), cuts):
        found += device.feed(part)
    assert found == packets
    assert device.buffered == 0


@given(st.lists(st.tuples(PACKETS, st.booleans(), st.none() | st.integers(0, 400)), max_size=6), CUTS)
def test_a_server_reads_what_a_device_sends(
    packets: list[tuple[Packet, bool, int | None]], cuts: list[int]
) -> None:
    server, device = joined()
    found: list[Packet] = []
    wire = b"".join(device.encode(packet, sealed, border) for packet, sealed, border in packets)
    for part in pieces(wire, cuts):
        found += server.feed(part)
    assert found == [packet for packet, _, _ in packets]
    assert (server.buffered, server.findings.total()) == (0, 0)


@given(PACKETS, st.data())
def test_a_flipped_bit_is_found(packet: Packet, data: st.DataObject) -> None:
    server, device = joined()
    wire = bytearray(device.encode(packet))
    # The size field only delays the end of the packet: every other byte is under the MAC.
    at = data.draw(st.integers(0, len(wire) - 1).filter(lambda place: not 4 <= place < 8))
    wire[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        server.feed(bytes(wire))


@given(PACKETS)
def test_a_repeated_packet_is_found(packet: Packet) -> None:
    for policy in Policy:
        server, device = joined(policy)
        wire = device.encode(packet, encrypted=False)
        assert server.feed(wire) == [packet]
        if policy is Policy.ENFORCE:
            with pytest.raises(ProtocolError):
                server.feed(wire)
        else:
            assert server.feed(wire) == [packet]
        assert server.findings == {"sequence": 1}


def test_a_server_packet_without_a_whole_core_packet_ends_the_connection() -> None:
    """Once a device has refused bytes of its server, it takes nothing more from that connection."""
    server, device = joined()
    outer = server._outer
    assert outer is not None
    with pytest.raises(ProtocolError):
        device.feed(outer.wrap(b"too short", True))
    with pytest.raises(ProtocolError):
        device.feed(server.encode(Packet(0, 460, 1)))
