"""Profiles in the engine: an edit, another label, a deletion, a restart reach exactly the cameras concerned."""

from typing import Any

from rop_operator.api.facts import Ref

UID = "95270001ABCDEFGH"
OTHER = "95270001ABCDEFGX"
YARD = Ref("CameraProfile", "video", "yard")


def profile(world: Any, ref: Ref = YARD, **spec: Any) -> None:
    base = {"serverRef": {"name": "home"}, "selector": {"matchLabels": {"place": "yard"}}}
    world.store.apply(ref, {**base, **spec})


def label(world: Any, camera: Ref, **labels: str) -> None:
    world.store.apply(camera, dict(world.store.documents[camera].spec), labels=labels)


def writes(world: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(call[1], call[2]) for call in world.core.made("settings") if call[2]]


def pir(sensitivity: int) -> dict[str, Any]:
    return {"pir": {"sensitivity": sensitivity}}


async def site(world: Any) -> tuple[Ref, Ref]:
    """A camera in the yard, one elsewhere."""
    world.core.enrolled(UID)
    world.core.enrolled(OTHER)
    door, hall = world.camera(), world.camera("hall", OTHER)
    label(world, door, place="yard")
    world.server()
    world.start()
    await world.reaches(world.home, "Ready")
    return door, hall


async def test_a_profile_and_its_edits_reach_the_selected_cameras_alone(world: Any) -> None:
    door, _ = await site(world)
    profile(world, settings=pir(20))
    await world.until(lambda: writes(world) == [(UID, {"pir.sensitivity": 20})], "the profile is written")
    await world.reaches(YARD, "Ready")
    profile(world, settings=pir(30))
    await world.until(lambda: writes(world)[1:] == [(UID, {"pir.sensitivity": 30})], "the edit is written")
    await world.reaches(door, "SettingsInSync")


async def test_another_label_moves_a_camera_in_and_out(world: Any) -> None:
    door, hall = await site(world)
    profile(world, settings=pir(20))
    await world.until(lambda: writes(world) == [(UID, {"pir.sensitivity": 20})], "the profile is written")
    label(world, hall, place="yard")
    await world.until(lambda: (OTHER, {"pir.sensitivity": 20}) in writes(world), "the new member gets it")
    label(world, door)
    await world.reaches(door, "SettingsInSync", "True", "NothingDesired")
    profile(world, settings=pir(40))
    await world.until(lambda: (OTHER, {"pir.sensitivity": 40}) in writes(world), "the edit is written")
    await world.quiet()
    assert (UID, {"pir.sensitivity": 40}) not in writes(world)


async def test_profiles_that_disagree_change_nothing_until_one_yields(world: Any) -> None:
    door, _ = await site(world)
    rival = Ref("CameraProfile", "video", "rival")
    await world.kill()
    profile(world, settings=pir(20))
    profile(world, rival, settings=pir(50))
    world.start()
    await world.reaches(door, "SettingsInSync", "False", "ProfileConflict")
    assert writes(world) == []
    world.store.delete(rival)
    await world.until(lambda: writes(world) == [(UID, {"pir.sensitivity": 20})], "the conflict is over")


async def test_a_restarted_engine_knows_the_profiles_and_writes_nothing_again(world: Any) -> None:
    door, _ = await site(world)
    profile(world, settings=pir(20))
    await world.reaches(door, "SettingsInSync", "True", "InSync")
    await world.kill()
    before = len(writes(world))
    world.start()
    await world.quiet()
    assert len(writes(world)) == before
    assert world.condition(door, "SettingsInSync")["reason"] == "InSync"
