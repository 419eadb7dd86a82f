"""Every vector of the wire specification except media: fixed inputs, and the bytes the vendor gives for them.

Vectors that record a defect of the vendor assert the better output and name the row of the discrepancies.
The groups media, rtp and rtsp are in test_media_vectors.py.
"""

import base64
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rop_wire import auth, messages, provisioning, xml
from rop_wire.commands import Command
from rop_wire.encrypted import (
    DeviceChannel,
    Hello,
    Policy,
    ServerChannel,
    access_key,
    secret_access_key,
    session_key,
    uid_hash,
)
from rop_wire.errors import ProtocolError
from rop_wire.packet import Packet, PacketReader

FILE = Path(__file__).parents[2] / "vectors" / "vectors.json"
ALL: dict[str, dict[str, Any]] = {each["name"]: each for each in json.loads(FILE.read_text())["vectors"]}
MEDIA_GROUPS = {"media", "rtp", "rtsp"}
VECTORS = {name: each for name, each in ALL.items() if each["group"] not in MEDIA_GROUPS}

Check = Callable[[dict[str, Any], dict[str, Any]], None]
CHECKS: dict[str, Check] = {}

UID = "95270000000TEST1"
KEYS = {
    "KEYINDEX00000001": "abcdefghijklmnopqrstuvwxyz012345",
    "OLDINDEX00000000": "0000000000000000000000000000000f",
}
CURRENT = "KEYINDEX00000001"
SECRET = "FAl7WjOlFpQDABBnm2S5WZgIVNeMRYQe"
SERVER_NONCE = b"ServerNonce0123456789ABCDEFGHIJK"


def check(*names: str) -> Callable[[Check], Check]:
    def add(function: Check) -> Check:
        for name in names:
            assert name not in CHECKS
            CHECKS[name] = function
        return function

    return add


def check_group(prefix: str) -> Callable[[Check], Check]:
    return check(*(name for name in VECTORS if name.startswith(prefix) and name not in CHECKS))


# -- codes and keys -------------------------------------------------------------------------------


@check("auth_code_long_term")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    code = auth.long_term_code(given["signKey"], given["uid"], given["expiredAt"])
    assert code == expected["code"]
    content, signature = code.split(".")
    assert content == expected["content_base64"]
    assert signature == expected["signature_base64"]
    assert base64.b64decode(content).decode() == expected["json"]
    assert auth.verify_long_term(given["signKey"], code, given["uid"], now=2e9) is None


@check("auth_code_long_term_verify_tampered")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert auth.verify_long_term(given["signKey"], given["code"], UID, now=0) == expected["error"]


@check("auth_code_short_term_unknown")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    table = auth.CodeTable()
    table.issue(UID, now=0, life=60)
    assert table.check(given["code"], UID, now=1) == expected["error"]


@check("ca_hash")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert auth.ca_hash(given["ca_pem_utf8"]) == expected["caHash"]
    assert auth.ca_hash(given["ca_pem_utf8"].encode()) == expected["caHash"]


@check("device_access_key")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert uid_hash(given["uid"]) == expected["uidHash"]
    assert access_key(given["keyIndex"], given["uid"]) == expected["accessKey"]


@check("device_secret_access_key")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    secret = secret_access_key(given["deviceKey"], given["uidHash"])
    assert secret == expected["secretAccessKey"]
    assert base64.b64encode(bytes.fromhex(expected["hmac_hex"])).decode().startswith(secret)


@check("device_secret_from_access_key")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    index, hashed = given["accessKey"][:16], given["accessKey"][16:]
    assert secret_access_key(given["deviceKey"], hashed) == expected["secretAccessKey"]
    assert (index == CURRENT) is expected["current"]


@check("register_response")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    key = access_key(given["keyIndex"], given["uid"])
    secret = secret_access_key(given["deviceKey"], uid_hash(given["uid"]))
    reply = provisioning.RegistrationReply(
        key, secret, given["keepAliveTCP"], given["signalingTLS"], given["heartBeatInterval"]
    )
    assert reply.encode().decode() == expected["body"]
    assert provisioning.RegistrationReply.decode(expected["body"].encode()) == reply


# -- encrypted TCP --------------------------------------------------------------------------------


def server(policy: Policy = Policy.ENFORCE) -> ServerChannel:
    return ServerChannel(KEYS, CURRENT, SERVER_NONCE, policy, clear_allowed=True)


