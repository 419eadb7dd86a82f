"""Checks of the vectors about requests to devices and play addresses."""

import base64
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rop_wire import messages, xml
from rop_wire.packet import REQUEST, Packet, PacketReader
from rop_wire.play_url import Address, LiveAddress, RecordAddress, SignatureError, sign, verify

Vector = dict[str, Any]
Request = messages.Message
PROCESS_KEY = "SIGNKEYSIGNKEYSIGNKEYSIGNKEY0000"


def _calendar(query: dict[str, str]) -> Request:
    return messages.CalendarGet((int(query["channel"]),), int(query["year"]), int(query["month"]))


def _records(query: dict[str, str]) -> Request:
    day = query["record_date"]
    start, end = (datetime.fromisoformat(f"{day} {query[name]}") for name in ("start_at", "end_at"))
    return messages.FindFiles(int(query["channel"]), query["stream_type"], start, end)


def _pir(body: Vector) -> Request:
    return messages.PirSet(body["enabled"], body["sensitivity"], body["reduceMistakes"])


def _rotate(body: Vector) -> Request:
    direction = "stop" if body["direction"] == "none" else body["direction"]
    return messages.Ptz(body["channel"], direction, body["speed"])


# By vector name: the client's body and query -> the message our server sends for that call.
REQUESTS: dict[str, Any] = {
    "get_general": lambda body, query: messages.GeneralConfigGet(),
    "set_general": lambda body, query: messages.GeneralConfigSet(body["deviceName"]),
    "get_pir": lambda body, query: messages.PirGet(),
    "set_pir": lambda body, query: _pir(body),
    "get_alarm": lambda body, query: messages.AlarmSwitchGet(),
    "set_alarm": lambda body, query: messages.AlarmSwitchSet(body["enabled"]),
    "support": lambda body, query: messages.SupportGet(),
    "ptz_zoom": lambda body, query: messages.Ptz(body["channel"], f"zoom{body['action'].title()}"),
    "ptz_focus": lambda body, query: messages.Ptz(body["channel"], f"focus{body['action'].title()}"),
    "ptz_stop": lambda body, query: _rotate(body),
    "ptz_left_up": lambda body, query: _rotate(body),
    "calendar": lambda body, query: _calendar(query),
    "records": lambda body, query: _records(query),
    "file_info": lambda body, query: messages.FileInfo(body["channel"], body["fileName"]),
    "wifi_get": lambda body, query: messages.WifiGet(),
    "wifi_set": lambda body, query: messages.WifiSet(body["ssid"], body["key"], body["countryCode"]),
    "wifi_scan": lambda body, query: messages.WifiScan(),
    "wifi_test": lambda body, query: messages.WifiTest(body["ssid"], body["key"], body["countryCode"]),
    "snapshot": lambda body, query: messages.Snapshot(0, "mainStream"),
    "upgrade_begin": lambda body, query: messages.UpgradeBegin("fw_884bf9.pak", 1280000, True),
    "live_start": lambda body, query: messages.LiveStart(0, 25928, "mainStream", "TLS", 61006),
    "replay_stop": lambda body, query: messages.ReplayStop(0, "/mnt/a.mp4", 28516),
}


def request(name: str, inputs: Vector, expected: Vector) -> None:
    query = {key: values[0] for key, values in parse_qs(urlsplit(inputs.get("path", "")).query).items()}
    message = REQUESTS[name](inputs.get("body"), query)
    number = expected.get("requestId", 1)
    packet = Packet(REQUEST, message.command, number, 200, message.encode(), message.extension())
    assert (packet.kind, packet.command) == (expected["magic"], expected["cmd"])
    assert (packet.status, len(packet.extension)) == (expected["responseCode"], expected["externLength"])
    assert packet.payload.decode() == expected["xml_utf8"]
    if "packet_hex" in expected:
        assert packet.encode().hex() == expected["packet_hex"]
    assert PacketReader().feed(packet.encode()) == [packet]
    # The camera's side of the same message, from a document laid out differently.
    if packet.payload and hasattr(type(message), "decode"):
        loose = packet.payload.replace(b"\n", b"\r\n\t").partition(b"?>")[2]
        assert type(message).decode(loose) == message
    elif packet.payload:
        assert messages.is_wifi_scan(packet.payload) is isinstance(message, messages.WifiScan)
    shown = repr(message)
    assert "key=" not in shown
    assert not expected["xml_utf8"] or xml.parse(packet.payload)


def _address(args: Vector) -> Address:
    if args["type"] == "live":
        return LiveAddress(args["uid"], args["requestId"], args["streamType"], args["channel"], args["expiredAt"])
    return RecordAddress(args["channel"], args["fileName"], args["uid"], args["requestId"], args["expiredAt"])


def play_url(inputs: Vector, expected: Vector) -> None:
    key, address = inputs["processSignKey"], _address(inputs["args"])
    url = sign(key, inputs["prefix"], address)
    assert url == expected["url"] == sign(key, inputs["prefix"] + "/", address)
    content = url.rpartition("/")[2].partition(".")[0]
    assert base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)).decode() == expected["json"]
    assert verify(key, url) == address
    with pytest.raises(SignatureError):
        verify(key.lower(), url)
    with pytest.raises(SignatureError):
        verify(key, url.replace(content, content[:-2] + "AA"))


def play_url_anywhere(inputs: Vector, expected: Vector) -> None:
    address = _address(expected["args"])
    assert verify(PROCESS_KEY, inputs["url"]) == address
    assert verify(PROCESS_KEY, inputs["url"] + "/") == address
    assert verify(PROCESS_KEY, inputs["url"] + "?from=x/y") == address


def _check(name: str) -> Any:
    return lambda inputs, expected: request(name, inputs, expected)


CHECKS = {
    **{f"api_request_{name}": _check(name) for name in REQUESTS},
    "play_url_live": play_url,
    "play_url_record": play_url,
    "play_url_retrieve": play_url_anywhere,
}
