"""Every parser that reads bytes of a peer, as a function of bytes for a fuzzer.

A target returns when the input was taken or refused with the parser's own error. Everything else (another
exception, a broken rule below) is a finding. The rules: what a stream parser returns does not depend on how the
stream was split (but for messages in the same read as, and in front of, what is refused: these may be lost), what
it holds is bounded, what was parsed can be encoded again.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rop_data import settings
from rop_data.archive import container, manifest
from rop_data.archive.errors import ArchiveError
from rop_data.config import Config, ConfigError, generate, parse
from rop_data.sinks import check_url
from rop_pki import PkiError, inspect
from rop_pki.envelope import EnvelopeError, parse_identities
from rop_pki.facts import load_key
from rop_server.alarms.sinks import key_bytes, masked
from rop_server.alarms.webhook import MAX_RETRY_AFTER_S, outcome_of
from rop_server.client.errors import ClientError
from rop_server.client.paths import PathTable
from rop_server.client.validation import Query, country, device_name, json_object, text, uid, uint, wifi_text
from rop_server.media.packets import Packetizer
from rop_server.net.http1 import MAX_BODY, MAX_HEAD, HttpError, RequestReader
from rop_wire import lan, messages, play_url, provisioning, rtcp, sdp, xml
from rop_wire.auth import CodeTable, verify_long_term
from rop_wire.encrypted import (
    HELLO_LENGTH,
    DeviceChannel,
    Policy,
    ServerChannel,
    access_key,
    secret_access_key,
    uid_hash,
)
from rop_wire.errors import EncodeError, ProtocolError, WireError
from rop_wire.media import MAX_EXTRA, VIDEO_HEADER, FrameParser, InfoBlock
from rop_wire.nal import Codec, join_nal_units, parse_adts, split_nal_units
from rop_wire.packet import HEADER_LENGTH, MAX_DATA, Packet, PacketReader
from rop_wire.rtp import RtpPacket, VideoAssembler, audio_frames
from rop_wire.rtsp import Interleaved, MessageReader, Request, Transport, range_start, url_path

UID = "95270000000TEST1"
INDEX = "KEYINDEX00000001"
KEYS = {INDEX: "abcdefghijklmnopqrstuvwxyz012345"}
SECRET = secret_access_key(KEYS[INDEX], uid_hash(UID))
KEY = "key"
MAX_FRAME = 65_536
MAX_MEDIA_PACKET = 1024 * 1024

Item = TypeVar("Item")


def pieces(data: bytes) -> Iterator[bytes]:
    """The bytes behind the first one, in pieces whose size the first one tells."""
    size = (data[0] % 64 + 1) if data else 1
    rest = data[1:]
    if len(rest) > 64 * size:
        size = len(rest) // 64 + 1
    yield from (rest[start : start + size] for start in range(0, len(rest), size))


def taken(feed: Callable[[bytes], list[Item]], parts: Iterator[bytes], error: type[Exception]) -> list[Item]:
    """What a parser returns for these parts before it refuses."""
    found: list[Item] = []
    with contextlib.suppress(error):
        for part in parts:
            found += feed(part)
    return found


def whole(data: bytes) -> Iterator[bytes]:
    """The bytes behind the first one, one by one but for long inputs."""
    rest = data[1:]
    yield from (bytes((byte,)) for byte in rest) if len(rest) <= 256 else (rest,)


def same(some: list[Item], others: list[Item]) -> bool:
    """Whether two outcomes agree, as far as both got."""
    shorter = min(len(some), len(others))
    return some[:shorter] == others[:shorter]


def core_packets(data: bytes) -> None:
    """Core packets of 61005 and 61006."""
    for limit in (MAX_DATA, MAX_MEDIA_PACKET):
        reader = PacketReader(limit)
        found = taken(reader.feed, pieces(data), ProtocolError)
        assert reader.buffered <= HEADER_LENGTH + limit
        assert same(found, taken(PacketReader(limit).feed, whole(data), ProtocolError))
        encoded = b"".join(each.encode() for each in found if len(each.payload + each.extension) <= MAX_DATA)
        assert limit > MAX_DATA or data[1:].startswith(encoded)


def server_hello(data: bytes) -> None:
    """What a stranger sends to 61003 or 61007."""
    channel = ServerChannel(KEYS, INDEX, bytes(32))
    taken(channel.feed, pieces(data), ProtocolError)
    assert channel.buffered <= HELLO_LENGTH + 2 * (MAX_DATA + HEADER_LENGTH)
    # Only who has the secret comes in: the length field is not read, everything else is signed.
    hello = DeviceChannel(access_key(INDEX, UID), SECRET, bytes(32)).hello()
    assert not channel.established or data[1 : HELLO_LENGTH + 1] == hello


def _joined(policy: Policy) -> tuple[ServerChannel, DeviceChannel]:
    device = DeviceChannel(access_key(INDEX, UID), SECRET, bytes(32))
    server = ServerChannel(KEYS, INDEX, b"n" * 32, policy, clear_allowed=True)
    server.feed(device.hello())
    device.feed(server.outgoing())
    return server, device


def outer_packets(data: bytes) -> None:
    """Outer packets behind a right hello; MACs are counted, not enforced, so that the input gets inside."""
    server, _ = _joined(Policy.REPORT)
    found = taken(server.feed, pieces(data), ProtocolError)
    assert server.buffered <= 2 * (MAX_DATA + HEADER_LENGTH)
    if data[1:2]:
        strict, _ = _joined(Policy.ENFORCE)
        assert len(taken(strict.feed, pieces(data), ProtocolError)) <= len(found)


def outer_answers(data: bytes) -> None:
    """The device's side: bytes of a server behind its hello, and a hello of bytes."""
    _, device = _joined(Policy.ENFORCE)
    taken(device.feed, pieces(data), ProtocolError)
    fresh = DeviceChannel(access_key(INDEX, UID), SECRET, bytes(32))
    taken(fresh.feed, pieces(data), ProtocolError)
    assert not fresh.established