def device() -> DeviceChannel:
    hello = ALL["hello_request"]["inputs"]
    return DeviceChannel(hello["accessKey"], hello["secretAccessKey"], bytes.fromhex(hello["clientNonce_hex"]))


def connected() -> tuple[ServerChannel, DeviceChannel]:
    ours, theirs = server(), device()
    assert ours.feed(theirs.hello()) == []
    assert theirs.feed(ours.outgoing()) == []
    assert ours.established
    assert theirs.established
    return ours, theirs


@check("hello_request")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert device().hello().hex() == expected["hello_hex"]
    hello, _ = Hello.decode(bytes.fromhex(expected["hello_hex"]))
    assert hello.access_key.decode() == given["accessKey"]
    assert hello.nonce.hex() == given["clientNonce_hex"]


@check("hello_response_ok")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    channel = server()
    assert channel.feed(bytes.fromhex(given["hello_hex"])) == []
    assert channel.outgoing().hex() == expected["reply_hex"]
    assert channel.established
    assert channel.uid_hash == uid_hash(UID)
    theirs = device()
    theirs.feed(bytes.fromhex(expected["reply_hex"]))
    assert theirs.established


@check("session_key")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    key = session_key(
        given["secretAccessKey"], bytes.fromhex(given["clientNonce_hex"]), given["serverNonce"].encode()
    )
    assert key.hex() == expected["K_hex"] == expected["aes_key_hex"] + expected["iv_hex"]


@check("hello_response_stale_key")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    channel = server()
    assert channel.feed(bytes.fromhex(given["hello_hex"])) == []
    assert channel.outgoing().hex() == expected["reply_hex"]
    assert channel.refused
    assert not channel.established
    old = DeviceChannel(
        access_key("OLDINDEX00000000", UID), given["secretAccessKey"], bytes.fromhex(given["hello_hex"])[36:68]
    )
    old.feed(bytes.fromhex(expected["reply_hex"]))
    assert old.status == 400
    assert not old.established


@check("hello_bad_signature")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    channel = server()
    with pytest.raises(ProtocolError):
        channel.feed(bytes.fromhex(given["hello_hex"]))
    assert channel.outgoing() == b""
    assert expected["replies"] == 0


def core_of(described: dict[str, Any]) -> Packet:
    kind = described.get("magic", 1 if described.get("type") == "response" else 0)
    return Packet(
        kind,
        described["cmd"],
        described["requestId"],
        described["responseCode"],
        described.get("body_utf8", "").encode(),
    )


@check("enc_server_packet_0", "enc_server_packet_1")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    ours, theirs = connected()
    for name in ("enc_server_packet_0", "enc_server_packet_1"):
        packet = core_of(ALL[name]["inputs"]["core"])
        sent = ours.encode(packet)
        assert sent.hex() == ALL[name]["expected"]["packet_hex"]
        assert theirs.feed(sent) == [packet]


@check("enc_device_packet_0", "enc_device_packet_1", "enc_device_packet_clear")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    ours, theirs = connected()
    for name in ("enc_device_packet_0", "enc_device_packet_1", "enc_device_packet_clear"):
        wanted = ALL[name]["expected"]
        (packet,) = PacketReader().feed(bytes.fromhex(wanted["plaintext_hex"]))
        sent = theirs.encode(packet, encrypted=not name.endswith("clear"))
        assert sent.hex() == wanted["packet_hex"]
        assert ours.feed(sent) == [packet]
    assert not ours.findings


@check("enc_stream_reassembly")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    stream, piece = bytes.fromhex(given["stream_hex"]), given["piece"]
    channel = server()
    packets = [
        packet for start in range(0, len(stream), piece) for packet in channel.feed(stream[start : start + piece])
    ]
    assert len(channel.outgoing()) == expected["first_is_hello_len"]
    assert 1 + len(packets) == expected["items"]
    told = messages.Handshake.decode(packets[0].payload)
    assert told == messages.Handshake(UID, "battery", "Virtual Cam", "v1.0.0.1", "wifi")
    assert told.encode() == packets[0].payload
    beat = messages.Heartbeat.decode(packets[1].payload)
    assert beat == messages.Heartbeat(messages.BatteryState(87, 1))
    assert beat.encode() == packets[1].payload


# -- core packets ---------------------------------------------------------------------------------


