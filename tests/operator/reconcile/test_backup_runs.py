"""RopBackups in the engine: asked for once, through kills, refusals and an unreachable server."""

from typing import Any

from rop_operator.api.facts import BackupFacts, Ref
from rop_operator.domain.plan import MakeArchive
from rop_operator.ports import PortError

NOW = Ref("RopBackup", "video", "before-the-move")


def run(world: Any, **spec: Any) -> str:
    """Write the document; the id of its run."""
    world.store.apply(NOW, {"serverRef": {"name": "home"}, **spec})
    return str(world.store.documents[NOW].uid)


def backed(world: Any) -> None:
    world.server()
    world.core.backup = BackupFacts(configured=True)
    world.core.policy = {}


async def test_an_archive_is_asked_for_once_and_counts_when_it_was_read_back(world: Any) -> None:
    backed(world)
    id_ = run(world, targetNames=["disk", "offsite"], retain="Forever")
    world.start()
    await world.reaches(NOW, "Progressing", "True", "Making")
    world.core.archived(id_)
    await world.reaches(NOW, "Complete", "True", "Stored")
    order = MakeArchive(id_, ("disk", "offsite"), "Forever")
    assert world.core.made("make_archive") == [("make_archive", order)]
    assert world.store.documents[NOW].status["observed"]["archive"] == "rop-g1.rop"


async def test_a_killed_engine_asks_for_the_same_archive(world: Any) -> None:
    backed(world)
    id_ = run(world)
    world.start()
    await world.reaches(NOW, "Progressing", "True", "Making")
    await world.kill()
    world.core.archived(id_)
    world.start()
    await world.reaches(NOW, "Complete")
    assert list(world.core.backup_runs) == [id_]


async def test_without_a_policy_it_waits_until_there_is_one(world: Any) -> None:
    world.server()
    world.core.backup = BackupFacts()
    id_ = run(world)
    world.start()
    await world.reaches(NOW, "Progressing", "False", "PolicyUnknown")
    assert not world.core.made("make_archive")
    world.core.policy = {}
    world.core.tell("backup.covered")
    await world.until(lambda: id_ in world.core.backup_runs)


async def test_a_refusal_waits_and_names_what_to_mend(world: Any) -> None:
    backed(world)
    world.core.run_error = PortError("TargetUnknown", "the policy has no target atic; it has attic")
    run(world, targetNames=["atic"])
    world.start()
    await world.reaches(NOW, "Progressing", "False", "TargetUnknown")
    assert "it has attic" in world.condition(NOW, "Ready")["message"]


async def test_a_target_that_failed_ends_it_with_its_reason(world: Any) -> None:
    backed(world)
    id_ = run(world)
    world.start()
    await world.reaches(NOW, "Progressing", "True", "Making")
    world.core.archived(id_, "TargetFull: no space left on device")
    await world.reaches(NOW, "Failed", "True", "TargetFull")
    assert "disk: TargetFull" in world.condition(NOW, "Stalled")["message"]


async def test_suspend_holds_it_before_it_is_asked_for(world: Any) -> None:
    backed(world)
    run(world, suspend=True)
    world.start()
    await world.reaches(NOW, "Progressing", "False", "Suspended")
    assert not world.core.made("make_archive")
    id_ = run(world)
    await world.until(lambda: id_ in world.core.backup_runs)


async def test_abort_ends_it_before_it_began(world: Any) -> None:
    backed(world)
    run(world, abort=True)
    world.start()
    await world.reaches(NOW, "Failed", "True", "Aborted")
    assert not world.core.made("make_archive")
