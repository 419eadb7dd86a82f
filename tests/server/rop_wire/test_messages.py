"""Messages there and back, codes, and what a representation must not show."""

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_wire import auth, messages, provisioning, xml
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, Hello, MediaMode, Policy, ServerChannel, access_key
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.packet import Packet

UID = "95270000000TEST1"
TEXT = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, blacklist_categories=["Cs", "Cc"]), max_size=40
)
WORD = TEXT.filter(lambda text: text != "")
NUMBER = st.integers(0, 2**32 - 1)
CHANNEL = st.integers(0, 31)
TIME = st.datetimes(min_value=datetime(1, 1, 1)).map(lambda at: at.replace(microsecond=0))
MAYBE = st.none() | TEXT
STREAM = st.sampled_from(["mainStream", "subStream", "externStream"])
MODE = st.sampled_from([mode.value for mode in MediaMode])
RECORDING = st.builds(messages.Recording, CHANNEL, STREAM, WORD, TIME, TIME)
PIR = (st.booleans(), st.integers(0, 100), st.booleans())

EVERY: list[st.SearchStrategy[Any]] = [
    st.builds(messages.Handshake, WORD, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE),
    st.builds(messages.HandshakeReply, NUMBER),
    st.builds(
        messages.Heartbeat,
        st.none() | st.builds(messages.BatteryState, st.integers(0, 100), st.integers(0, 5)),
        st.booleans(),
    ),
    st.builds(messages.HeartbeatReply, NUMBER, st.integers(0, 999_999)),
    st.builds(messages.NetworkReport, WORD),
    st.builds(
        messages.AlarmMessage,
        st.lists(st.builds(messages.AlarmEvent, WORD, TEXT, TEXT), max_size=3).map(tuple),
    ),
    st.builds(
        messages.Support,
        st.lists(
            st.builds(
                messages.Channel,
                CHANNEL,
                st.integers(0, 7),
                st.integers(0, 9),
                st.integers(0, 9),
                st.integers(0, 3),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(messages.GeneralConfig, MAYBE),
    st.builds(messages.GeneralConfigSet, TEXT),
    st.builds(messages.PirConfig, *PIR),
    st.builds(messages.PirSet, *PIR),
    st.builds(messages.AlarmSwitch, st.booleans()),
    st.builds(messages.AlarmSwitchSet, st.booleans()),
    st.builds(messages.Ptz, CHANNEL, st.sampled_from(messages.PTZ_ACTIONS), st.none() | st.integers(1, 64)),
    st.builds(
        messages.CalendarGet, st.lists(CHANNEL, max_size=3).map(tuple), st.integers(1, 9999), st.integers(1, 12)
    ),
    st.builds(
        messages.Calendar,
        st.dictionaries(CHANNEL, st.lists(st.integers(1, 31), unique=True, max_size=31).map(tuple), max_size=2),
    ),
    st.builds(messages.FindFiles, CHANNEL, STREAM, TIME, TIME),
    st.builds(messages.Files, st.none() | NUMBER, st.lists(RECORDING, max_size=4).map(tuple)),
    st.builds(messages.FileInfo, CHANNEL, WORD),
    st.builds(messages.FileInfoReply, st.none() | CHANNEL),
    st.builds(messages.LiveStart, CHANNEL, NUMBER, STREAM, MODE, st.integers(1, 65535)),
    st.builds(messages.LiveStop, CHANNEL, NUMBER),
    st.builds(messages.KeyFrameRequest, CHANNEL, STREAM),
    st.builds(messages.Snapshot, CHANNEL, STREAM),
    st.builds(messages.ReplayStart, CHANNEL, WORD, NUMBER, MODE, st.integers(1, 65535)),
    st.builds(messages.ReplayStop, CHANNEL, WORD, NUMBER),
    st.builds(messages.ReplaySeek, CHANNEL, NUMBER, NUMBER, TIME),
    st.builds(messages.WifiConfig, TEXT, st.none() | st.integers(1, 200), MAYBE.filter(lambda text: text != "")),
    st.builds(
        messages.WifiNetworks,
        st.lists(
            st.builds(messages.WifiNetwork, WORD, st.none() | st.integers(-120, 0), st.none() | st.booleans()),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(messages.WifiSet, WORD, TEXT, TEXT),
    st.builds(messages.WifiTest, WORD, TEXT, TEXT),
    st.builds(messages.UpgradeBegin, WORD, NUMBER, st.booleans()),
]


@given(st.one_of(EVERY))
def test_every_message_there_and_back(message: Any) -> None:
    if isinstance(message, messages.WifiConfig) and message.country_code is None:
        message = messages.WifiConfig(message.ssid, message.channel, "")
    assert type(message).decode(message.encode()) == message
    assert isinstance(message.command, Command)
    assert message.extension() == b""


def test_every_command_has_a_message() -> None:
    known = {
        each.command
        for each in vars(messages).values()
        if isinstance(each, type) and issubclass(each, messages.Message) and hasattr(each, "command")
    }
    assert known == set(Command)


@pytest.mark.parametrize(
    "message",
    [
        messages.PirSet(True, 101, False),
        messages.PirSet(True, None, False),
        messages.Ptz(0, "jump"),
        messages.Ptz(0, "left", 65),
        messages.UpgradeSlice(bytes(messages.SLICE_LENGTH + 1)),
        messages.GeneralConfigSet("bell \x07"),
    ],
)
def test_what_the_wire_cannot_carry_is_refused(message: messages.Message) -> None:
    with pytest.raises(EncodeError):
        message.encode()
    with pytest.raises(EncodeError):
        Packet(0, 2**32, 1).encode()


def test_flags_are_false_for_zero_only() -> None:
    told = xml.build({"Param016": {"attr002": "no", "attr003": "x"}})
    assert messages.PirConfig.decode(told) == messages.PirConfig(True, None, True)
    assert messages.Heartbeat.decode(b"") == messages.Heartbeat()
    percent = xml.build({"Param001": {"attr005": {"attr002": 7, "attr006": "87.9"}}})
    assert messages.Heartbeat.decode(percent).battery == messages.BatteryState(87, 7)


def test_one_wifi_network_or_none() -> None:
    # Discrepancies C3.9.
    one = xml.build({"Param019": {"attr003": {"attr001": {"attr001": "home", "attr002": -35, "attr003": 1}}}})
    assert messages.WifiNetworks.decode(one).networks == (messages.WifiNetwork("home", -35, True),)
    assert messages.WifiNetworks.decode(xml.build({"Param019": {}})).networks == ()


def test_calendars_with_missing_elements() -> None:
    # Discrepancies C3.10.
    assert messages.Calendar.decode(xml.build({})).days == {}
    bare = xml.build({"Param009": {"attr003": {"attr001": {"attr001": 0}}}})
    assert messages.Calendar.decode(bare).days == {0: ()}


@pytest.mark.parametrize(
    "secret", ["hunter2hunter2", "Ab3dEf6h", "FAl7WjOlFpQDABBnm2S5WZgIVNeMRYQe", "-----BEGIN EC PRIVATE KEY-----"]
)
def test_secrets_are_not_shown(secret: str) -> None:
    raw = secret.encode()
    padded = raw.ljust(32)[:32]
    holders: list[object] = [
        messages.WifiSet("home", secret, "US"),
        messages.WifiTest("home", secret, "US"),
        messages.RawRequest(117, raw),
        messages.UpgradeSlice(raw),
        Packet(0, 117, 1, 200, raw, raw),
        Hello(0, padded, padded, raw),
        provisioning.CertificateRequest(UID, secret),
        provisioning.CertificateReply("cert", secret, secret),
        provisioning.RegistrationReply(secret, secret, 1, 2, 3),
        ServerChannel({secret: secret}, secret, padded),
        DeviceChannel(secret, secret, padded),
    ]
    assert [type(each).__name__ for each in holders if secret in repr(each)] == []


# -- codes ----------------------------------------------------------------------------------------


def test_short_term_codes_live_for_a_while_and_belong_to_a_uid() -> None:
    table = auth.CodeTable()
    code = table.issue(UID, now=100.0, life=60.0)
    assert len(code) == auth.SHORT_CODE_LENGTH
    assert code.isalnum()
    assert table.check(code, "95270000000TEST2", 101.0) == "device_not_matched"
    assert table.uses(code) == 0
    assert table.check(code, UID, 159.9) is None
    assert table.check(code, UID, 159.9) is None
    assert table.uses(code) == 2
    assert table.check(code, UID, 160.0) == "code_expired"
    # Discrepancies C2.1: names of the language's own objects are no codes.
    assert table.check("toString", UID, 101.0) == "code_invalid"


def test_short_term_codes_are_forgotten() -> None:
    table = auth.CodeTable(limit=3)
    used = table.issue(UID, 0.0, 60.0)
    unused = table.issue("95270000000TEST2", 0.0, 60.0)
    assert table.check(used, UID, 1.0) is None
    assert table.purge(359.0) == []
    assert table.purge(360.0) == ["95270000000TEST2"]
    assert table.check(unused, "95270000000TEST2", 360.0) == "code_invalid"
    codes = [table.issue(UID, 400.0, 60.0) for _ in range(5)]
    assert len(table) == 3
    assert [table.check(code, UID, 401.0) for code in codes] == ["code_invalid"] * 2 + [None] * 3


def signed(document: object, key: str = "key") -> str:
    """A long-term code around any document, rightly signed."""
    content = base64.b64encode(json.dumps(document).encode()).decode()
    return f"{content}.{auth._signature(key, content)}"


@pytest.mark.parametrize(
    ("code", "symbol"),
    [
        (auth.long_term_code("key", UID), None),
        (auth.long_term_code("key", UID, 2_000_000), None),
        (auth.long_term_code("key", UID, 999_999), "code_invalid"),
        (auth.long_term_code("key", "95270000000TEST2"), "device_not_matched"),
        (auth.long_term_code("other", UID), "signature_not_matched"),
        (auth.long_term_code("key", UID) + ".more", "signature_not_matched"),
        ("", "signature_not_matched"),
        ("a.b", "signature_not_matched"),
        ("\ud800.b", "signature_not_matched"),
        (signed([]), "signature_not_matched"),
        (signed({"uid": UID}), "signature_not_matched"),
        (signed(7), "signature_not_matched"),
    ],
)
def test_long_term_codes(code: str, symbol: str | None) -> None:
    assert auth.verify_long_term("key", code, UID, now=1000.0) == symbol


@given(st.text(max_size=80))
def test_any_text_is_no_code(code: str) -> None:
    assert auth.verify_long_term("key", code, UID, now=0) == "signature_not_matched"
    assert auth.CodeTable().check(code, UID, 0) == "code_invalid"


# -- media over encrypted TCP ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "offset", "key_frame", "clear_from"),
    [
        (MediaMode.SELECTIVE, 0, True, 24 + 1024),
        (MediaMode.SELECTIVE, 0, False, 24 + 128),
        (MediaMode.SELECTIVE, 1000, True, 24 + 24),
        (MediaMode.SELECTIVE, 5000, True, 24),
        (MediaMode.CLEAR, 0, True, 0),
    ],
)
def test_what_of_media_travels_in_clear(mode: MediaMode, offset: int, key_frame: bool, clear_from: int) -> None:
    assert mode.clear_from(offset, key_frame) == clear_from
    keys = {"KEYINDEX00000001": "k" * 32}
    server = ServerChannel(keys, "KEYINDEX00000001", b"s" * 32, clear_allowed=True)
    device = device_of(keys)
    server.feed(device.hello())
    device.feed(server.outgoing())
    packet = Packet(0, 3, 7, 200, b"\xabmark" * 1000)
    wire = device.encode(packet, clear_from=clear_from)
    assert server.feed(wire) == [packet]
    assert b"\xabmark" * 100 in wire
    assert (packet.encode()[:24] in wire) is (clear_from == 0)


def device_of(keys: dict[str, str]) -> DeviceChannel:
    from rop_wire.encrypted import secret_access_key, uid_hash

    index = next(iter(keys))
    return DeviceChannel(access_key(index, UID), secret_access_key(keys[index], uid_hash(UID)), b"d" * 32)


def test_clear_packets_are_refused_on_keep_alive() -> None:
    keys = {"KEYINDEX00000001": "k" * 32}
    for policy in Policy:
        server = ServerChannel(keys, "KEYINDEX00000001", b"s" * 32, policy)
        device = device_of(keys)
        server.feed(device.hello())
        device.feed(server.outgoing())
        wire = device.encode(Packet(0, 0, 1), encrypted=False)
        if policy is Policy.REPORT:
            assert server.feed(wire) == [Packet(0, 0, 1)]
        else:
            with pytest.raises(ProtocolError):
                server.feed(wire)
        assert server.findings == {"clear": 1}


def test_page_tokens_at_the_end_of_time() -> None:
    last = datetime.max.replace(microsecond=0)
    file = messages.Recording(0, "mainStream", "a", last - timedelta(hours=1), last)
    assert messages.PageToken.after(messages.Files(40, (file,) * messages.FILES_PER_PAGE)) is None