@check("core_request_no_body", "core_response_ack", "core_request_xml", "core_request_ext_binary")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    data = given.get("data", "")
    payload = bytes.fromhex(data[4:]) if data.startswith("hex:") else data.encode()
    packet = Packet(
        1 if given["type"] == "response" else 0,
        given["cmd"],
        given["requestId"],
        given["responseCode"],
        payload,
        given.get("externXML", "").encode(),
    )
    assert packet.encode().hex() == expected["packet_hex"]
    assert PacketReader().feed(bytes.fromhex(expected["packet_hex"])) == [packet]
    if packet.extension:
        assert messages.UpgradeSlice(payload).extension() == packet.extension


@check("core_decode_fragmented")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    stream, reader, packets = bytes.fromhex(given["stream_hex"]), PacketReader(), []
    for start in range(0, len(stream), given["piece"]):
        packets += reader.feed(stream[start : start + given["piece"]])
    wanted = expected["packets"]
    assert [packet.payload.hex() for packet in packets] == [each["payload_hex"] for each in wanted]
    assert [packet.encode()[:24].hex() for packet in packets] == [each["header_hex"] for each in wanted]


@check("core_parse_extension")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    (packet,) = PacketReader().feed(bytes.fromhex(given["packet_hex"]))
    header = expected["header"]
    assert (packet.kind, packet.command, packet.request_id, packet.status) == (
        header["magic"],
        header["cmd"],
        header["requestId"],
        header["responseCode"],
    )
    assert packet.extension.decode() == expected["extern_utf8"]
    assert packet.payload.hex() == expected["payload_hex"]


@check("core_length_16bit_quirk")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C3.1: 32 bits count, the connection ends.
    reader = PacketReader()
    with pytest.raises(ProtocolError):
        reader.feed(bytes.fromhex(given["header_hex"]))
    assert reader.buffered == 0


# -- XML ------------------------------------------------------------------------------------------


@check_group("xml_build_")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    ((root, tree),) = given["tree"].items()
    assert xml.build(tree, root).decode() == expected["xml_utf8"]


@check("xml_parse_attributes")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C3.11: the text counts, attributes are dropped.
    assert xml.parse_document(given["xml_utf8"].encode()) == ("body", {"Param007": {"attr012": "x"}})


@check("xml_parse_repeat", "xml_parse_blank")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    root, tree = xml.parse_document(given["xml_utf8"].encode())
    assert {root: tree} == expected["tree"]


@check("xml_parse_empty_document")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        xml.parse(given["xml_utf8"].encode())


# -- meaning of documents -------------------------------------------------------------------------


@check("time_device")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    at = datetime.fromisoformat(given["iso"])
    assert {name: str(value) for name, value in messages.time_tree(at).items()} == expected["tree"]
    assert messages.time_in({"t": expected["tree"]}, "t") == at


@check("time_client")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    at = messages.time_in({"t": given["tree"]}, "t")
    assert messages.client_time(at) == expected["text"]
    assert messages.parse_client_time(expected["text"]) == at


@check("calendar_range")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    told = xml.parse(messages.CalendarGet((0,), given["year"], given["month"]).encode())["Param009"]
    assert messages.client_time(messages.time_in(told, "attr001")) == expected["start"]
    assert messages.client_time(messages.time_in(told, "attr002")) == expected["end"]


@check("records_next_token")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    end = messages.parse_client_time(given["last_end"])
    file = messages.Recording(0, "mainStream", "a.mp4", end, end)
    page = messages.Files(expected["totalRows"], (file,) * given["page"])
    token = messages.PageToken.after(page, given["rows_before"])
    assert token is not None
    assert token.encode() == expected["nextToken"]
    assert json.dumps(json.loads(expected["decoded"]), separators=(",", ":")) == expected["decoded"]
    assert messages.PageToken.decode(expected["nextToken"]) == token
    assert messages.PageToken.after(messages.Files(60, page.recordings[1:])) is None


@check("heartbeat_interval_table")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [messages.heartbeat_interval_ms(*case) or 0 for case in given["cases"]] == expected["interval_ms"]


@check("heartbeat_parse")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    beat = messages.Heartbeat.decode(given["xml_utf8"].encode())
    parsed = expected["parsed"]
    assert beat.no_reply is (parsed["noRsp"] == "1")
    assert beat.battery == messages.BatteryState(
        int(parsed["batteryState"]["percent"]), int(parsed["batteryState"]["chargingStatus"])
    )


@check("heartbeat_response")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    reply = messages.HeartbeatReply.at(given["epoch_ms"] / 1000)
    assert reply.encode().decode() == expected["xml_utf8"]
    assert messages.HeartbeatReply.decode(reply.encode()) == reply


@check("stream_types_bits")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [list(messages.Channel(0, int(mask)).stream_types) for mask in given["masks"]] == expected["types"]


