"""Checks of the vectors about core packets, XML documents and their meaning."""

import json
from datetime import datetime
from typing import Any

import pytest

from rop_wire import xml
from rop_wire.commands import Command
from rop_wire.errors import ProtocolError
from rop_wire.messages import (
    AlarmMessage,
    BatteryState,
    CalendarGet,
    Channel,
    Files,
    GeneralConfig,
    Heartbeat,
    HeartbeatReply,
    PageToken,
    Recording,
    Support,
    client_time,
    heartbeat_interval_ms,
    parse_client_time,
    time_in,
    time_tree,
)
from rop_wire.packet import HEADER_LENGTH, REQUEST, RESPONSE, Packet, PacketReader

Vector = dict[str, Any]


def core_packet(inputs: Vector, expected: Vector) -> None:
    data = inputs.get("data", "")
    payload = bytes.fromhex(data[4:]) if data.startswith("hex:") else data.encode()
    kind = {"request": REQUEST, "response": RESPONSE}[inputs["type"]]
    extension = inputs.get("externXML", "").encode()
    packet = Packet(kind, inputs["cmd"], inputs["requestId"], inputs["responseCode"], payload, extension)
    assert packet.encode().hex() == expected["packet_hex"]
    assert PacketReader().feed(packet.encode()) == [packet]
    assert packet.is_request is (inputs["type"] == "request")


def core_fragments(inputs: Vector, expected: Vector) -> None:
    reader, stream, packets = PacketReader(), bytes.fromhex(inputs["stream_hex"]), []
    for start in range(0, len(stream), inputs["piece"]):
        packets += reader.feed(stream[start : start + inputs["piece"]])
    told = [each["header_hex"] + each["payload_hex"] for each in expected["packets"]]
    assert [each.encode().hex() for each in packets] == told
    assert reader.buffered == 0


def core_extension(inputs: Vector, expected: Vector) -> None:
    (packet,) = PacketReader().feed(bytes.fromhex(inputs["packet_hex"]))
    told = expected["header"]
    assert (packet.kind, packet.command, packet.request_id) == (told["magic"], told["cmd"], told["requestId"])
    assert (packet.status, len(packet.extension)) == (told["responseCode"], told["externLength"])
    assert len(packet.extension) + len(packet.payload) == told["dataLength"]
    assert packet.extension.decode() == expected["extern_utf8"]
    assert packet.payload.hex() == expected["payload_hex"]
    assert xml.parse_document(packet.extension) == ("Extension", {"frame_type": "I"})


def core_long(inputs: Vector, expected: Vector) -> None:
    """Discrepancies C3.1: the vendor frames one byte; ours reads all 32 bits and gives up."""
    header = bytes.fromhex(inputs["header_hex"])
    assert int.from_bytes(header[8:12], "little") == inputs["dataLength_field"]
    assert expected["framed_payload_bytes"] == inputs["dataLength_field"] % 65536
    reader = PacketReader()
    with pytest.raises(ProtocolError):
        reader.feed(header)
    with pytest.raises(ProtocolError):
        reader.feed(b"x")
    assert reader.buffered == 0
    # A receiver with a higher limit gets the whole packet.
    wide = PacketReader(max_length=1 << 20).feed(header + bytes(inputs["dataLength_field"]))
    assert [len(each.payload) for each in wide] == [inputs["dataLength_field"]]
    assert len(header) == HEADER_LENGTH


def xml_build(inputs: Vector, expected: Vector) -> None:
    ((root, tree),) = inputs["tree"].items()
    assert xml.build(tree, root).decode() == expected["xml_utf8"]


def xml_parse(inputs: Vector, expected: Vector) -> None:
    root, tree = xml.parse_document(inputs["xml_utf8"].encode())
    assert {root: tree} == expected["tree"]


def xml_attributes(inputs: Vector, expected: Vector) -> None:
    """Discrepancies C3.11: the vendor makes an object of the text; ours keeps the text."""
    theirs = expected["tree"]["body"]["Param007"]["attr012"]
    data = inputs["xml_utf8"].encode()
    assert xml.parse(data) == {"Param007": {"attr012": theirs["_"]}}
    assert GeneralConfig.decode(data).device_name == theirs["_"]


def xml_empty(inputs: Vector, expected: Vector) -> None:
    assert expected["tree"] == {"error": "cmd_exec_error"}
    for blank in (inputs["xml_utf8"], " ", "\r\n\t"):
        with pytest.raises(ProtocolError):
            xml.parse(blank.encode())


def device_time(inputs: Vector, expected: Vector) -> None:
    moment = datetime.fromisoformat(inputs["iso"])
    assert {name: str(number) for name, number in time_tree(moment).items()} == expected["tree"]
    assert time_in({"T": expected["tree"]}, "T") == moment


def shown_time(inputs: Vector, expected: Vector) -> None:
    moment = time_in({"T": inputs["tree"]}, "T")
    assert client_time(moment) == expected["text"]
    assert parse_client_time(expected["text"]) == moment


