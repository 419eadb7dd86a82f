"""FirmwareImages and FirmwareRollouts in the engine."""

from datetime import timedelta
from typing import Any

from rop_operator.api.facts import Ref
from rop_operator.ports import PortError

IMAGE = Ref("FirmwareImage", "video", "e1")
SPRING = Ref("FirmwareRollout", "video", "spring")
SHA = "cd" * 32
VERSION = "v3.2.0.1_26010100"
UIDS = ["952700010000AAA1", "952700010000AAA2", "952700010000AAA3"]


def image(world: Any, **source: Any) -> None:
    spec = {"sha256": SHA, "version": VERSION, "models": ["E1"], "source": source or {"upload": {}}}
    world.store.apply(IMAGE, spec)


def rollout(world: Any, **spec: Any) -> None:
    base = {
        "serverRef": {"name": "home"},
        "imageRef": {"name": "e1"},
        "selector": {"matchLabels": {"fleet": "yes"}},
        "waves": [{"name": "all"}],
    }
    world.store.apply(SPRING, {**base, **spec})


def cameras(world: Any) -> None:
    world.server()
    for number, uid in enumerate(UIDS):
        world.core.enrolled(uid, model="E1", firmware="v3.1.0.1_25010100")
        ref = world.camera(f"c{number}", uid)
        world.store.apply(ref, dict(world.store.documents[ref].spec), labels={"fleet": "yes"})


def begun(world: Any) -> list[str]:
    return sorted(call[1] for call in world.core.made("start_upgrade"))


async def test_a_rollout_waits_for_its_file_and_goes_to_its_end(world: Any) -> None:
    cameras(world)
    image(world)
    rollout(world)
    world.start()
    await world.reaches(SPRING, "Progressing", "False", "ImageNotReady")
    await world.reaches(IMAGE, "Ready", "False", "UploadPending")
    world.images.keep(SHA, VERSION)
    world.look(IMAGE)
    await world.reaches(IMAGE, "Ready", "True", "Stored")
    await world.until(lambda: begun(world) == UIDS, "all begin")
    assert len(world.core.made("put_firmware")) == 1
    for uid in UIDS:
        world.upgraded(uid)
    await world.reaches(SPRING, "Complete")
    assert world.core.firmware.holds == {}
    await world.quiet()
    assert begun(world) == UIDS, "once each"


async def test_a_killed_engine_does_not_begin_twice(world: Any) -> None:
    cameras(world)
    image(world)
    rollout(world)
    world.images.keep(SHA, VERSION)
    world.start()
    await world.until(lambda: begun(world) == UIDS, "all begin")
    await world.kill()
    world.start()
    await world.quiet()
    assert begun(world) == UIDS
    for uid in UIDS:
        world.upgraded(uid)
    await world.reaches(SPRING, "Complete")


async def test_a_camera_that_refuses_does_not_stop_the_others(world: Any) -> None:
    cameras(world)
    image(world)
    rollout(world, thresholds={"failurePercent": 100})
    world.images.keep(SHA, VERSION)
    world.core.upgrade_errors[UIDS[0]] = PortError("DeviceOffline", "gone")
    world.start()
    await world.until(lambda: begun(world) == UIDS, "all are tried")
    for uid in UIDS[1:]:
        world.upgraded(uid)
    await world.until(
        lambda: world.store.documents[SPRING].status["progress"]["summary"] == "2/3", "the others are done"
    )
    world.core.upgrade_errors.clear()
    world.clock.ahead += timedelta(seconds=20)
    world.look(SPRING)
    await world.reaches(SPRING, "Progressing", "False", "NotStarted")
    world.clock.ahead += timedelta(minutes=2)
    world.look(SPRING)
    await world.until(lambda: begun(world).count(UIDS[0]) == 2, "tried again")
    world.upgraded(UIDS[0])
    await world.reaches(SPRING, "Complete")


async def test_a_file_from_the_web(world: Any) -> None:
    world.images.web["http://files/e1.pak"] = VERSION
    image(world, http={"url": "http://files/e1.pak"})
    world.start()
    await world.reaches(IMAGE, "Ready", "True", "Stored")


async def test_another_file_on_the_web_needs_a_person(world: Any) -> None:
    world.images.error = PortError("HashMismatch", "another file")
    image(world, http={"url": "http://files/e1.pak"})
    world.start()
    await world.reaches(IMAGE, "Stalled", "True", "HashMismatch")
    world.images.error = PortError("FetchFailed", "no route")
    world.look(IMAGE)
    await world.reaches(IMAGE, "Stalled", "False")


async def test_a_rollout_of_a_server_without_management_is_refused(world: Any) -> None:
    world.core.interface = "ClientAPI"
    cameras(world)
    image(world)
    rollout(world)
    world.start()
    await world.until(lambda: world.condition(SPRING, "Accepted"), "it was looked at")
    assert world.condition(SPRING, "Complete").get("status") != "True"
