"""Writes the hand-made part of the corpus: good input of every target, from which a fuzzer starts.

`python tests/fuzz/seeds.py` after a new target or a new message; files it does not know stay.
"""

from __future__ import annotations

import json
from pathlib import Path

import targets

from rop_data.archive import container, manifest
from rop_wire import lan, messages, play_url, provisioning
from rop_wire.commands import Command
from rop_wire.encrypted import DeviceChannel, access_key
from rop_wire.media import Frame, FrameKind, InfoBlock
from rop_wire.nal import AdtsFrame, Codec, join_nal_units
from rop_wire.rtp import AUDIO_PAYLOAD_TYPE, Track, video_payloads

CORPUS = Path(__file__).with_name("corpus")
SPLIT = b"\x1f"
UNITS = [b"\x67\x42\x00\x1e", b"\x68\xce\x38\x80", b"\x65" + bytes(range(1, 90))]


def _device() -> DeviceChannel:
    return DeviceChannel(access_key(targets.INDEX, targets.UID), targets.SECRET, bytes(32))


def _wrapped() -> bytes:
    _, device = targets._joined(targets.Policy.ENFORCE)
    packets = (messages.Heartbeat().encode(), messages.Handshake(targets.UID).encode())
    return b"".join(device.encode(targets.Packet(0, 1, number, 200, each)) for number, each in enumerate(packets))


def _media() -> bytes:
    frames = [
        Frame(FrameKind.KEY, join_nal_units(UNITS), 1_000_000, Codec.H264, bytes(4)),
        Frame(FrameKind.AUDIO, AdtsFrame(2, 16_000, 1, b"abc").encode()),
        Frame(FrameKind.PREDICTED, join_nal_units([b"\x61abcdef"]), 1_040_000, Codec.H264),
        Frame(FrameKind.END),
    ]
    return InfoBlock(25, Codec.H264).encode() + b"".join(each.encode() for each in frames)


def _rtp() -> bytes:
    track = Track(AUDIO_PAYLOAD_TYPE, 1, 1)
    return b"\x20" + b"".join(each.encode() for each in track.wrap(video_payloads(Codec.H264, UNITS[:2]), 9))


def _setup() -> bytes:
    return lan.SetupDocument("h.example.net", 1, 2, 3, "Abcd1234", "A" * 43 + "=", 1_700_000_000).encode()


def _header() -> manifest.Header:
    made = "2026-01-01T00:00:00+00:00"
    reader = manifest.Recipient("ada", "All", "age1x")
    return manifest.Header("i", "0" * 64, "1" * 64, 1, made, "", 0, "", 0, "", (reader,))


def _owners() -> dict[str, list[bytes]]:
    """What an owner or an administrator gives the server."""
    return {
        "configuration": [
            b'{"serverHost":"a.example.net","heartBeatInterval":20000}',
            b'{"ports":{"clientHttp":1}}',
            b'{"heartBeatInterval":' + b"1" * 5000 + b"}",
        ],
        "own_settings": [
            b'{"alarms":{"maxAgeSeconds":600,"sinks":[{"name":"ops","urlFile":"s","filter":{"uids":["A"]}}]}}',
            b'{"rop.management.listen":"0.0.0.0:61011","signalCommands":[104],"integrity":"Report"}',
            b'{"backup":{"recipients":[{"name":"a","scope":"All","key":"age1x"}],"schedule":"0 3 * * *"}}',
        ],
        "archive_parts": [
            b"h" + _header().encode(),
            b"m" + manifest.encode_entries([manifest.Entry("config.json", "config", "0" * 64, 0, 1)]),
            b"rada All age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq\n# no\n",
            b"t" + container.tar(dict.fromkeys(container.MEMBERS, b"x")),
            b"h" + b"[" * 3000,
        ],
        "keys_and_certificates": [
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            b"# made by age-keygen\nAGE-SECRET-KEY-1" + b"Q" * 58,
        ],
        "alarm_sinks": [b"https://hooks.example.net:8443/a?key=1", b"whsec_" + b"QUJD" * 8, b"120"],
        "raw_commands": [b'{"Param007":{"attr012":"a & b","$":{"version":"1"}},"list":["1",{"x":null}]}'],
    }


def seeds() -> dict[str, list[bytes]]:
    """Good inputs by target."""
    handshake = messages.Handshake(targets.UID, family="powered", model="E1", firmware="v3").encode()
    core = [
        SPLIT + targets.packet(Command.HANDSHAKE, handshake) + targets.packet(Command.HEARTBEAT),
        SPLIT + targets.packet(Command.LIVE_START, bytes(40), b"<a/>"),
    ]
    rtsp = (
        b"SETUP rtsp://h:1/v1.0/live/a.b/trackID=0 RTSP/1.0\r\nCSeq: 2\r\n"
        b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n$\x00\x00\x04abcd"
        b"PLAY / RTSP/1.0\r\nCSeq: 3\r\nRange: npt=1.5-\r\nContent-Length: 3\r\n\r\nabc"
    )
    http = (
        b"POST /v1.0/devices/credetials HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    play = play_url.LivePlay(targets.UID, 7, "main", 0, 1_700_000_000_000)
    return {
        "core_packets": core,
        "server_hello": [SPLIT + _device().hello()],
        "outer_packets": [SPLIT + _wrapped()],
        "outer_answers": [SPLIT + _wrapped(), SPLIT + _device().hello()],
        "outer_bodies": core,
        "xml_document": [handshake, messages.PirConfig(True, 60, False).encode()],
        "typed_messages": [bytes((index,)) + handshake for index in range(len(targets.MESSAGES))],
        "media_frames": [SPLIT + _media(), b"\xff" + _media()[33:]],
        "info_block": [InfoBlock(25, Codec.H265).encode()],
        "access_units": [join_nal_units(UNITS), AdtsFrame(2, 16_000, 1, b"abc").encode() * 2],
        "rtp_packets": [_rtp()],
        "rtsp_messages": [SPLIT + rtsp],
        "session_description": [
            b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n"
            b"a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0I=,aM4=\r\nm=audio 0 RTP/AVP 97\r\n"
        ],
        "play_address": [
            json.dumps(play.document()).encode(),
            play_url.play_url("rtsp://h:1", "k", play).encode(),
        ],
        "lan_documents": [
            _setup(),
            lan.discovery_request(),
            lan.DiscoveryReply(targets.UID, "10.0.0.1", 9).encode(),
        ],
        "provisioning_bodies": [
            provisioning.CertificateRequest(targets.UID, "Abcd1234").encode(),
            provisioning.RegistrationRequest(targets.UID).encode(),
            provisioning.Refusal("code_invalid", "no").encode(),
        ],
        "http_requests": [SPLIT + http],
        "device_codes": [b"eyJ1aWQiOiJ4IiwiZXhwaXJlZEF0IjowfQ==.c2ln", b"Abcd1234"],
        "client_requests": [
            b'{"uid":"95270000000TEST1","deviceName":"Gate","x":1.0,"ssid":"net"}',
            b"channel=1&startTime=2024-01-01%2000:00:00&cursor=abc",
        ],
        **_owners(),
    }


def main() -> None:
    """Write them."""
    for name, found in seeds().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(found):
            (folder / f"seed-{number:02}").write_bytes(each)


if __name__ == "__main__":
    main()
