"""The policy on the management interface: checked as a whole, secrets in and never out, fenced."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

SECRET = "s3cr3t-key-of-the-bucket"
S3 = {
    "endpoint": "https://s3.example.net",
    "bucket": "rop",
    "prefix": "home",
    "credentials": {"accessKey": "adder", "secretKey": SECRET},
}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_secrets_go_in_and_never_come_out(site: Any, shelf: Path, log_lines: Any) -> None:
    async with site.running():
        told = await site.set(shelf, {"name": "offsite", "s3": S3}, schedule="0 3 * * *", timeZone="Europe/Berlin")
        await site.stored("shelf")
        _, got = await site.call("GET", "/backup")
        _, config = await site.call("GET", "/config")
        secret = site.directory.root / "secrets/backup-offsite.json"
        assert (mode(secret), json.loads(secret.read_text())) == (0o600, S3["credentials"])
        rop = site.directory.root / "rop.json"
        assert mode(rop) == 0o600
        texts = (json.dumps(told), json.dumps(got), json.dumps(config), rop.read_text(), log_lines())
        assert not any(SECRET in text or "adder" in text for text in texts)
        assert SECRET not in (site.directory.root / "archive/backups.json").read_text()
        assert got["policy"]["schedule"] == "0 3 * * *"
        assert got["policy"]["timeZone"] == "Europe/Berlin"
        assert got["targets"][1]["place"] == "https://s3.example.net/rop/home"

        # What has credentials keeps them; what goes loses them.
        bare = {name: value for name, value in S3.items() if name != "credentials"}
        await site.set(shelf, {"name": "offsite", "s3": bare})
        assert secret.is_file()
        await site.set(shelf)
        assert not secret.exists()
        status, refused = await site.call(
            "PUT", "/backup", {"policy": site.policy({"name": "offsite", "s3": bare})}
        )
        assert (status, refused["error"]["field"]) == (422, "policy.targets[0].s3.credentials")


WRONG: list[tuple[str, Any, str]] = [
    ("recipients", [], "policy.recipients"),
    ("recipients.1", None, "policy.recipients"),
    ("recipients.0.key", "AGE-SECRET-KEY-1QQQ", "policy.recipients[0].key"),
    ("recipients.0.scope", "Some", "policy.recipients[0].scope"),
    ("recipients.0.name", "A b", "policy.recipients[0].name"),
    ("recipients.0.name", "bob", "policy.recipients"),
    ("targets", [], "policy.targets"),
    ("targets.0.name", "../x", "policy.targets[0].name"),
    ("targets.0.directory", None, "policy.targets[0]"),
    ("targets.0.directory.path", "relative", "policy.targets[0].directory.path"),
    ("targets.0.directory.path", "/a/../b", "policy.targets[0].directory.path"),
    ("targets.0.s3", S3, "policy.targets[0]"),
    ("targets.1.s3.endpoint", "ftp://x", "policy.targets[1].s3.endpoint"),
    ("targets.1.s3.endpoint", "https://user@x", "policy.targets[1].s3.endpoint"),
    ("targets.1.s3.bucket", "UP", "policy.targets[1].s3.bucket"),
    ("targets.1.s3.prefix", "/x", "policy.targets[1].s3.prefix"),
    ("targets.1.s3.caPEM", "PRIVATE", "policy.targets[1].s3.caPEM"),
    ("targets.1.s3.credentials", {"accessKey": 1}, "policy.targets[1].s3.credentials"),
    ("targets.1.name", "shelf", "policy.targets"),
    ("schedule", "every day", "policy.schedule"),
    ("schedule", "* * * * * *", "policy.schedule"),
    ("schedule", "0 0 31 2 *", "policy.schedule"),
    ("timeZone", "Mars/Base", "policy.timeZone"),
    ("onChange", "yes", "policy.onChange"),
    ("retention.keepLast", 0, "policy.retention.keepLast"),
    ("retention.keepMonths", 3, "policy.retention.keepMonths"),
    ("unknown", 1, "policy.unknown"),
]


def changed(policy: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(policy)
    node: Any = made
    *parents, last = path.split(".")
    for parent in parents:
        node = node[int(parent)] if parent.isdigit() else node.setdefault(parent, {})
    if value is None:
        del node[int(last) if last.isdigit() else last]
    else:
        node[int(last) if last.isdigit() else last] = value
    return made


async def test_a_wrong_policy_is_refused_by_field_and_changes_nothing(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        before = (await site.call("GET", "/backup"))[1]["policy"]
        good = site.policy(shelf, {"name": "offsite", "s3": S3})
        assert "AGE-SECRET" not in json.dumps(before)
        for path, value, field in WRONG:
            status, told = await site.call("PUT", "/backup", {"policy": changed(good, path, value)})
            assert (status, told["error"].get("field")) == (422, field), (path, value, told)
            assert "AGE-SECRET" not in json.dumps(told)
        inside = site.policy({"name": "in", "directory": {"path": str(site.directory.root / "archives")}})
        status, told = await site.call("PUT", "/backup", {"policy": inside})
        assert (status, told["error"]["field"]) == (422, "policy.targets[0].directory.path")
        assert (await site.call("GET", "/backup"))[1]["policy"] == before
        assert not (site.directory.root / "secrets/backup-offsite.json").exists()


async def test_a_policy_is_compared_with_its_credentials(site: Any, shelf: Path) -> None:
    async with site.running():
        policy = site.policy(shelf, {"name": "offsite", "s3": S3})
        await site.call("PUT", "/backup", {"policy": policy})

        async def same(**changes: Any) -> Any:
            altered = policy
            for path, value in changes.items():
                altered = changed(altered, path.replace("__", "."), value)
            return await site.call("POST", "/backup/compare", {"policy": altered})

        assert await same() == (200, {"same": True})
        assert await same(retention={"keepLast": 14}) == (200, {"same": True})
        assert await same(targets__1__s3__credentials__secretKey="another") == (200, {"same": False})
        assert await same(targets__1__s3__prefix="away") == (200, {"same": False})
        assert await same(onChange=False) == (200, {"same": False})
        (site.directory.root / "secrets/backup-offsite.json").unlink()
        assert await same() == (200, {"same": False})
        assert (await same(targets__1__s3__bucket="X"))[0] == 422


async def test_one_recipient_must_be_named(site: Any, shelf: Path) -> None:
    async with site.running():
        policy = site.policy(shelf)
        policy["recipients"] = policy["recipients"][:1]
        status, told = await site.call("PUT", "/backup", {"policy": policy})
        assert (status, told["error"]["field"]) == (422, "policy.recipients")
        assert (await site.call("PUT", "/backup", {"policy": {**policy, "singleRecipient": "bob"}}))[0] == 422
        assert (await site.call("PUT", "/backup", {"policy": {**policy, "singleRecipient": "alice"}}))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PUT", "/backup", {}), ("DELETE", "/backup", None), ("POST", "/backup/prune", {"target": "shelf"})],
)
async def test_writes_are_fenced(site: Any, shelf: Path, method: str, path: str, body: Any) -> None:
    async with site.running():
        await site.set(shelf)
        site.fence -= 1
        status, told = await site.call(method, path, body)
        assert (status, told["error"]["symbol"]) == (409, "fenced")


async def test_a_policy_can_be_written_by_hand(site: Any, shelf: Path) -> None:
    path = site.directory.root / "rop.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"backup": site.policy(shelf)}))
    async with site.running():
        await site.stored("shelf")
