"""Lists of cameras: checked as a whole, and what came of each row."""

from typing import Any

import pytest

from rop_operator.api.facts import Found
from rop_operator.domain.onboarding import Row, document, read_rows, result_of, with_uids
from rop_operator.errors import DocumentsRefused

UID = "95270001ABCDEFGH"


def test_rows_become_camera_documents() -> None:
    items = [
        {"uid": UID, "address": "192.0.2.4", "port": "9527", "name": "gate", "labels": "place=yard; floor=0"},
        {"uid": "95270001ABCDEFGX", "port": "", "displayName": "Roof", "labels": {"place": "roof"}},
    ]
    one, two = (document(row, "home", "video") for row in read_rows(items, "list.csv"))
    assert one["metadata"] == {"name": "gate", "namespace": "video", "labels": {"place": "yard", "floor": "0"}}
    lan = {"address": "192.0.2.4", "port": 9527}
    assert one["spec"] == {"serverRef": {"name": "home"}, "uid": UID, "provision": {"attempt": 1, "lan": lan}}
    assert two["metadata"]["name"] == "cam-95270001abcdefgx"
    assert two["spec"] == {"serverRef": {"name": "home"}, "uid": "95270001ABCDEFGX", "displayName": "Roof"}


@pytest.mark.parametrize(
    ("item", "column", "rule"),
    [
        ({}, "uid", "give uid, address or both"),
        ({"uid": "short"}, "uid", "16 characters"),
        ({"uid": 1234567890123456}, "uid", "quote it"),
        ({"uid": UID, "port": "x"}, "port", "from 1 to 65535"),
        ({"uid": UID, "address": "nowhere"}, "address", "IPv4 or IPv6"),
        ({"uid": UID, "displayName": "a/b"}, "displayName", "1 to 31 letters"),
        ({"uid": UID, "labels": "place"}, "labels", "key=value"),
        ({"uid": UID, "colour": "red"}, "colour", "no such column"),
    ],
)
def test_a_wrong_row_is_named_with_its_column(item: dict[str, Any], column: str, rule: str) -> None:
    with pytest.raises(DocumentsRefused) as refused:
        read_rows([{"uid": "95270001ABCDEFGX"}, item], "list.csv")
    (error,) = refused.value.errors
    assert (error.document, error.field) == ("row 2", column)
    assert rule in error.rule


def test_nothing_and_the_same_twice_are_refused() -> None:
    with pytest.raises(DocumentsRefused, match="no rows"):
        read_rows([], "list.csv")
    items = [{"uid": UID, "address": "192.0.2.4"}, {"uid": UID, "address": "192.0.2.4"}]
    with pytest.raises(DocumentsRefused) as refused:
        read_rows(items, "list.csv")
    assert [(e.field, e.rule) for e in refused.value.errors] == [
        ("uid", "the same as in row 1"),
        ("address", "the same as in row 1"),
    ]
    behind_one = [{"address": "192.0.2.4", "port": "1"}, {"address": "192.0.2.4", "port": "2"}]
    assert len(read_rows(behind_one, "list.csv")) == 2


def test_addresses_find_their_uids_and_silence_is_told() -> None:
    rows = [Row(1, UID), Row(2, address="192.0.2.2"), Row(3, address="192.0.2.3"), Row(4, address="192.0.2.4")]
    answers = [Found("A" * 16, "192.0.2.2", 1), Found("B" * 16, "192.0.2.4", 1), Found("C" * 16, "192.0.2.4", 2)]
    known, silent = with_uids(rows, answers)
    assert [(row.number, row.uid) for row in known] == [(1, UID), (2, "A" * 16)]
    assert silent == {3: "no answer there", 4: "several cameras answer; give port or uid"}


@pytest.mark.parametrize(
    ("address", "conditions", "result"),
    [
        ("192.0.2.4", {"Online": ("True", "Connected")}, "Online"),
        (None, {"Online": ("True", "Asleep")}, "Online"),
        ("192.0.2.4", {"Online": ("False", "NeverSeen"), "Stalled": ("True", "InvalidParameter")}, "Failed"),
        (None, {"Online": ("False", "NeverSeen")}, "NeedsQR"),
        ("192.0.2.4", {"Online": ("False", "NeverSeen"), "Provisioned": ("False", "HandingOver")}, "Waiting"),
        ("192.0.2.4", {}, "Waiting"),
        (None, {"Online": ("False", "DeviceOffline")}, "Waiting"),
    ],
)
def test_what_came_of_a_row(address: str | None, conditions: dict[str, tuple[str, str]], result: str) -> None:
    told = {type_: {"status": status, "reason": reason} for type_, (status, reason) in conditions.items()}
    assert result_of(Row(1, UID, address), told).result == result
