"""Deleted cameras: a few are cut off, many are held until a person says so, and all can come back."""

from typing import Any

SIZE = 20


def uid(number: int) -> str:
    return f"AAAA{number:012d}"


async def fleet(world: Any) -> list[Any]:
    """Cameras that talk to the server, with their finalizers."""
    for number in range(SIZE):
        world.core.enrolled(uid(number))
    world.server()
    refs = [world.camera(f"cam-{n}", uid(n)) for n in range(SIZE)]
    world.start()
    for ref in refs:
        await world.reaches(ref, "Ready")
    return refs


def denials(world: Any) -> list[str]:
    return [call[1] for call in world.core.made("set_access") if call[2] == "Denied"]


def hold(world: Any) -> str:
    found: str = (world.store.documents[world.home].status.get("deletions") or {}).get("hold", "")
    return found


async def test_many_are_held_until_acknowledged(world: Any) -> None:
    refs = await fleet(world)
    for ref in refs[:15]:
        world.store.delete(ref)
    await world.reaches(world.home, "Stalled", "True", "DeletionHeld")
    await world.reaches(refs[14], "Ready", "False", "DeletionHeld")
    await world.quiet()
    assert denials(world) == []
    assert world.core.claims[1] == {uid(n) for n in range(SIZE)}
    await world.kill()
    world.start()
    await world.quiet()
    assert denials(world) == []

    world.server(acknowledge=[{"edge": "MassDeletion", "value": hold(world)}])
    await world.until(lambda: not any(ref in world.store.documents for ref in refs[:15]), "they are gone")
    assert sorted(denials(world)) == [uid(n) for n in range(15)]
    await world.reaches(world.home, "Ready")
    assert hold(world) == ""


async def test_a_few_go_and_a_new_camera_brings_one_back(world: Any) -> None:
    refs = await fleet(world)
    for ref in refs[:2]:
        world.store.delete(ref)
    await world.until(lambda: not any(ref in world.store.documents for ref in refs[:2]), "they are gone")
    assert sorted(denials(world)) == [uid(0), uid(1)]
    again = world.camera("again", uid(0))
    await world.until(lambda: world.core.devices[uid(0)].access == "Allowed", "it is allowed again")
    world.core.device(uid(0), "Online")
    await world.reaches(again, "Ready")
    assert world.lan.handed == []


async def test_held_cameras_orphaned_one_by_one_all_stay_allowed(world: Any) -> None:
    refs = await fleet(world)
    for ref in refs[:10]:
        world.store.delete(ref)
    await world.reaches(world.home, "Stalled", "True", "DeletionHeld")
    for ref in refs[:10]:
        world.store.apply(ref, {**world.store.documents[ref].spec, "deletionPolicy": "Orphan"})
        await world.until(lambda ref=ref: ref not in world.store.documents, "it is gone")
    await world.reaches(world.home, "Ready")
    assert denials(world) == []
