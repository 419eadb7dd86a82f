"""How many cameras may be deleted at once, and what lets the others go."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.facts import DeviceFacts, Document, Ref
from rop_operator.domain.camera import plan_camera
from rop_operator.domain.departures import SETTLE, Departures, judge
from rop_operator.domain.plan import SetAccess
from rop_operator.domain.server import claims_of, plan_server
from rop_operator.domain.server_status import server_status
from rop_operator.domain.snapshot import ServerSnapshot
from rop_operator.domain.status import camera_status

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(seconds=SETTLE + 1)


def uid(number: int) -> str:
    return f"AAAA{number:012d}"


def camera(number: int, deleting: datetime | None = None, **spec: Any) -> Document:
    ref = Ref("Camera", "video", f"cam-{number}")
    spec = {"serverRef": {"name": "home"}, "uid": uid(number), **spec}
    return Document(ref, f"u-{number}", 1, spec, {}, deleting=deleting, created=NOW)


def fleet(size: int, deleted: int, at: datetime = BEFORE, **spec: Any) -> list[Document]:
    return [camera(n, at if n < deleted else None, **(spec if n < deleted else {})) for n in range(size)]


def snapshot(
    cameras: Sequence[Document],
    acknowledge: Sequence[str] = (),
    gone: Sequence[DeviceFacts] = (),
    status: dict[str, Any] | None = None,
    **guard: Any,
) -> ServerSnapshot:
    spec: dict[str, Any] = {"host": "rop.example.net", **({"deletionGuard": guard} if guard else {})}
    spec["acknowledge"] = [{"edge": "MassDeletion", "value": value} for value in acknowledge]
    home = Document(Ref("RopServer", "video", "home"), "s", 1, spec, status or {}, created=NOW)
    devices = {str(d.spec["uid"]): DeviceFacts(uid=str(d.spec["uid"]), state="Online") for d in cameras}
    return ServerSnapshot(home, NOW, cameras=cameras, devices=devices | {d.uid: d for d in gone})


def denied(number: int, ago: float) -> DeviceFacts:
    return DeviceFacts(uid=uid(number), access="Denied", denied_at=NOW - timedelta(seconds=ago))


@pytest.mark.parametrize(
    ("size", "deleted", "held"), [(500, 3, 0), (500, 50, 0), (500, 51, 51), (500, 400, 400), (5, 4, 0), (5, 5, 5)]
)
def test_a_few_go_and_many_are_held(size: int, deleted: int, held: int) -> None:
    found = judge(snapshot(fleet(size, deleted)))
    assert len(found.held) == held
    assert len(found.released) == deleted - held
    assert found.hold == ("2026-05-04T11:59:57Z" if held else None)


def test_the_limits_are_the_documents() -> None:
    assert not judge(snapshot(fleet(10, 10), minCameras=11)).held
    assert not judge(snapshot(fleet(10, 10), percent=100)).held
    assert len(judge(snapshot(fleet(100, 6), percent=5)).held) == 6


def test_what_cuts_nothing_off_is_not_counted() -> None:
    assert not judge(snapshot(fleet(10, 10, deletionPolicy="Orphan"))).held
    renamed = [
        *fleet(10, 10),
        *(replace(c, ref=Ref("Camera", "video", f"new-{c.ref.name}")) for c in fleet(10, 0)),
    ]
    assert not judge(snapshot(renamed)).held
    never_seen = replace(snapshot(fleet(10, 10)), devices={})
    assert not judge(never_seen).held


def test_those_revoked_within_the_window_count() -> None:
    lately = [denied(900 + n, 60) for n in range(10)]
    assert len(judge(snapshot(fleet(90, 1), gone=lately)).held) == 1
    assert not judge(snapshot(fleet(90, 1), gone=[denied(900 + n, 601) for n in range(10)])).held
    assert not judge(snapshot(fleet(90, 1), gone=lately, window="1m", minCameras=11)).held


def test_deletions_that_just_came_are_counted_together_before_the_first_goes() -> None:
    young = judge(snapshot(fleet(100, 3, at=NOW - timedelta(seconds=0.5))))
    assert (len(young.released), young.settle) == (0, SETTLE - 0.5)
    assert young.verdict(camera(0, NOW - timedelta(seconds=0.5))) == "Unjudged"
    small = judge(snapshot(fleet(4, 4, at=NOW)))
    assert (len(small.released), small.settle) == (4, None)
    ahead = judge(snapshot(fleet(100, 3, at=NOW + timedelta(hours=1))))
    assert (len(ahead.released), ahead.settle) == (3, None)


def test_the_word_of_a_person_lets_exactly_those_go() -> None:
    later = [camera(n, BEFORE + timedelta(seconds=1)) for n in range(100, 120)]
    cameras = [*fleet(100, 50), *later]
    hold = judge(snapshot(fleet(100, 50))).hold
    assert hold is not None
    found = judge(snapshot(cameras, acknowledge=[hold]))
    assert len(found.released) == 50
    assert len(found.held) == 20
    assert found.hold == "2026-05-04T11:59:58Z"
    assert not judge(snapshot(cameras, acknowledge=[found.hold])).held
    assert judge(snapshot(cameras, acknowledge=["2026-02-30T00:00:00Z", "2020-01-01T00:00:00Z"])).held


def test_cameras_brought_back_one_by_one_do_not_let_the_rest_go() -> None:
    held_before = {"deletions": {"hold": "2026-05-04T11:59:57Z", "held": 50}}
    assert judge(snapshot(fleet(100, 3), status=held_before)).held
    assert not judge(snapshot(fleet(100, 3))).held
    assert not judge(snapshot(fleet(100, 0), status=held_before)).held


def test_the_server_says_what_is_held_and_keeps_their_claims(some_facts: Any) -> None:
    held = replace(snapshot(fleet(20, 10)), facts=some_facts())
    plan = plan_server(held)
    status = server_status(held, plan)
    assert status["deletions"] == {"hold": "2026-05-04T11:59:57Z", "held": 10}
    stalled = next(c for c in status["conditions"] if c["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "DeletionHeld")
    assert "{edge: MassDeletion, value: 2026-05-04T11:59:57Z}" in stalled["message"]
    assert len(claims_of(held.cameras, judge(held))) == 20
    assert len(claims_of(held.cameras)) == 10


def test_a_held_camera_stays_allowed(scene: Any, a_device: Any) -> None:
    scene.device = a_device()
    scene.document = replace(scene.document, deleting=scene.now)
    held = replace(scene.snapshot, departure="Held", hold="why")
    assert plan_camera(held).actions == ()
    (ready,) = (c for c in camera_status(held, plan_camera(held))["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("DeletionHeld", "why")
    assert plan_camera(replace(held, departure="Unjudged")).actions == ()
    assert isinstance(plan_camera(replace(held, departure="Released")).actions[0], SetAccess)


@given(
    size=st.integers(1, 60),
    minimum=st.integers(1, 20),
    percent=st.integers(1, 100),
    batches=st.lists(st.integers(0, 20), max_size=8),
)
def test_never_more_than_the_share_goes_without_a_word(
    size: int, minimum: int, percent: int, batches: list[int]
) -> None:
    """Deletions in batches of any size, each judged when it came; what is released is revoked at once."""
    cameras = {n: camera(n) for n in range(size)}
    gone: list[DeviceFacts] = []
    status: dict[str, Any] = {}
    for batch in batches:
        for number in [n for n, c in cameras.items() if c.deleting is None][:batch]:
            cameras[number] = camera(number, BEFORE)
        found: Departures = judge(
            snapshot(list(cameras.values()), gone=gone, status=status, minCameras=minimum, percent=percent)
        )
        status = {"deletions": {"hold": found.hold}} if found.held else {}
        for number, each in list(cameras.items()):
            if each.deleting is not None and found.verdict(each) == "Released":
                del cameras[number]
                gone.append(denied(number, 1))
    assert len(gone) < minimum or len(gone) * 100 <= percent * size
