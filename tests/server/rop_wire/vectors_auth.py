"""Checks of the vectors about codes, keys, hello and encrypted TCP."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rop_wire import xml
from rop_wire.auth import CodeTable, ca_hash, long_term_code, verify_long_term
from rop_wire.encrypted import (
    DeviceChannel,
    Hello,
    ServerChannel,
    access_key,
    secret_access_key,
    session_key,
    uid_hash,
)
from rop_wire.errors import ProtocolError
from rop_wire.messages import Handshake, HandshakeReply, Heartbeat, WakeUp
from rop_wire.packet import REQUEST, RESPONSE, Packet
from rop_wire.provisioning import RegistrationReply

Vector = dict[str, Any]
UID = "95270000000TEST1"
INDEX = "KEYINDEX00000001"
STALE = "OLDINDEX00000000"
KEYS = {INDEX: "abcdefghijklmnopqrstuvwxyz012345", STALE: "0000000000000000000000000000000f"}
NONCE = b"ServerNonce0123456789ABCDEFGHIJK"
CLIENT_NONCE = bytes(range(32))
FILE = Path(__file__).parents[2] / "vectors" / "vectors.json"
# What the device of the vectors says after its hello, in clear, by vector name and in order.
SPOKEN = {
    each["name"]: bytes.fromhex(each["expected"]["plaintext_hex"])
    for each in json.loads(FILE.read_text())["vectors"]
    if each["name"].startswith("enc_device_packet_")
}


def server() -> ServerChannel:
    return ServerChannel(KEYS, INDEX, NONCE, clear_allowed=True)


def device() -> DeviceChannel:
    secret = secret_access_key(KEYS[INDEX], uid_hash(UID))
    return DeviceChannel(access_key(INDEX, UID), secret, CLIENT_NONCE)


def joined() -> tuple[ServerChannel, DeviceChannel]:
    """Both sides after the hello of the vectors."""
    there, here = server(), device()
    there.feed(here.hello())
    here.feed(there.outgoing())
    assert there.established
    assert here.established
    return there, here


def long_term(inputs: Vector, expected: Vector) -> None:
    code = long_term_code(inputs["signKey"], inputs["uid"], inputs["expiredAt"])
    assert code == expected["code"] == f"{expected['content_base64']}.{expected['signature_base64']}"
    assert base64.b64decode(code.partition(".")[0]).decode() == expected["json"]
    assert verify_long_term(inputs["signKey"], code, inputs["uid"], 1.7e9) is None
    assert verify_long_term(inputs["signKey"], code, "95270000000TEST2", 1.7e9) == "device_not_matched"


def tampered(inputs: Vector, expected: Vector) -> None:
    assert verify_long_term(inputs["signKey"], inputs["code"], UID, 1.7e9) == expected["error"]


def unknown_code(inputs: Vector, expected: Vector) -> None:
    table = CodeTable()
    table.issue(UID, 0.0, 60.0)
    assert table.check(inputs["code"], UID, 1.0) == expected["error"]
    # Discrepancies C2.1: a word that a plain object would know is no code.
    assert table.check("toString", UID, 1.0) == expected["error"]


def root_hash(inputs: Vector, expected: Vector) -> None:
    assert ca_hash(inputs["ca_pem_utf8"]) == ca_hash(inputs["ca_pem_utf8"].encode()) == expected["caHash"]


def keys(inputs: Vector, expected: Vector) -> None:
    assert uid_hash(inputs["uid"]) == expected["uidHash"]
    assert access_key(inputs["keyIndex"], inputs["uid"]) == expected["accessKey"]


def secret(inputs: Vector, expected: Vector) -> None:
    found = secret_access_key(inputs["deviceKey"], inputs["uidHash"])
    assert found == expected["secretAccessKey"]
    assert found == base64.b64encode(bytes.fromhex(expected["hmac_hex"])).decode()[:32]


def secret_of_old_index(inputs: Vector, expected: Vector) -> None:
    index, hashed = inputs["accessKey"][:16], inputs["accessKey"][16:]
    assert KEYS[index] == inputs["deviceKey"]
    assert secret_access_key(inputs["deviceKey"], hashed) == expected["secretAccessKey"]
    assert (index == INDEX) is expected["current"]


def registration(inputs: Vector, expected: Vector) -> None:
    hashed = uid_hash(inputs["uid"])
    reply = RegistrationReply(
        access_key(inputs["keyIndex"], inputs["uid"]),
        secret_access_key(inputs["deviceKey"], hashed),
        inputs["keepAliveTCP"],
        inputs["signalingTLS"],
        inputs["heartBeatInterval"],
    )
    assert reply.encode().decode() == expected["body"]
    assert RegistrationReply.decode(expected["body"].encode()) == reply
    assert reply.secret_access_key not in repr(reply)


def hello_request(inputs: Vector, expected: Vector) -> None:
    nonce = bytes.fromhex(inputs["clientNonce_hex"])
    channel = DeviceChannel(inputs["accessKey"], inputs["secretAccessKey"], nonce)
    assert channel.hello().hex() == expected["hello_hex"]
    hello, _ = Hello.decode(channel.hello())
    assert (hello.status, hello.access_key.decode(), hello.nonce) == (0, inputs["accessKey"], nonce)


def hello_ok(inputs: Vector, expected: Vector) -> None:
    channel = ServerChannel(KEYS, INDEX, inputs["serverNonce"].encode())
    assert channel.feed(bytes.fromhex(inputs["hello_hex"])) == []
    assert channel.outgoing().hex() == expected["reply_hex"]
    assert channel.established
    assert channel.uid_hash == uid_hash(UID)
    answered = device()
    answered.feed(bytes.fromhex(expected["reply_hex"]))
    assert answered.status == 200


def derived_key(inputs: Vector, expected: Vector) -> None:
    nonce = bytes.fromhex(inputs["clientNonce_hex"])
    found = session_key(inputs["secretAccessKey"], nonce, inputs["serverNonce"].encode())
    assert found.hex() == expected["K_hex"] == expected["aes_key_hex"] + expected["iv_hex"]


def hello_stale(inputs: Vector, expected: Vector) -> None:
    channel = ServerChannel(KEYS, INDEX, inputs["serverNonce"].encode())
    channel.feed(bytes.fromhex(inputs["hello_hex"]))
    assert channel.outgoing().hex() == expected["reply_hex"]
    assert channel.refused is not None
    assert not channel.established
    assert channel.feed(b"anything") == []
    told = Hello.decode(bytes.fromhex(inputs["hello_hex"]))[0]
    asked = DeviceChannel(told.access_key.decode(), inputs["secretAccessKey"], told.nonce)
    asked.feed(bytes.fromhex(expected["reply_hex"]))
    assert asked.status == 400
    assert not asked.established


def hello_forged(inputs: Vector, expected: Vector) -> None:
    channel = server()
    with pytest.raises(ProtocolError):
        channel.feed(bytes.fromhex(inputs["hello_hex"]))
    assert channel.outgoing() == b""
    assert expected["replies"] == 0
    with pytest.raises(ProtocolError):
        channel.feed(b"")


def server_packets(inputs: Vector, expected: Vector) -> None:
    """First and second packet of one connection: the cipher state and the sequence run on."""
    there, here = joined()
    first = there.encode(Packet(RESPONSE, 458, 7, payload=HandshakeReply(20000).encode()))
    second = there.encode(Packet(REQUEST, WakeUp.command, 8))
    assert expected["packet_hex"] == (first, second)[inputs["sequence"]].hex()
    answer, wake = here.feed(first + second)
    assert HandshakeReply.decode(answer.payload).heartbeat_interval_ms == 20000
    assert wake == Packet(REQUEST, 460, 8)


def device_packets(inputs: Vector, expected: Vector) -> None:
    """Every packet a device sent in the vectors, byte for byte from ours and read by ours."""
    there, here = joined()
    plain = list(SPOKEN.values())[: inputs["sequence"] + 1]
    wire = b""
    for number, core in enumerate(plain):
        packet = Packet(core[0], int.from_bytes(core[4:8], "little"), core[12], payload=core[24:])
        wire = here.encode(packet, encrypted=number != 2)
        assert there.feed(wire) == [packet]
    assert wire.hex() == expected["packet_hex"]
    assert plain[-1].hex() == expected["plaintext_hex"]
    assert there.findings.total() == 0


def reassembly(inputs: Vector, expected: Vector) -> None:
    channel, stream, packets = server(), bytes.fromhex(inputs["stream_hex"]), []
    for start in range(0, len(stream), inputs["piece"]):
        packets += channel.feed(stream[start : start + inputs["piece"]])
    assert len(channel.outgoing()) == expected["first_is_hello_len"]
    assert 1 + len(packets) == expected["items"]
    assert [each.encode() for each in packets] == list(SPOKEN.values())
    handshake, heartbeat, clear = packets
    assert Handshake.decode(handshake.payload).uid == UID
    beat = Heartbeat.decode(heartbeat.payload)
    assert beat.battery is not None
    assert (beat.battery.percent, beat.battery.charge) == (87, 1)
    assert xml.parse(clear.payload) == {"Param001": ""}
    assert channel.buffered == 0


CHECKS = {
    "auth_code_long_term": long_term,
    "auth_code_long_term_verify_tampered": tampered,
    "auth_code_short_term_unknown": unknown_code,
    "ca_hash": root_hash,
    "device_access_key": keys,
    "device_secret_access_key": secret,
    "device_secret_from_access_key": secret_of_old_index,
    "register_response": registration,
    "hello_request": hello_request,
    "hello_response_ok": hello_ok,
    "session_key": derived_key,
    "hello_response_stale_key": hello_stale,
    "hello_bad_signature": hello_forged,
    "enc_server_packet_0": server_packets,
    "enc_server_packet_1": server_packets,
    "enc_device_packet_0": device_packets,
    "enc_device_packet_1": device_packets,
    "enc_device_packet_clear": device_packets,
    "enc_stream_reassembly": reassembly,
}
