"""The HTTP/1.1 reader: any bytes, any split. Source: RFC 9112; discrepancies C3.17."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_server.net.http1 import MAX_BODY, MAX_HEAD, HttpError, RequestReader

GOOD = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"
CHUNKED = b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n"


@given(st.lists(st.integers(0, len(GOOD + CHUNKED)), max_size=6))
def test_any_split_gives_the_same_requests(cuts: list[int]) -> None:
    stream = GOOD + CHUNKED
    reader = RequestReader()
    edges = [0, *sorted(cuts), len(stream)]
    found = [request for start, end in itertools.pairwise(edges) for request in reader.feed(stream[start:end])]
    assert [(each.method, each.target, each.body) for each in found] == [
        ("POST", "/a", b"abc"),
        ("POST", "/b", b"abc"),
    ]
    assert reader.idle


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_any_bytes(pieces: list[bytes]) -> None:
    reader = RequestReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except HttpError as error:
        assert 400 <= error.status <= 505
    assert len(reader._buffer) <= MAX_HEAD + 400
    assert len(reader._body) <= MAX_BODY + 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n", 413),
        (b"x" * (MAX_HEAD + 1), 431),
    ],
)
def test_refused(data: bytes, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        RequestReader().feed(data)
    assert caught.value.status == status
