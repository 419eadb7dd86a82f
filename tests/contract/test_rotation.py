"""Rotations as the engine orders them, on a real server that archives itself."""

import asyncio
from pathlib import Path
from typing import Any

import pyrage
import pytest

from rop_operator.adapters.fleet import HttpFleet
from rop_operator.api.parse import server_spec
from rop_operator.domain.backup import desired_backup
from rop_operator.domain.plan import RotateStep
from rop_operator.domain.rotation import PATHS
from rop_operator.ports import Endpoint, PortError


@pytest.fixture
async def server(site: Any) -> Any:
    found = HttpFleet().connect(Endpoint(f"unix://{site.data}/run/manage.sock", "Management"))
    await found.take_management("contract", True)
    yield found
    await found.close()


async def phase(server: Any, item: str) -> tuple[str, int, int | None]:
    found = next(each for each in await server.rotations() if each.item == item)
    return found.phase, found.generation, found.target


async def test_the_server_knows_every_item_and_step_of_the_engine(server: Any) -> None:
    assert {each.item for each in await server.rotations()} == set(PATHS)
    for item in sorted(PATHS):
        for step, name in PATHS[item]:
            facts = await server.rotate(RotateStep(item, step, 2))
            assert facts.phase == ("Idle" if step == "Retire" else name)
        assert await phase(server, item) == ("Idle", 2, None)
        again = await server.rotate(RotateStep(item, "Retire", 2))
        assert again.generation == 2


async def test_a_refusal_arrives_with_its_reason(server: Any) -> None:
    for order, reason in (
        (RotateStep("SignKey", "Prepare", 3), "GenerationGap"),
        (RotateStep("SignKey", "Roll", 2), "WrongPhase"),
        (RotateStep("SignKey", "Canary", 2), "NotSupported"),
    ):
        with pytest.raises(PortError) as refused:
            await server.rotate(order)
        assert refused.value.reason == reason
    assert await phase(server, "SignKey") == ("Idle", 1, None)


@pytest.mark.parametrize("item", ["SignKey", "Intermediate", "Root"])
async def test_a_prepared_key_is_in_no_backup_until_it_was_archived(
    server: Any, tmp_path: Path, item: str
) -> None:
    people = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2)]
    backup = {
        "recipients": [{"name": f"p{number}", "key": key} for number, key in enumerate(people)],
        "targets": [{"name": "disk", "directory": {"path": str(tmp_path)}}],
    }
    policy = desired_backup(server_spec({"host": "127.0.0.1", "backup": backup}), {})
    await server.apply_backup(policy)

    async def stored() -> int:
        async with asyncio.timeout(60):
            while not (facts := await server.observe({}, policy)).keys_backed_up:
                await asyncio.sleep(0.1)
        return int(facts.backup.generation)

    assert await stored() == 1
    await server.rotate(RotateStep(item, "Prepare", 2))
    assert (await server.observe({}, policy)).keys_backed_up is False
    assert await stored() == 2