def record_of(channel: messages.Channel) -> dict[str, Any]:
    return {
        "preview": {"streamTypes": list(channel.stream_types)},
        "ptz": {
            "type": channel.ptz_type,
            "control": channel.ptz_control,
            "pt": channel.rotates,
            "zoom": channel.zooms,
            "focus": channel.focuses,
            "directions": 8 if channel.diagonals else 4,
        },
        "wifi": {"wifiMode": channel.wifi_mode},
    }


@check("support_single_channel")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    support = messages.Support.decode(given["xml_utf8"].encode())
    assert {str(each.number): record_of(each) for each in support.channels} == expected["support"]["channels"]
    assert messages.Support.decode(support.encode()) == support


@check("support_two_channels_quirk")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # Discrepancies C3.8: every channel is kept, not only the last.
    support = messages.Support.decode(given["xml_utf8"].encode())
    assert [each.number for each in support.channels] == [0, 1]
    second = support.channel(1)
    assert second is not None
    assert record_of(second) == expected["vendor_support"]["channels"]["1"]


@check("alarm_webhook_body")
def _(given: dict[str, Any], expected: dict[str, Any]) -> None:
    alarm = messages.AlarmMessage.decode(given["xml_utf8"].encode())
    (event,) = alarm.events
    assert provisioning.dump(event.webhook(UID)).decode() == expected["body"]
    ack = expected["ack"]
    answer = Packet(0, Command.ALARM, ack["requestId"], 200, alarm.encode()).reply()
    assert answer == core_of(ack)


# -- requests -------------------------------------------------------------------------------------

FILE_NAME = "/mnt/sda/Mp4Record/2022-01-01/RecS02_DST20220110_000107_000310_2B14808_3F6F88.mp4"
DAY = (datetime(2022, 1, 1), datetime(2022, 1, 1, 23, 59, 59))
REQUESTS: dict[str, messages.Message] = {
    "get_general": messages.GeneralConfigGet(),
    "set_general": messages.GeneralConfigSet("front yard"),
    "get_pir": messages.PirGet(),
    "set_pir": messages.PirSet(enabled=True, sensitivity_percent=20, reduce_mistakes=False),
    "get_alarm": messages.AlarmSwitchGet(),
    "set_alarm": messages.AlarmSwitchSet(False),
    "support": messages.SupportGet(),
    "ptz_zoom": messages.Ptz(0, "zoomInc"),
    "ptz_focus": messages.Ptz(0, "focusDec"),
    "ptz_stop": messages.Ptz(0, "stop", 10),
    "ptz_left_up": messages.Ptz(0, "leftUp", 64),
    "calendar": messages.CalendarGet((0,), 2022, 12),
    "records": messages.FindFiles(0, "mainStream", *DAY),
    "file_info": messages.FileInfo(0, FILE_NAME),
    "wifi_get": messages.WifiGet(),
    "wifi_set": messages.WifiSet("TP-LINK_JIN", "a&b<c>\"'", "US"),
    "wifi_scan": messages.WifiScan(),
    "wifi_test": messages.WifiTest("TP-LINK_JIN", "88888888", "US"),
    "snapshot": messages.Snapshot(0, "mainStream"),
    "upgrade_begin": messages.UpgradeBegin("fw_884bf9.pak", 1280000, factory_reset=True),
    "live_start": messages.LiveStart(0, 25928, "mainStream", "TLS", 61006),
    "replay_stop": messages.ReplayStop(0, "/mnt/a.mp4", 28516),
}


def request_check(request: messages.Message) -> Check:
    def compare(given: dict[str, Any], expected: dict[str, Any]) -> None:
        assert request.command == expected["cmd"]
        assert request.encode().decode() == expected["xml_utf8"]
        assert request.extension() == b""
        if "packet_hex" in expected:
            packet = Packet(0, request.command, expected["requestId"], 200, request.encode())
            assert packet.encode().hex() == expected["packet_hex"]
        if hasattr(type(request), "decode"):
            assert type(request).decode(request.encode()) == request

    return compare


for _name, _request in REQUESTS.items():
    check(f"api_request_{_name}")(request_check(_request))


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    vector = VECTORS[name]
    assert name in CHECKS, f"vector {name} has no check"
    CHECKS[name](vector["inputs"], vector["expected"])


def test_there_are_92_vectors_and_no_check_without_one() -> None:
    assert len(ALL) == 92
    assert set(CHECKS) == set(VECTORS)
