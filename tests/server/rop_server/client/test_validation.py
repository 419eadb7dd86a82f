"""The vocabulary of the client API. Source: client-api 1.2 and 2.15; discrepancies B9, B13."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.validation import Query


def refused(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except ClientError as error:
        return error.symbol == "invalid_parameter"
    return False


VENDOR = set("!@#$%^&*()_+[]{}|;:'\",./<>?=-")


def test_wifi_texts_are_the_vendors_set_and_blank_and_beyond_ascii() -> None:
    for code in range(0x20, 0x7F):
        letter = chr(code)
        accepted = not refused(validation.wifi_text, letter, "ssid", 1)
        assert accepted == (letter.isalnum() or letter == " " or letter in VENDOR), letter
    for letter in "äß中🌻":
        assert validation.wifi_text(letter, "ssid", 1) == letter
    for letter in "\\~`\x00\t\n\x7f\x85\u00a0\u2028\ufeff\ud800":
        assert refused(validation.wifi_text, letter, "ssid", 1), repr(letter)


def test_wifi_lengths_are_bytes() -> None:
    assert validation.wifi_text("", "key", 0) == ""
    assert refused(validation.wifi_text, "", "ssid", 1)
    assert not refused(validation.wifi_text, "a" * 127, "ssid", 1)
    assert refused(validation.wifi_text, "a" * 128, "ssid", 1)
    assert not refused(validation.wifi_text, "ä" * 63, "ssid", 1)
    assert refused(validation.wifi_text, "ä" * 64, "ssid", 1)
    for value in (None, 1, ["a"], True):
        assert refused(validation.wifi_text, value, "ssid", 1)


def test_texts_are_counted_in_utf16() -> None:
    assert validation.text("🌻" * 127, "fileName", 1, 255)
    assert refused(validation.text, "🌻" * 128, "fileName", 1, 255)
    assert refused(validation.text, "", "fileName", 1, 255)


@pytest.mark.parametrize("code", ["DE", "US"])
def test_countries(code: str) -> None:
    assert validation.country(code) == code
    for other in (code.lower(), code[:1], code + "A", code + "\n", None):
        assert refused(validation.country, other)


@pytest.mark.parametrize("text", ["0", "31", "01", "%2B1", "-0", "00000000000000031"])
def test_whole_numbers_of_a_query(text: str) -> None:
    assert 0 <= Query(f"a={text}").whole("a", 0, 31) <= 31


NO_NUMBERS = """
a a= a=+1 a=1.0 a=1e1 a=%201 a=1%20 a=32 a=-1 a=1&a=1 a=%D9%A1 A=1 a=1_0 a=0x1 b=1
"""


@pytest.mark.parametrize("query", ["", *NO_NUMBERS.split(), "a=" + "1" * 5000, "b=1&" * 100 + "a=1"])
def test_what_is_no_whole_number(query: str) -> None:
    assert refused(lambda: Query(query).whole("a", 0, 31))


@given(st.text(max_size=200))
def test_any_query_is_an_answer_or_a_refusal(query: str) -> None:
    try:
        found = Query(query)
    except ClientError:
        return
    for name in ("a", "", "channel"):
        for read in (lambda name=name: found.whole(name, 0, 9), lambda name=name: found.text(name, 1, 9)):
            try:
                read()
            except ClientError as error:
                assert error.symbol == "invalid_parameter"