def outer_bodies(data: bytes) -> None:
    """Rightly signed outer packets whose bodies are the input: the core stream inside."""
    server, device = _joined(Policy.ENFORCE)
    outer = device._outer
    assert outer is not None
    stream = b"".join(outer.wrap(part, bool(len(part) & 1)) for part in pieces(data))
    found = taken(server.feed, iter((stream,)), ProtocolError)
    assert same(found, taken(PacketReader().feed, pieces(data), ProtocolError))


def xml_document(data: bytes) -> None:
    """Bounded XML; what it yields can be walked without errors."""
    try:
        tree = xml.parse(data)
    except ProtocolError:
        return
    for name in list(tree)[:4]:
        xml.text(tree, name)
        xml.items(tree, name, name)
        with contextlib.suppress(ProtocolError):
            xml.integer(tree, name)
        with contextlib.suppress(ProtocolError):
            xml.flag(tree, name)


def _messages() -> list[Any]:
    kinds = {value for value in vars(messages).values() if isinstance(value, type)}
    return sorted((each for each in kinds if "decode" in dir(each)), key=lambda each: each.__name__)


MESSAGES = _messages()


def typed_messages(data: bytes) -> None:
    """Every message with a decoder; the first byte picks one. What was decoded can be encoded again."""
    if not data:
        return
    kind = MESSAGES[data[0] % len(MESSAGES)]
    raw: Any = data[1:]
    if kind is messages.PageToken:
        raw = raw.decode("latin-1")
    try:
        told = kind.decode(raw)
    except ProtocolError:
        return
    repr(told)
    with contextlib.suppress(WireError):
        told.encode()


def media_frames(data: bytes) -> None:
    """Frames of a camera, found again after rubbish, and RTP made of them."""
    parser = FrameParser(MAX_FRAME)
    found = taken(parser.feed, pieces(data), ProtocolError)
    assert parser.buffered <= VIDEO_HEADER + MAX_EXTRA + MAX_FRAME
    assert found == taken(FrameParser(MAX_FRAME).feed, whole(data), ProtocolError)
    packetizer = Packetizer(InfoBlock(25, Codec.H264 if data[:1] < b"\x80" else Codec.H265))
    for frame in found:
        for made in packetizer.pack(frame):
            for packet in made.packets:
                RtpPacket.decode(packet)
            made.interleaved(made.track)


def info_block(data: bytes) -> None:
    """The start response of a stream."""
    with contextlib.suppress(ProtocolError):
        InfoBlock.decode(data).encode()


