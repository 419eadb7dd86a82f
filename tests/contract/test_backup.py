"""Backups as the engine asks for them, on a real server."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pyrage
import pytest

from rop_operator.adapters.fleet import HttpFleet
from rop_operator.api.parse import server_spec
from rop_operator.domain.backup import desired_backup
from rop_operator.domain.plan import MakeArchive
from rop_operator.ports import Endpoint, PortError

WHERE = "spec.backup.targets[1].s3.credentialsRef"
SECRETS = {f"{WHERE}.accessKey": "adder", f"{WHERE}.secretKey": "not-to-be-told"}


def wanted(folder: Path, *more: Any, **members: Any) -> dict[str, Any]:
    """The policy of a RopServer for this directory."""
    people = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2)]
    backup = {
        "recipients": [{"name": f"p{number}", "key": key} for number, key in enumerate(people)],
        "targets": [{"name": "disk", "directory": {"path": str(folder)}}, *more],
        "schedule": "0 3 * * *",
        "timeZone": "Europe/Berlin",
        **members,
    }
    found = desired_backup(server_spec({"host": "127.0.0.1", "backup": backup}), SECRETS)
    assert found is not None
    return found


@pytest.fixture
async def server(site: Any) -> Any:
    found = HttpFleet().connect(Endpoint(f"unix://{site.data}/run/manage.sock", "Management"))
    await found.take_management("contract", True)
    yield found
    await found.close()


async def test_a_policy_is_set_once_and_its_archive_covers_the_keys(server: Any, tmp_path: Path) -> None:
    policy = wanted(tmp_path)
    before = (await server.observe({}, policy)).backup
    assert (before.configured, before.differs, before.covered) == (False, True, False)
    await server.apply_backup(policy)
    async with asyncio.timeout(60):
        while not (facts := await server.observe({}, policy)).keys_backed_up:
            await asyncio.sleep(0.1)
    assert facts.backup.differs is False
    assert facts.backup.generation == 1
    assert facts.backup.signer
    assert facts.backup.targets[0].stored.name in [path.name for path in tmp_path.iterdir()]
    assert facts.backup.targets[0].stored.stored_at is not None
    assert (await server.observe({}, {**policy, "onChange": False})).backup.differs is True
    assert (await server.observe({})).backup.differs is False


async def test_an_archive_is_asked_for_by_id(server: Any, tmp_path: Path) -> None:
    order = MakeArchive("run-1", ("disk",), "Forever")
    with pytest.raises(PortError) as refused:
        await server.make_archive(order)
    assert refused.value.reason == "PolicyUnknown"
    await server.apply_backup(wanted(tmp_path))
    assert await server.backup_run("run-1") is None
    assert (await server.make_archive(order)).state == "Pending"
    async with asyncio.timeout(60):
        while (run := await server.backup_run("run-1")).state == "Pending":
            await asyncio.sleep(0.1)
    (target,) = run.targets
    assert (run.state, run.generation, target.state) == ("Complete", 1, "Stored")
    assert target.sha256 == hashlib.sha256((tmp_path / run.archive).read_bytes()).hexdigest()
    for wrong, reason in (
        (MakeArchive("run-1", ("disk",)), "RunConflict"),
        (MakeArchive("run-2", ("attic",)), "TargetUnknown"),
    ):
        with pytest.raises(PortError) as refused:
            await server.make_archive(wrong)
        assert refused.value.reason == reason


async def test_credentials_are_compared_and_never_told(server: Any, site: Any, tmp_path: Path) -> None:
    bucket = {"endpoint": "https://s3.example.net", "bucket": "rop", "credentialsRef": {"name": "s3"}}
    policy = wanted(tmp_path, {"name": "offsite", "s3": bucket})
    await server.apply_backup(policy)
    facts = await server.observe({}, policy)
    assert facts.backup.differs is False
    assert "not-to-be-told" not in repr(facts)
    policy["targets"][1]["s3"]["credentials"]["secretKey"] = "another"
    assert (await server.observe({}, policy)).backup.differs is True


async def test_what_only_the_server_can_check_is_refused_by_name(server: Any, tmp_path: Path) -> None:
    policy = wanted(tmp_path, schedule="99 99 * * *")
    assert (await server.observe({}, policy)).backup.differs is True
    with pytest.raises(PortError) as refused:
        await server.apply_backup(policy)
    assert refused.value.reason == "InvalidConfig"
    assert "policy.schedule" in refused.value.message
    assert (await server.observe({})).backup.configured is False
