"""Every camera anybody has seen appears once, with its claim."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rop_operator.api.facts import DeviceFacts, Found, Ref
from rop_operator.domain.inventory import imported, inventory

HOME = Ref("RopServer", "video", "home")
SINCE = datetime(2026, 5, 4, 11, tzinfo=UTC)


def seen(uid: str, state: str = "Online", **members: Any) -> DeviceFacts:
    return DeviceFacts.model_validate({"uid": uid, "state": state, "since": SINCE, **members})


def test_each_way_to_be_known_has_its_claim(a_camera: Any) -> None:
    cameras = [a_camera("door", "AAAA000000000001"), a_camera("gate", "AAAA000000000002")]
    devices = [
        seen("AAAA000000000001", "Offline"),
        seen("AAAA000000000003"),
        seen("AAAA000000000004", "Offline", access="Denied"),
    ]
    lan = [Found("AAAA000000000005", "192.0.2.5", 9527), Found("AAAA000000000002", "192.0.2.2", 9527)]
    rows = inventory(cameras, {HOME: devices}, lan)
    assert [(r.uid[-1], r.claim, r.state, r.camera and r.camera.name) for r in rows] == [
        ("1", "Claimed", "Offline", "door"),
        ("2", "Claimed", "NeverSeen", "gate"),
        ("3", "Enrolled", "Online", None),
        ("4", "Revoked", "Offline", None),
        ("5", "Found", "NeverSeen", None),
    ]
    assert rows[0].since == SINCE
    assert [r.address for r in rows[1::3]] == ["192.0.2.2", "192.0.2.5"]


def test_a_server_that_does_not_answer_leaves_what_the_status_remembers(a_camera: Any) -> None:
    condition = {"type": "Online", "status": "Unknown", "lastTransitionTime": "2026-05-04T11:00:00Z"}
    status = {"state": "Asleep", "model": "E1", "conditions": [condition]}
    (row,) = inventory([replace(a_camera("door"), status=status)], {})
    assert (row.claim, row.state, row.model, row.since) == ("Claimed", "Asleep", "E1", SINCE)
    (row,) = inventory([a_camera("door")], {})
    assert (row.state, row.since) == ("Unknown", None)


def test_an_imported_camera_asks_for_nothing_and_keeps_a_denial() -> None:
    rows = inventory([], {HOME: [seen("AAAA000000000003"), seen("AAAA000000000004", access="Denied")]})
    enrolled, denied = (imported(row, HOME) for row in rows)
    assert enrolled["spec"] == {"serverRef": {"name": "home"}, "uid": "AAAA000000000003"}
    assert denied["spec"]["access"] == "Denied"
    assert enrolled["metadata"] == {"name": "cam-aaaa000000000003", "namespace": "video"}