def access_units(data: bytes) -> None:
    """Annex B and ADTS."""
    units = split_nal_units(data)
    assert split_nal_units(join_nal_units(units)) == [each for each in units if each]
    with contextlib.suppress(ProtocolError):
        for frame in parse_adts(data):
            assert len(frame.config) == 2
            frame.encode()


def rtp_packets(data: bytes) -> None:
    """RTP and RTCP of a peer: packets of the input put together."""
    assembler = VideoAssembler(Codec.H264 if data[:1] < b"\x80" else Codec.H265, MAX_FRAME)
    for part in pieces(data):
        with contextlib.suppress(ProtocolError):
            packet = RtpPacket.decode(part)
            packet.encode()
            with contextlib.suppress(ProtocolError):
                audio_frames(packet.payload)
            assembler.feed(packet)
        with contextlib.suppress(ProtocolError):
            rtcp.packet_kinds(part)
    assert assembler.buffered <= 2 * MAX_FRAME


def rtsp_messages(data: bytes) -> None:
    """Requests of a viewer on 61008."""
    reader = MessageReader()
    found = taken(reader.feed, pieces(data), ProtocolError)
    assert same(found, taken(MessageReader().feed, whole(data), ProtocolError))
    assert reader.buffered < 1_000_000
    for message in found:
        if isinstance(message, Interleaved):
            continue
        with contextlib.suppress(WireError):
            message.encode()
        with contextlib.suppress(ProtocolError):
            range_start(message.header("Range"))
        with contextlib.suppress(ProtocolError):
            Transport.decode(message.header("Transport") or "").encode()
        if isinstance(message, Request):
            url_path(message.path)
            message.reply(461).encode()


def session_description(data: bytes) -> None:
    """SDP."""
    with contextlib.suppress(ProtocolError):
        for track in sdp.parse_description(data):
            with contextlib.suppress(ProtocolError):
                _ = track.parameter_sets


def play_address(data: bytes) -> None:
    """Play addresses: as they come, and rightly signed with any content."""
    shown = data.decode("latin-1")
    with contextlib.suppress(ProtocolError):
        play_url.open_play_url(shown, KEY)
    content = play_url._encode(data)
    with contextlib.suppress(ProtocolError):
        told = play_url.open_play_url(f"{play_url.PATH}{content}.{play_url._sign(KEY, content)}", KEY)
        play_url.play_url("rtsp://x:1", KEY, told)


def lan_documents(data: bytes) -> None:
    """LAN discovery and set-up."""
    lan.is_discovery_request(data)
    lan.setup_answer(200 if data[:1] > b"\x80" else 400, data)
    with contextlib.suppress(ProtocolError):
        lan.DiscoveryReply.decode(data).encode()
    with contextlib.suppress(ProtocolError):
        lan.qr_text(lan.SetupDocument.decode(data))


PROVISIONING = (
    provisioning.CaReply,
    provisioning.CertificateRequest,
    provisioning.CertificateReply,
    provisioning.RegistrationRequest,
    provisioning.RegistrationReply,
)


def provisioning_bodies(data: bytes) -> None:
    """Bodies of 61000, 61001 and 61002, both directions."""
    for kind in PROVISIONING:
        with contextlib.suppress(WireError):
            told: Any = kind.decode(data)
            if not isinstance(told, provisioning.Refusal):  # its symbol may be one we would never send
                told.encode()


def http_requests(data: bytes) -> None:
    """HTTP of the provisioning services."""
    reader = RequestReader()
    found = taken(reader.feed, pieces(data), HttpError)
    assert len(reader._buffer) <= MAX_HEAD + 64 * 1024
    assert all(len(each.body) <= MAX_BODY for each in found)
    assert same(found, taken(RequestReader().feed, whole(data), HttpError))


def device_codes(data: bytes) -> None:
    """Long-term and short-term codes of a stranger."""
    code = data.decode("utf-8", "surrogatepass" if data[:1] < b"\x80" else "replace") if _utf8(data) else ""
    assert verify_long_term(KEY, code, UID, 1.0) is not None
    table = CodeTable()
    table.issue(UID, 0.0, 60.0)
    assert table.check(code, UID, 1.0) == "code_invalid"


def _utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


CHECKS: tuple[Callable[[Any], Any], ...] = (
    uid,
    lambda value: uint(value, "x", 0, 255),
    device_name,
    lambda value: text(value, "x", 1, 31),
    lambda value: wifi_text(value, "x", 1),
    country,
)
PATHS = PathTable({("GET", "/v1.0/devices"): 1, ("GET", "/v1.0/devices/{uid}/states/{what}"): 2})


