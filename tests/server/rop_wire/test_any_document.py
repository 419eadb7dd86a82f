"""Any XML, JSON body, datagram or token: a value or the protocol's own error; and round trips."""

import contextlib
import inspect
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rop_wire import lan, messages, provisioning, xml
from rop_wire.errors import EncodeError, ProtocolError
from rop_wire.provisioning import CaReply, CertificateReply, CertificateRequest, Refusal

# Half characters (surrogates) included.
ANY_TEXT = st.text(st.characters(), max_size=30)
NAMES = st.from_regex(r"(Param0[0-2][0-9]|attr0[01][0-9]|speed)", fullmatch=True)
# What XML can carry, carriage returns and CDATA ends included.
TEXT = st.lists(
    st.one_of(st.sampled_from(["]]>", "\r", "\n", "&", "<", ">", "<![CDATA[", "&amp;"]), st.text(max_size=5)),
    max_size=4,
).map(lambda parts: "".join(c for c in "".join(parts) if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff")))


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A repeated element: the reader tells a list from two on."""
    return st.lists(values, min_size=2, max_size=3)


TREES = st.recursive(
    st.dictionaries(NAMES, st.one_of(TEXT, several(TEXT)), min_size=1, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(TEXT, inner, several(inner)), min_size=1, max_size=3),
    max_leaves=8,
)
VALUES = st.text(max_size=12) | st.sampled_from(["0", "1", "-5", " 7 ", "1" * 30, "2022", "12", "٣", "²"])
SCRAPS = st.recursive(
    VALUES, lambda inner: st.dictionaries(NAMES, inner | st.lists(inner, max_size=3), max_size=4)
)
DECODERS = [
    each
    for _, each in inspect.getmembers(messages, inspect.isclass)
    if issubclass(each, messages.Message) and hasattr(each, "decode")
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
UIDS = st.from_regex(r"[A-Z0-9]{16}", fullmatch=True)


@given(TREES)
@example({"a": "\r]]>\r&"})
@example({"a": "x]]>]]>&"})
def test_trees_survive_writing_and_reading(tree: dict[str, Any]) -> None:
    assert xml.parse(xml.build(tree)) == tree


@given(ANY_TEXT)
def test_text_that_xml_cannot_carry_is_refused_before_it_is_sent(text: str) -> None:
    try:
        document = xml.build({"a": text})
    except EncodeError:
        assert any(
            (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" or "\ud800" <= c <= "\udfff" for c in text
        )
    else:
        assert xml.parse(document) == {"a": text}


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='<>/body&#x0;!["?-]a =', max_size=80).map(str.encode)))
@example(b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
@example(b"<a>&unknown;</a>")
@example(b"<?xml version='1.0' encoding='UTF-16'?><a/>")
@example(b"<?xml version='1.0' encoding='nonsense'?><a/>")
@example(b"<a/><b/>")
@example(b"\xef\xbb\xbf<a/>")
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(xml.parse(data), dict)


def test_documents_are_bounded() -> None:
    with pytest.raises(ProtocolError):
        xml.parse(b"<a>" * 17 + b"</a>" * 17)
    assert xml.parse(b"<a>" * 16 + b"</a>" * 16)
    with pytest.raises(ProtocolError):
        xml.parse(b"<a>" + b"<b/>" * 20_000 + b"</a>", max_bytes=1 << 20)
    with pytest.raises(ProtocolError):
        xml.parse(b"<a>" + b" " * 65535 + b"</a>")
    bomb = b"<!DOCTYPE a [<!ENTITY x0 'ha'>" + b"".join(
        f"<!ENTITY x{n} '{f'&x{n - 1};' * 10}'>".encode() for n in range(1, 12)
    )
    with pytest.raises(ProtocolError):
        xml.parse(bomb + b"]><a>&x11;</a>")


@given(SCRAPS.filter(lambda scrap: isinstance(scrap, dict)), st.sampled_from(DECODERS))
def test_any_tree_is_a_message_or_refused(tree: dict[str, Any], message: type[Any]) -> None:
    try:
        payload = xml.build(tree)
    except EncodeError:
        return
    with contextlib.suppress(ProtocolError):
        assert isinstance(message.decode(payload), message)


@given(st.binary(max_size=100), st.sampled_from(DECODERS))
def test_any_payload_is_a_message_or_refused(payload: bytes, message: type[Any]) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(message.decode(payload), message)


BODIES: list[Any] = [
    provisioning.CaReply,
    provisioning.CertificateRequest,
    provisioning.CertificateReply,
    provisioning.RegistrationRequest,
    provisioning.RegistrationReply,
    lan.DiscoveryReply,
    lan.SetupDocument,
]
MEMBERS = [
    *["ca", "now", "uid", "code", "cert", "key", "error", "accesskey", "secretAccesskey", "keepAliveTCPPort"],
    *["signalingTLSPort", "heartBeatInterval", "magic", "ip", "port", "host", "getCAPort", "getCertPort"],
    *["registerPort", "caHash", "time"],
]
DOCUMENTS = st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=10).map(json.dumps).map(str.encode)


@given(
    st.one_of(st.binary(max_size=200), JSON.map(json.dumps).map(str.encode), DOCUMENTS), st.sampled_from(BODIES)
)
@example(b"[" * 60_000, provisioning.CaReply)
@example(b'{"now":1' + b"0" * 5000 + b"}", provisioning.CaReply)
@example(b'{"time":NaN}', lan.SetupDocument)
@example(b'{"uid":"\\ud800"}', provisioning.RegistrationRequest)
def test_any_body_is_a_value_or_refused(body: bytes, kind: Any) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(kind.decode(body), (kind, Refusal))
    assert lan.is_discovery_request(body) in (True, False)
    assert lan.setup_answer(200, body) is None or lan.setup_answer(200, body) in lan.SETUP_SYMBOLS


def test_bodies_are_bounded() -> None:
    document = b'{"ca":"' + b"x" * provisioning.MAX_BODY + b'","now":1}'
    with pytest.raises(ProtocolError):
        CaReply.decode(document)
    with pytest.raises(ProtocolError):
        lan.DiscoveryReply.decode(b'{"uid":"95270000000TEST1","ip":"1.2.3.4","port":9}' + b" " * 512)


@given(ANY_TEXT, st.integers(0, 2**53), UIDS, ANY_TEXT)
def test_bodies_survive(text: str, now: int, uid: str, code: str) -> None:
    try:
        assert CaReply.decode(CaReply(text, now).encode()) == CaReply(text, now)
        reply = CertificateReply(text, code, text)
        assert CertificateReply.decode(reply.encode()) == reply
        request = CertificateRequest(uid, code)
        assert CertificateRequest.decode(request.encode()) == request
        refusal = Refusal("code_invalid", "The code is invalid.")
        assert CertificateReply.decode(refusal.encode()) == refusal
    except EncodeError:
        assert any("\ud800" <= c <= "\udfff" for c in text + code)


@given(
    st.builds(
        lan.SetupDocument,
        host=st.from_regex(r"[a-z0-9.-]{1,62}", fullmatch=True),
        get_ca_port=st.integers(0, 65535),
        get_cert_port=st.integers(0, 65535),
        register_port=st.integers(0, 65535),
        code=st.from_regex(r"[A-Za-z0-9]{8}", fullmatch=True),
        ca_hash=st.from_regex(r"[A-Za-z0-9+/]{43}=", fullmatch=True),
        time=st.integers(0, 2**32),
        uid=st.none() | UIDS,
    )
)
def test_setup_documents_survive(document: lan.SetupDocument) -> None:
    assert lan.SetupDocument.decode(document.encode()) == document
    assert lan.SetupDocument.decode(lan.qr_text(document).encode()) == document
    assert "code=" not in repr(document)


@given(UIDS, st.ip_addresses(v=4).map(str), st.integers(2, 65534))
def test_discovery_answers_survive(uid: str, ip: str, port: int) -> None:
    reply = lan.DiscoveryReply(uid, ip, port)
    assert lan.DiscoveryReply.decode(reply.encode()) == reply
    assert lan.is_discovery_request(lan.discovery_request())
    assert not lan.is_discovery_request(reply.encode())


@given(st.text(max_size=300))
@example("bnVsbA")
@example("e30")
def test_any_page_token_is_one_or_refused(text: str) -> None:
    try:
        token = messages.PageToken.decode(text)
        assert messages.PageToken.decode(token.encode()) == token
    except ProtocolError:
        pass


@given(st.datetimes(), st.integers(0, 2**31 - 1))
def test_page_tokens_survive(at: datetime, rows: int) -> None:
    token = messages.PageToken(at.replace(microsecond=0), rows)
    assert messages.PageToken.decode(token.encode()) == token
