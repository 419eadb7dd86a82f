"""Several targets at once: a bucket of a real server, a directory, one that is down, hangs or lies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any


async def test_a_bucket_and_a_directory(
    site: Any, shelf: Path, s3_server: Any, s3_module: Any, tmp_path: Path
) -> None:
    bucket = {"name": "offsite", "s3": s3_server.place("service", s3_module.ADDER)}
    async with site.running():
        await site.set(shelf, bucket)
        stored = await site.stored("shelf", "offsite")
        assert stored["shelf"]["name"] == stored["offsite"]["name"]
        name = stored["offsite"]["name"]
        status, data = await site.call("GET", f"/backup/archives/{name}", target="offsite")
        assert (status, data) == (200, (shelf / name).read_bytes())
        (tmp_path / name).write_bytes(data)
        assert site.open(tmp_path / name).items.root_key is not None


async def test_a_bucket_is_pruned_with_other_credentials(site: Any, s3_server: Any, s3_module: Any) -> None:
    bucket = {"name": "offsite", "s3": s3_server.place("pruned", s3_module.ADDER)}
    async with site.running():
        await site.set(bucket, retention={"keepLast": 1, "keepDays": 0})
        first = (await site.stored("offsite"))["offsite"]["name"]
        await site.call("POST", "/backup/runs", {"id": "kept", "retain": "Forever"})
        told = await site.until("kept", lambda each: each["targets"][0]["stored"]["retain"] == "Forever")
        kept = told["targets"][0]["stored"]["name"]
        await site.call("POST", "/backup/runs", {"id": "newest"})
        told = await site.until("newest", lambda each: each["targets"][0]["stored"]["name"] != kept)
        newest = told["targets"][0]["stored"]["name"]

        status, told = await site.call("POST", "/backup/prune", {"target": "offsite"})
        assert (status, told["error"]["field"]) == (422, "credentials")
        body = {"target": "offsite", "credentials": s3_module.ADDER}
        status, told = await site.call("POST", "/backup/prune", body)
        assert (status, told["error"]["symbol"]) == (409, "target_refused")
        body = {"target": "offsite", "credentials": s3_module.PRUNER}
        assert (await site.call("POST", "/backup/prune", {**body, "dryRun": True}))[1] == {"deleted": [first]}
        assert (await site.call("POST", "/backup/prune", body))[1] == {"deleted": [first]}
        assert (await site.call("POST", "/backup/prune", body))[1] == {"deleted": []}
        _, listed = await site.call("GET", "/backup/archives")
        assert [each["name"] for each in listed["items"]] == [newest, kept]
    secrets = {path.name: path.read_text() for path in (site.directory.root / "secrets").iterdir()}
    assert not any(s3_module.PRUNER["secretKey"] in text for text in secrets.values())


async def test_what_hangs_holds_nothing_up(site: Any, shelf: Path, liar: Any, target: Any) -> None:
    liar.mode = "hang"
    async with site.running():
        await site.set(shelf, {"name": "slow", "s3": liar.place("slow")})
        await site.stored("shelf")
        told = await site.until("covered", lambda each: each["covered"])
        assert target(told, "slow")["busy"]
        assert not target(told, "slow")["covered"]
        before = target(told, "shelf")["stored"]["name"]
        await site.call("POST", "/backup/runs", {"id": "more", "targets": ["shelf"]})
        await site.until("another one", lambda each: target(each, "shelf")["stored"]["name"] != before)
    # The server has stopped although the other end still holds its request.
    assert not liar.released.is_set()


async def test_a_target_that_lies_never_counts(site: Any, shelf: Path, liar: Any, target: Any) -> None:
    liar.mode = "zeros"
    async with site.running():
        await site.set({"name": "liar", "s3": liar.place("liar")})
        told = await site.until("told", lambda each: each["targets"][0]["problem"])
        assert told["targets"][0]["problem"]["reason"] == "ReadBackMismatch"
        assert (told["covered"], told["targets"][0]["stored"]) == (False, None)
        _, run = await site.call("POST", "/backup/runs", {"id": "asked"})
        while run["state"] == "Pending":
            await asyncio.sleep(0.05)
            _, run = await site.call("GET", "/backup/runs/asked")
        assert run["state"] == "Failed"
        assert run["targets"][0]["message"].startswith("ReadBackMismatch")
        liar.mode = ""
        await site.call("POST", "/backup/runs", {"id": "again"})
        told = await site.until("covered", lambda each: each["covered"])
        assert told["targets"][0]["problem"] is None


async def test_a_server_that_was_down_gets_what_it_missed(site: Any, shelf: Path, liar: Any, target: Any) -> None:
    liar.mode = "503"
    async with site.running():
        await site.set(shelf, {"name": "offsite", "s3": liar.place("down")})
        await site.stored("shelf")
        told = await site.until("told", lambda each: target(each, "offsite")["problem"])
        assert target(told, "offsite")["problem"]["reason"] == "TargetUnreachable"
        assert told["covered"]
        asked = len(liar.asked)
        liar.mode = ""
        # Nobody asks: the next attempt comes by itself.
        told = await site.until("stored", lambda each: target(each, "offsite")["stored"])
        assert len(liar.asked) > asked
        assert target(told, "offsite")["problem"] is None
