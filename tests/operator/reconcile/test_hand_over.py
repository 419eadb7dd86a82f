"""Hand-overs by the engine: once, journaled before every step, with a reason for everything that goes wrong."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.facts import Found, Ref
from rop_operator.ports import NothingSent, PortError

UID = "95270001ABCDEFGH"
OTHER = "95270001ABCDEFGX"
LAN = {"attempt": 1, "lan": {"address": "192.0.2.44", "port": 9527}}


async def ready_server(world: Any, **spec: Any) -> None:
    world.server(**spec)
    world.start()
    await world.reaches(world.home, "Ready")


async def test_a_camera_that_talks_needs_no_hand_over(world: Any) -> None:
    world.core.enrolled(UID)
    await ready_server(world)
    door = world.camera(provision=LAN)
    await world.reaches(door, "Ready")
    assert world.condition(door, "Provisioned")["reason"] == "AlreadyTalking"
    assert world.lan.handed == []
    assert world.store.documents[door].finalizers == ("rop.dev/revoke",)


async def test_a_hand_over_happens_once_and_journals_every_step_first(world: Any) -> None:
    journals: list[Any] = []
    door = Ref("Camera", "video", "door")
    world.lan.before = lambda uid: journals.append(dict(world.store.documents[door].status["provision"]))
    await ready_server(world)
    world.camera(provision=LAN)
    await world.reaches(door, "Ready")
    (journal,) = journals
    assert (journal["attempt"], journal["phase"], journal["address"]) == (1, "SessionOpen", "192.0.2.44")
    assert world.lan.handed == [("192.0.2.44", 9527, UID)]
    phases = [s["provision"]["phase"] for ref, s in world.store.statuses if ref == door and "provision" in s]
    assert list(dict.fromkeys(phases)) == ["SessionOpen", "HandedOver", "Succeeded"]
    assert world.core.claims[1] == {UID}, "claimed before"
    for _ in range(3):
        world.look(door)
        await world.quiet()
    assert len(world.lan.handed) == 1
    assert "Secret12" not in str(world.store.statuses) + str(world.store.events)


async def test_the_address_is_found_by_one_discovery_for_all(world: Any) -> None:
    world.lan.found = [Found(UID, "192.0.2.44", 9527), Found(OTHER, "192.0.2.45", 9528)]
    world.camera(provision={"attempt": 1, "lan": {}})
    world.camera("yard", OTHER, provision={"attempt": 1, "lan": {}})
    await ready_server(world)
    await world.until(lambda: len(world.lan.handed) == 2, "both handed over")
    assert sorted(world.lan.handed) == [("192.0.2.44", 9527, UID), ("192.0.2.45", 9528, OTHER)]
    assert world.lan.discoveries == 1


async def test_two_answers_for_one_uid_stop_the_hand_over(world: Any) -> None:
    world.lan.found = [Found(UID, "192.0.2.44", 9527), Found(UID, "192.0.2.66", 9527)]
    door = world.camera(provision={"attempt": 1, "lan": {}})
    await ready_server(world)
    await world.reaches(door, "Ready", "False", "AmbiguousAnswers")
    assert "192.0.2.66" in world.condition(door, "Ready")["message"]
    assert world.lan.handed == []
    assert world.core.made("session") == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NothingSent("NotReachableFromHere", "outside"), "NotReachableFromHere"),
        (NothingSent("CameraSilent", "refused"), "CameraSilent"),
    ],
)
async def test_a_camera_that_was_not_reached_is_tried_again(world: Any, error: PortError, reason: str) -> None:
    world.lan.error = error
    door = world.camera(provision=LAN)
    await ready_server(world)
    await world.reaches(door, "Provisioned", "False", reason)
    assert world.store.documents[door].status["provision"]["phase"] == "Pending"
    world.lan.error = None
    world.clock.ahead += timedelta(seconds=60)
    world.look(door)
    await world.reaches(door, "Ready")
    assert len(world.lan.handed) == 1


async def test_a_camera_that_went_silent_is_left_alone_until_the_code_expired(world: Any) -> None:
    world.lan.error = PortError("CameraSilent", "no answer in time")
    door = world.camera(provision=LAN)
    await ready_server(world)
    await world.until(lambda: world.lan.handed, "handed over")
    await world.reaches(door, "Ready", "False")
    assert world.store.documents[door].status["provision"]["phase"] == "SessionOpen"
    world.lan.error = None
    world.look(door)
    await world.quiet()
    assert len(world.lan.handed) == 1, "it may have the code"
    world.clock.ahead += timedelta(seconds=70)
    world.look(door)
    await world.reaches(door, "Ready")
    assert len(world.lan.handed) == 2


async def test_a_refusal_of_the_camera_is_its_condition(world: Any) -> None:
    world.lan.symbol = "sync_time_failed"
    door = world.camera(provision=LAN)
    await ready_server(world)
    await world.reaches(door, "Stalled", "True", "SyncTimeFailed")
    world.clock.ahead += timedelta(hours=1)
    world.look(door)
    await world.quiet()
    assert len(world.lan.handed) == 1, "nothing repeats it but a higher attempt"
    world.lan.symbol = None
    world.camera(provision={**LAN, "attempt": 2})
    await world.reaches(door, "Ready")


@pytest.mark.parametrize("phase", ["SessionOpen", "HandedOver"])
async def test_a_kill_during_a_hand_over_never_does_it_twice(world: Any, phase: str) -> None:
    door = Ref("Camera", "video", "door")
    reached = asyncio.Event()

    def stop_there(ref: Ref, status: Any) -> None:
        if ref == door and status.get("provision", {}).get("phase") == phase:
            reached.set()
            if phase == "HandedOver":
                raise asyncio.CancelledError

    world.lan.held = asyncio.Event()
    if phase == "HandedOver":
        world.lan.held.set()
    world.lan.joins = phase == "SessionOpen"
    world.store.fail_put = stop_there
    await ready_server(world)
    world.camera(provision=LAN)
    await asyncio.wait_for(reached.wait(), 10)
    await world.kill()
    world.store.fail_put = lambda ref, status: None
    world.lan.held = None
    handed = len(world.lan.handed)
    world.core.enrolled(UID)
    world.start()
    await world.reaches(door, "Ready")
    assert len(world.lan.handed) == handed
    assert world.condition(door, "Provisioned")["reason"] == "SetUp"
