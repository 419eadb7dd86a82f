"""61000, 61001 and 61002 over real TLS. Source: device-protocol 2; discrepancies B4 to B7, C2, C3.7."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from rop_wire import provisioning
from rop_wire.auth import ca_hash, long_term_code

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"


async def certificate(site: Any, wire: Any, body: bytes, path: str = "/v1.0/devices/credetials") -> Any:
    raw = await wire.https(site.ports["getCertHttps"], wire.post(path, body), wire.lax_context())
    status, headers, text = wire.split(raw)
    return status, headers, json.loads(text)


async def test_ca(site: Any, wire: Any) -> None:
    request = b"GET /v1.0/ca?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    raw = await wire.https(site.ports["getCAHttps"], request, wire.lax_context())
    status, headers, body = wire.split(raw)
    reply = provisioning.CaReply.decode(body)
    assert status == 200 and headers["Connection"] == "closed"
    assert reply.ca == site.root_pem
    assert ca_hash(reply.ca) == ca_hash(site.root_pem)
    assert body.startswith(b'{"ca":"-----BEGIN CERTIFICATE-----\\n')
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("port", "request_", "closes"),
    [
        ("getCAHttps", b"GET /v1.0/c HTTP/1.1\r\nHost: x\r\n\r\n", True),
        ("getCAHttps", b"POST /v1.0/ca HTTP/1.1\r\nHost: x\r\n\r\n", True),
        ("getCertHttps", b"GET /v1.0/devices/credetials HTTP/1.1\r\n\r\n", False),
    ],
)
async def test_not_found(site: Any, wire: Any, port: str, request_: bytes, closes: bool) -> None:
    raw = await wire.https(site.ports[port], request_, wire.lax_context(), read_all=closes)
    assert raw.startswith(b"HTTP/1.1 404 NOT FOUND\r\n")
    assert raw.endswith(b"\r\n\r\n0\r\n\r\n")
    assert (b"Keep-Alive: timeout=5" in raw) is not closes


async def test_certificate_by_short_code(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    assert camera.certificate.cert.count("BEGIN CERTIFICATE") == 2
    assert camera.certificate.key.startswith("-----BEGIN EC PRIVATE KEY-----")
    assert site.facts.of("code") == [(UID, "Issued"), (UID, "Used")]
    assert site.facts.of("certificate")[0][3:] == ("ShortCode", "127.0.0.1")
    assert site.facts.of("registered") == [(UID, "127.0.0.1")]
    assert camera.keys.heartbeat_interval_s == 20
    assert camera.keys.signaling_port == site.ports["signalingTLS"]


async def test_code_is_good_for_one_use(site: Any, new_camera: Any) -> None:
    camera = await new_camera(enrol=False)
    code = site.devices.issue_code(UID).code
    await camera.enrol(code)
    again = await camera.certify(code)
    assert isinstance(again, provisioning.Refusal) and again.symbol == "code_invalid"
    assert site.facts.of("code")[-1] == (UID, "UsedAgain")


async def test_a_lost_answer_may_be_asked_for_again_for_a_while(site: Any, new_camera: Any) -> None:
    camera = await new_camera(enrol=False)
    code = site.devices.issue_code(UID).code
    for shift in (0.0, 1.0, 14.0):
        site.time.shift = shift
        assert isinstance(await camera.certify(code), provisioning.CertificateReply)
    assert isinstance(await camera.certify(code), provisioning.Refusal)  # not for ever within that time
    other = site.devices.issue_code(UID).code
    assert isinstance(await camera.certify(other), provisioning.CertificateReply)
    site.time.shift = 14.0 + 15.5
    late = await camera.certify(other)
    assert isinstance(late, provisioning.Refusal) and late.symbol == "code_invalid"
    assert site.facts.of("code")[-1] == (UID, "UsedAgain")


async def test_nobody_else_may_ask_again(site: Any) -> None:
    code = site.devices.issue_code(UID).code
    body = json.dumps({"uid": UID, "code": code}).encode()
    first = site.enrolment.certificate(body, "192.0.2.1")
    second = site.enrolment.certificate(body, "192.0.2.2")
    assert (first.status, b"cert" in first.body) == (200, True)
    assert (second.status, b"code_invalid" in second.body) == (200, True)


async def test_renewal_by_long_code(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    first = camera.certificate
    second = await camera.certify(first.code)
    assert isinstance(second, provisioning.CertificateReply)
    assert second.code == first.code and second.cert != first.cert
    assert [each[3] for each in site.facts.of("certificate")] == ["ShortCode", "LongCode"]
    site.facts.denied.add(UID)
    refused = await camera.certify(first.code)
    assert isinstance(refused, provisioning.Refusal)
    assert site.facts.of("refused") == [(UID, "getCertHttps", "Denied")]


async def test_refusals_of_61001(site: Any, wire: Any) -> None:
    code = site.devices.issue_code(UID).code
    long_code = long_term_code("sign-key", UID)

    def body(uid: object, given: object) -> bytes:
        return json.dumps({"uid": uid, "code": given}).encode()

    expected = [
        (b"{", 400, "invalid_parameter"),
        (b"[]", 400, "invalid_parameter"),
        (body(UID, None), 400, "invalid_parameter"),
        (b'{"code":"toString"}', 400, "invalid_parameter"),
        (body("short", code), 400, "invalid_parameter"),
        (body(UID, "toString"), 200, "code_invalid"),
        (body(UID, "x" * 40), 200, "signature_not_matched"),
        (body(UID, long_code + ".x"), 200, "signature_not_matched"),
        (body(OTHER, code), 400, "device_not_matched"),
        (body(OTHER, long_code), 400, "device_not_matched"),
    ]
    for sent, status, symbol in expected:
        got, _, document = await certificate(site, wire, sent)
        assert (got, document["error"]["symbol"]) == (status, symbol), sent
        assert list(document["error"]) == ["message", "symbol"]
    site.time.shift = 61.0
    got, _, document = await certificate(site, wire, body(UID, code))
    assert (got, document["error"]["symbol"]) == (400, "code_invalid")
    assert site.facts.of("code")[-1] == (UID, "Expired")
    assert site.facts.of("certificate") == []


async def test_correct_spelling_and_chunks(site: Any, wire: Any) -> None:
    given = {"uid": UID, "code": site.devices.issue_code(UID).code, "note": "é"}
    text = json.dumps(given, ensure_ascii=False).encode()
    middle = text.index("é".encode()) + 1  # a chunk border inside a character
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:middle], text[middle:]))
    head = b"POST /v1.0/devices/credentials/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = await wire.https(site.ports["getCertHttps"], head + chunks + b"0\r\n\r\n", wire.lax_context())
    assert "cert" in json.loads(wire.split(raw)[2])


async def test_guesses_are_limited(site: Any, wire: Any) -> None:
    code = site.devices.issue_code(UID).code
    for number in range(20):
        sent = json.dumps({"uid": UID, "code": f"{number:08d}"}).encode()
        assert (await certificate(site, wire, sent))[2]["error"]["symbol"] == "code_invalid"
    right = json.dumps({"uid": UID, "code": code}).encode()
    assert (await certificate(site, wire, right))[2]["error"]["symbol"] == "code_invalid"
    site.time.shift = 59.0
    site.enrolment.settings = site.settings
    site.time.shift = 60.5
    fresh = json.dumps({"uid": UID, "code": site.devices.issue_code(UID).code}).encode()
    assert "cert" in (await certificate(site, wire, fresh))[2]


async def test_unclaimed_uid_gets_no_code_and_no_certificate(site: Any, wire: Any) -> None:
    from rop_server.core.facade import CallError

    code = site.devices.issue_code(UID).code
    site.facts.unclaimed.add(UID)
    with pytest.raises(CallError, match="NotClaimed"):
        site.devices.issue_code(UID)
    sent = json.dumps({"uid": UID, "code": code}).encode()
    assert (await certificate(site, wire, sent))[2]["error"]["symbol"] == "code_invalid"


async def test_registration_mismatch_is_answered(site: Any, new_camera: Any, wire: Any) -> None:
    camera = await new_camera()
    for sent in (b'{"uid":"95270000000TEST2"}', b"{", b"{}"):
        raw = await wire.https(
            site.ports["registerHttps"],
            wire.post("/v1.0/devices/registration", sent),
            camera.context,
        )
        status, _, body = wire.split(raw)
        assert status == 400
        assert json.loads(body)["error"]["symbol"] == "invalid_parameter"


async def test_denied_device_cannot_register(site: Any, new_camera: Any, wire: Any) -> None:
    camera = await new_camera()
    site.facts.denied.add(UID)
    raw = await wire.https(
        site.ports["registerHttps"],
        wire.post("/v1.0/devices/registration", b'{"uid":"95270000000TEST1"}'),
        camera.context,
    )
    assert raw == b""
    assert site.facts.of("refused") == [(UID, "registerHttps", "Denied")]


async def test_client_certificate_is_required_and_needs_the_chain(
    site: Any, new_camera: Any, wire: Any, tmp_path: Path
) -> None:
    camera = await new_camera()
    leaf = camera.certificate.cert.split("-----END CERTIFICATE-----")[0]
    bare = wire.camera_context(
        site.root_pem, leaf + "-----END CERTIFICATE-----\n", camera.certificate.key, tmp_path
    )
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=site.root_pem)
    request = wire.post("/v1.0/devices/registration", b'{"uid":"95270000000TEST1"}')
    for context, alert in ((bare, "UNKNOWN_CA"), (nobody, "CERTIFICATE_REQUIRED")):
        with pytest.raises(ssl.SSLError) as caught:
            await wire.https(site.ports["registerHttps"], request, context)
        assert alert in str(caught.value.reason)
    await site.until(lambda: site.net.gate.open == 0)
    assert len(site.facts.of("registered")) == 1


async def test_tls_1_1_is_refused_and_1_2_resumes(site: Any, new_camera: Any) -> None:
    camera = await new_camera()
    camera.context.maximum_version = ssl.TLSVersion.TLSv1_2
    link = await camera.signaling()
    session = link.writer.get_extra_info("ssl_object").session
    assert session.has_ticket
    await link.close()

    def resumed() -> bool:
        import socket

        with (
            socket.create_connection(("127.0.0.1", site.ports["signalingTLS"])) as sock,
            camera.context.wrap_socket(sock, server_hostname="127.0.0.1", session=session) as wrapped,
        ):
            return bool(wrapped.session_reused)

    before = len(site.facts.admitted)
    assert await asyncio.get_running_loop().run_in_executor(None, resumed)
    await site.until(lambda: len(site.facts.admitted) > before)
    assert site.facts.admitted[-1][0] == UID  # the identity is kept, and asked for, on resumption


async def test_renewed_server_certificate_is_presented(site: Any, new_camera: Any) -> None:
    from datetime import UTC, datetime

    camera = await new_camera()
    online = await camera.signaling()

    def presented(link: Any) -> bytes:
        der: bytes = link.writer.get_extra_info("ssl_object").getpeercert(True)
        return der

    made = site.authority.server_certificate(90, 30, datetime.now(UTC))
    site.tls.renew(made.chain_pem, made.key_pem)
    again = await camera.signaling()
    assert presented(again) != presented(online)


async def test_certificate_that_cannot_be_made_is_not_answered(site: Any, wire: Any) -> None:
    def broken(uid: str, days: float) -> Any:
        raise OSError("disk full")

    site.enrolment._sign = broken
    sent = json.dumps({"uid": UID, "code": site.devices.issue_code(UID).code}).encode()
    raw = b""
    try:
        raw = await wire.https(
            site.ports["getCertHttps"], wire.post("/v1.0/devices/credetials", sent), wire.lax_context()
        )
    except ConnectionError:
        raw = b""
    assert raw == b""