def month(inputs: Vector, expected: Vector) -> None:
    asked = CalendarGet((0,), inputs["year"], inputs["month"])
    told = xml.child(xml.parse(asked.encode()), "Param009")
    assert client_time(time_in(told, "attr001")) == expected["start"]
    assert client_time(time_in(told, "attr002")) == expected["end"]


def next_token(inputs: Vector, expected: Vector) -> None:
    last = parse_client_time(inputs["last_end"])
    page = Files(expected["totalRows"], (Recording(0, "mainStream", "/a.mp4", last, last),) * inputs["page"])
    token = PageToken.after(page, inputs["rows_before"])
    assert token is not None
    assert token.encode() == expected["nextToken"]
    assert PageToken.decode(expected["nextToken"]) == token
    decoded = json.loads(expected["decoded"])
    assert decoded == {"nextTime": client_time(token.next_time), "rows": token.rows}
    assert PageToken.after(Files(1, page.recordings[1:]), 0) is None


def intervals(inputs: Vector, expected: Vector) -> None:
    found = [heartbeat_interval_ms(network, operator) or 0 for network, operator in inputs["cases"]]
    assert found == expected["interval_ms"]


def heartbeat(inputs: Vector, expected: Vector) -> None:
    told = expected["parsed"]
    battery = BatteryState(int(told["batteryState"]["percent"]), int(told["batteryState"]["chargingStatus"]))
    assert Heartbeat.decode(inputs["xml_utf8"].encode()) == Heartbeat(battery, told["noRsp"] == "1")


def heartbeat_reply(inputs: Vector, expected: Vector) -> None:
    reply = HeartbeatReply.at(inputs["epoch_ms"] / 1000)
    assert reply.encode().decode() == expected["xml_utf8"]
    assert HeartbeatReply.decode(expected["xml_utf8"].encode()) == reply


def stream_types(inputs: Vector, expected: Vector) -> None:
    assert [list(Channel(0, int(mask)).stream_types) for mask in inputs["masks"]] == expected["types"]


def _record(support: Support) -> Vector:
    """The vendor's capability record, from ours."""
    return {
        "channels": {
            str(each.number): {
                "preview": {"streamTypes": list(each.stream_types)},
                "ptz": {
                    "type": each.ptz_type,
                    "control": each.ptz_control,
                    "pt": each.rotates,
                    "zoom": each.zooms,
                    "focus": each.focuses,
                    "directions": 8 if each.diagonals else 4,
                },
                "wifi": {"wifiMode": each.wifi_mode},
            }
            for each in support.channels
        }
    }


def support_one(inputs: Vector, expected: Vector) -> None:
    assert _record(Support.decode(inputs["xml_utf8"].encode())) == expected["support"]


def support_two(inputs: Vector, expected: Vector) -> None:
    """Discrepancies C3.8: the vendor keeps the last channel only; ours keeps both."""
    ours = _record(Support.decode(inputs["xml_utf8"].encode()))
    assert ours["channels"].keys() == {"0", "1"}
    assert ours["channels"]["1"] == expected["vendor_support"]["channels"]["1"]
    assert ours["channels"]["0"]["preview"] == {"streamTypes": ["mainStream"]}


def alarm(inputs: Vector, expected: Vector) -> None:
    (event,) = AlarmMessage.decode(inputs["xml_utf8"].encode()).events
    body = json.dumps(event.webhook("95270000000TEST1"), separators=(",", ":"))
    assert body == expected["body"]
    ack = Packet(REQUEST, Command.ALARM, expected["ack"]["requestId"]).reply()
    assert ack == Packet(RESPONSE, expected["ack"]["cmd"], 3, expected["ack"]["responseCode"])


XML_BUILD = [
    "handshake_response",
    "live_stop",
    "iframe",
    "replay_start",
    "cdata",
    "cdata_end",
    "types",
    "extension",
]
CHECKS = {
    "core_request_no_body": core_packet,
    "core_response_ack": core_packet,
    "core_request_xml": core_packet,
    "core_request_ext_binary": core_packet,
    "core_decode_fragmented": core_fragments,
    "core_parse_extension": core_extension,
    "core_length_16bit_quirk": core_long,
    **{f"xml_build_{name}": xml_build for name in XML_BUILD},
    "xml_parse_attributes": xml_attributes,
    "xml_parse_repeat": xml_parse,
    "xml_parse_blank": xml_parse,
    "xml_parse_empty_document": xml_empty,
    "time_device": device_time,
    "time_client": shown_time,
    "calendar_range": month,
    "records_next_token": next_token,
    "heartbeat_interval_table": intervals,
    "heartbeat_parse": heartbeat,
    "heartbeat_response": heartbeat_reply,
    "stream_types_bits": stream_types,
    "support_single_channel": support_one,
    "support_two_channels_quirk": support_two,
    "alarm_webhook_body": alarm,
}
