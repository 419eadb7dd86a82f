"""Runs in the engine: steps one after the other, through kills, refusals and an unreachable server."""

from dataclasses import replace
from typing import Any

from rop_operator.api.facts import BackupFacts, Ref
from rop_operator.ports import PortError

NEXT = Ref("KeyRotation", "video", "next")
STEPS = ["Prepare", "Roll", "Retire"]


def rotation(world: Any, **spec: Any) -> None:
    base = {"serverRef": {"name": "home"}, "item": "DeviceKey", "toGeneration": 2}
    world.store.apply(NEXT, {**base, **spec})


def steps(world: Any) -> list[str]:
    return [call[2] for call in world.core.made("rotate")]


async def test_a_rotation_goes_to_its_end_and_every_step_is_taken_once(world: Any) -> None:
    world.server()
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Complete")
    assert steps(world) == STEPS
    assert world.core.rotations["DeviceKey"].generation == 2
    assert [p["name"] for p in world.store.documents[NEXT].status["phases"]][-1] == "Complete"


async def test_a_rotation_written_before_its_server_begins_when_the_server_comes(world: Any) -> None:
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Accepted", "False", "ServerNotFound")
    world.server()
    await world.reaches(NEXT, "Complete")


async def test_a_killed_engine_takes_up_where_the_server_is(world: Any) -> None:
    world.server()
    world.core.rotations["DeviceKey"] = replace(world.core.rotations["DeviceKey"], total=4)
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Progressing", "True", "Rolling")
    await world.kill()
    world.core.rotations["DeviceKey"] = replace(world.core.rotations["DeviceKey"], done=4)
    world.start()
    await world.reaches(NEXT, "Complete")
    assert steps(world) == STEPS


async def test_a_held_step_goes_on_once_the_server_tells(world: Any) -> None:
    world.server()
    world.core.backup = BackupFacts(covered=False)
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Progressing", "False", "BackupRequired")
    assert steps(world) == ["Prepare"]
    world.core.backup = BackupFacts(covered=True)
    world.core.tell("backup.stored")
    await world.reaches(NEXT, "Complete")


async def test_new_keys_count_as_lost_until_the_server_says_that_they_are_stored(world: Any) -> None:
    world.server()
    world.core.backup = BackupFacts(covered=True)
    world.core.covers_new_keys = False
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Progressing", "False", "BackupRequired")
    assert steps(world) == ["Prepare"]


async def test_a_refusal_is_shown_and_changes_nothing(world: Any) -> None:
    world.server()
    world.core.rotation_error = PortError("StillNeeded", "two devices")
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Progressing", "False", "StillNeeded")
    assert world.core.rotations["DeviceKey"].generation == 1


async def test_abort_ends_it_where_it_began(world: Any) -> None:
    world.server()
    world.core.rotations["DeviceKey"] = replace(world.core.rotations["DeviceKey"], total=4)
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Progressing", "True", "Rolling")
    rotation(world, abort=True)
    await world.reaches(NEXT, "Failed", "True", "Aborted")
    assert world.core.rotations["DeviceKey"].generation == 1


async def test_an_ended_rotation_is_left_alone(world: Any) -> None:
    world.server()
    rotation(world)
    world.start()
    await world.reaches(NEXT, "Complete")
    await world.quiet()
    before = len(world.core.calls)
    rotation(world, suspend=True)
    await world.quiet()
    assert len(world.core.calls) == before
