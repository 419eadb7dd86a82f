"""Grants: which cameras are meant, and what a grant cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from rop_server.access.grants import VERBS, GrantError, decode_grant

UID, OTHER = "95270000GRANTS01", "95270000GRANTS02"
LABELS = {OTHER: {"area": "yard", "floor": "1"}}


def _sees(cameras: Any) -> set[str]:
    grant = decode_grant({"verbs": ["read"], "cameras": cameras})
    assert grant.cameras is not None
    return {uid for uid in (UID, OTHER) if grant.cameras.include(uid, lambda uid: LABELS.get(uid, {}))}


@pytest.mark.parametrize(
    ("cameras", "seen"),
    [
        ({"uids": [UID]}, {UID}),
        ({"labels": {"area": "yard"}}, {OTHER}),
        ({"labels": {"area": "yard", "floor": "1"}}, {OTHER}),
        ({"labels": {"area": "yard", "floor": "2"}}, set()),
        ({"uids": [UID], "labels": {"area": "yard"}}, {UID, OTHER}),
    ],
)
def test_cameras_by_uid_or_by_all_of_the_labels(cameras: Any, seen: set[str]) -> None:
    assert _sees(cameras) == seen


def test_a_grant_survives_its_document() -> None:
    told = {"verbs": list(VERBS), "cameras": {"uids": [UID], "labels": {"area": "yard"}}}
    assert decode_grant(told).document() == told
    assert decode_grant({"verbs": []}).document() == {"verbs": [], "cameras": None}


@pytest.mark.parametrize(
    ("member", "raw"),
    [
        ("grant", []),
        ("verbs", {}),
        ("verbs", {"verbs": "read"}),
        ("verbs", {"verbs": ["admin"]}),
        ("cameras", {"verbs": [], "cameras": {}}),
        ("cameras", {"verbs": [], "cameras": {"names": []}}),
        ("cameras.uids", {"verbs": [], "cameras": {"uids": ["short"]}}),
        ("cameras.uids", {"verbs": [], "cameras": {"uids": [UID] * 10_001}}),
        ("cameras.labels", {"verbs": [], "cameras": {"labels": {"a b": "c"}}}),
        ("cameras.labels", {"verbs": [], "cameras": {"labels": {"area": ["x"]}}}),
    ],
)
def test_what_a_grant_cannot_be(member: str, raw: Any) -> None:
    with pytest.raises(GrantError) as caught:
        decode_grant(raw)
    assert caught.value.member == member