def client_requests(data: bytes) -> None:
    """Paths, queries and bodies of 61009."""
    shown = data.decode("latin-1")
    PATHS.find("GET", shown)
    PATHS.find("GET", "/v1.0/devices/" + shown)
    with contextlib.suppress(ClientError):
        query = Query(shown)
        for field in list(query._found)[:4]:
            with contextlib.suppress(ClientError):
                query.whole(field, 0, 10)
            with contextlib.suppress(ClientError):
                query.text(field, 0, 40)
    with contextlib.suppress(ProtocolError):
        assert messages.client_time(messages.parse_client_time(shown)) == shown
    with contextlib.suppress(ClientError):
        for value in list(json_object(data).values())[:8]:
            for check in CHECKS:
                with contextlib.suppress(ClientError):
                    check(value)


_CONFIG = generate({"ROP_HOSTNAME": "rop.example.net", "RTSP_PLAY_URL_PREFIX": "rtsp://rop.example.net:61008"})


def configuration(data: bytes) -> None:
    """Members of config.json laid over a good one."""
    with contextlib.suppress(ConfigError):
        repr(Config({**_CONFIG, **parse(data)}))


_OWN = json.loads(settings.RopSettings.new(adopted=False).encode())


def own_settings(data: bytes) -> None:
    """Members of rop.json laid over good ones; what was taken can be written, and read again."""
    with contextlib.suppress(ConfigError):
        told = settings.decode(json.dumps({**_OWN, **parse(data)}).encode())
        assert settings.decode(told.encode()) == told
    with contextlib.suppress(ConfigError):
        settings.patch(settings.decode(json.dumps(_OWN).encode()), parse(data))


def archive_parts(data: bytes) -> None:
    """What somebody hands us as an archive, and its parts; the first byte picks one."""
    kind, rest = data[:1], data[1:]
    with contextlib.suppress(ArchiveError):
        match kind:
            case b"h":
                header = manifest.decode_header(rest)
                assert manifest.decode_header(header.encode()) == header
                manifest.as_document(header)
            case b"m":
                entries = manifest.decode_entries(rest)
                container._compare(entries, {each.path: b"" for each in entries}, 1)
            case b"r":
                repr(manifest.parse_recipients(rest.decode("latin-1")))
            case _:
                container.read(rest)


def keys_and_certificates(data: bytes) -> None:
    """Certificates, keys and identities that an owner gives us."""
    for pem in (
        data,
        b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(data) + b"\n-----END CERTIFICATE-----\n",
    ):
        with contextlib.suppress(PkiError):
            repr(inspect(pem))
    with contextlib.suppress(PkiError):
        load_key(data)
    with contextlib.suppress(EnvelopeError):
        repr(parse_identities(data))


def alarm_sinks(data: bytes) -> None:
    """Addresses and keys of receivers, and what receivers answer."""
    shown = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        check_url(shown, "url")
    told = masked(shown)
    assert told == "***" or (told.endswith("/***") and "?" not in told and "@" not in told)
    with contextlib.suppress(ValueError):
        key_bytes(shown)
    outcome = outcome_of(503, shown)
    assert outcome.retry_after is None or 0 <= outcome.retry_after <= MAX_RETRY_AFTER_S


def raw_commands(data: bytes) -> None:
    """Documents that clients have made into XML: what was made can be read, and says the same."""
    try:
        tree = json_object(data)
        built = xml.build(tree)
    except (ClientError, EncodeError):
        return
    xml.parse_document(built)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        core_packets,
        server_hello,
        outer_packets,
        outer_answers,
        outer_bodies,
        xml_document,
        typed_messages,
        media_frames,
        info_block,
        access_units,
        rtp_packets,
        rtsp_messages,
        session_description,
        play_address,
        lan_documents,
        provisioning_bodies,
        http_requests,
        device_codes,
        client_requests,
        configuration,
        own_settings,
        archive_parts,
        keys_and_certificates,
        alarm_sinks,
        raw_commands,
    )
}


def packet(command: int, payload: bytes = b"", extension: bytes = b"") -> bytes:
    """A core packet for the corpus."""
    return Packet(0, command, 1, 200, payload, extension).encode()
