"""A server that backs itself up: on every change, on schedule, to every target, and counts what it read back."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rop_data.archive.items import Include
from rop_data.archive.manifest import digest

UID = "95270001DENIEDAA"


async def test_a_policy_gets_a_first_archive_that_covers_the_keys(site: Any, shelf: Path) -> None:
    async with site.running():
        _, before = await site.call("GET", "/backup")
        assert (before["policy"], before["covered"], before["targets"]) == (None, False, [])
        await site.set(shelf)
        stored = (await site.stored("shelf"))["shelf"]
        told = await site.until("covered", lambda each: each["covered"])
        assert told["generation"] == stored["generation"] == 1
        assert site.open(shelf / stored["name"]).items.root_key is not None
        assert site.open(shelf / stored["name"], "drill").items.root_key is None
        assert [type_ for type_, _ in site.events if type_.startswith("backup.")] == [
            "backup.stored",
            "backup.covered",
        ]


@pytest.mark.parametrize("what", ["denied", "configuration", "key", "token", "policy", "included"])
async def test_a_change_of_a_critical_item_is_archived(site: Any, shelf: Path, tmp_path: Path, what: str) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "fleet.yaml").write_text("kind: RopServer\n")
    site.includes = (Include("agent", documents),)
    async with site.running():
        await site.set(shelf)
        first = (await site.stored("shelf"))["shelf"]
        match what:
            case "denied":
                assert (await site.call("PUT", f"/devices/{UID}/access", {"access": "Denied"}))[0] == 200
            case "configuration":
                assert (await site.call("PUT", "/config", {"members": {"heartBeatInterval": 30}}))[0] == 200
            case "key":
                members = {"authCode.signKey": "another-sign-key-of-this-site-xyz"}
                assert (await site.call("PUT", "/config", {"members": members}))[0] == 200
            case "token":
                site.server.book.tokens.create("other", "Observe", 1.0)
            case "policy":
                await site.set(shelf, retention={"keepLast": 3, "keepDays": 1})
            case "included":
                (documents / "fleet.yaml").write_text("kind: Camera\n")
        told = await site.until("archived again", lambda each: _name(each) != first["name"])
        assert told["targets"][0]["stored"]["generation"] == (2 if what == "key" else 1)
        await site.until("covered", lambda each: each["covered"])
        opened = site.open(shelf / _name(told))
        assert opened.items.files["include/agent/fleet.yaml"] == (documents / "fleet.yaml").read_bytes()


def _name(told: dict[str, Any]) -> str:
    return str(told["targets"][0]["stored"]["name"])


async def test_what_rides_along_asks_for_no_archive(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        first = (await site.stored("shelf"))["shelf"]
        site.server.book.certificate_issued(UID, "01", 2e9, "issuer", "ShortCode", None, 1.0)
        assert (await site.call("PUT", f"/claims/{UID}"))[0] == 200
        # A run is answered by a later look, so the change was seen and let pass.
        _, run = await site.call("POST", "/backup/runs", {"id": "r1"})
        assert run["state"] == "Pending"
        await site.until("run stored", lambda each: _name(each) != first["name"])
        assert len(list(shelf.iterdir())) == 2


async def test_keys_that_changed_are_not_covered_until_they_are_stored(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        await site.until("covered", lambda each: each["covered"])
        shelf.chmod(0o755)
        shelf.rename(shelf.with_name("away"))
        members = {"authCode.signKey": "another-sign-key-of-this-site-xyz"}
        assert (await site.call("PUT", "/config", {"members": members}))[0] == 200
        told = await site.until("uncovered", lambda each: not each["covered"])
        told = await site.until("told", lambda each: each["targets"][0]["problem"])
        assert told["targets"][0]["problem"]["reason"] == "TargetNotUsable"
        assert str(shelf) in told["targets"][0]["problem"]["message"]
        shelf.with_name("away").rename(shelf)
        assert (await site.call("POST", "/backup/runs", {"id": "again"}))[0] == 200
        told = await site.until("covered", lambda each: each["covered"])
        assert told["generation"] == 2
        assert told["targets"][0]["problem"] is None

        def coverage() -> list[bool]:
            return [data["covered"] for type_, data in site.events if type_ == "backup.covered"]

        await site.until("event", lambda _told: len(coverage()) == 3)  # told at the end of the round
        assert coverage() == [True, False, True]
        kinds = [type_ for type_, _ in site.events]
        assert kinds.count("backup.problem") == 1


async def test_a_run_is_asked_for_once(site: Any, shelf: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with site.running():
        await site.set(shelf, other)
        await site.stored("shelf", "other")
        body = {"id": "by-hand", "targets": ["other"], "retain": "Forever"}
        for _ in range(3):
            status, run = await site.call("POST", "/backup/runs", body)
            assert status == 200
        while run["state"] == "Pending":
            await asyncio.sleep(0.05)
            _, run = await site.call("GET", "/backup/runs/by-hand")
        assert run["state"] == "Complete"
        sha256 = digest((other / run["archive"]).read_bytes())
        assert run["targets"] == [{"name": "other", "state": "Stored", "message": None, "sha256": sha256}]
        assert site.open(other / run["archive"]).header.retain == "Forever"
        assert not (shelf / run["archive"]).exists()
        status, refused = await site.call("POST", "/backup/runs", {"id": "by-hand"})
        assert (status, refused["error"]["symbol"]) == (409, "run_conflict")
    async with site.running():
        assert (await site.call("POST", "/backup/runs", body))[1] == run
        assert len(list(other.iterdir())) == 2


async def test_runs_and_archives_that_do_not_exist(site: Any, shelf: Path) -> None:
    async with site.running():
        status, told = await site.call("POST", "/backup/runs", {"id": "r"})
        assert (status, told["error"]["symbol"]) == (404, "policy_unknown")
        await site.set(shelf)
        stored = (await site.stored("shelf"))["shelf"]
        status, told = await site.call("POST", "/backup/runs", {"id": "r", "targets": ["x"]})
        assert (status, told["error"]["symbol"]) == (404, "target_unknown")
        assert "shelf" in told["error"]["message"]
        for name in ("..%2Fsite%2Fconfig.json", "x", stored["name"].replace("g0001", "g0009")):
            status, told = await site.call("GET", f"/backup/archives/{name}", target="shelf")
            assert (status, told["error"]["symbol"]) == (404, "archive_unknown"), name
        assert (await site.call("GET", "/backup/runs/unknown"))[0] == 404


async def test_archives_are_listed_exported_verified_and_proven(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        name = (await site.stored("shelf"))["shelf"]["name"]
        _, listed = await site.call("GET", "/backup/archives")
        assert [(each["name"], each["state"], each["target"]) for each in listed["items"]] == [
            (name, "Stored", "shelf")
        ]
        status, data = await site.call("GET", f"/backup/archives/{name}", target="shelf")
        assert (status, data) == (200, (shelf / name).read_bytes())
        status, told = await site.call("POST", f"/backup/archives/{name}/proven", {"at": 2e9}, target="shelf")
        assert (status, told["state"], told["provenAt"]) == (200, "Proven", "2033-05-18T03:33:20.000Z")
        _, told = await site.call("GET", "/backup")
        assert told["targets"][0]["proven"]["name"] == name
        assert (await site.call("POST", f"/backup/archives/{name}/verify", target="shelf"))[0] == 200
        (shelf / name).write_bytes(data[:-1] + b"x")
        status, told = await site.call("POST", f"/backup/archives/{name}/verify", target="shelf")
        assert (status, told["error"]["symbol"]) == (409, "damaged")
        # It no longer counts, so another one is made.
        await site.until("made again", lambda each: _stored_other(each, name))


def _stored_other(told: dict[str, Any], name: str) -> bool:
    stored = told["targets"][0]["stored"]
    return stored is not None and stored["name"] != name


async def test_archives_that_vanish_are_noticed_and_made_again(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        name = (await site.stored("shelf"))["shelf"]["name"]
    (shelf / name).unlink()
    async with site.running():
        await site.until("made again", lambda each: each["covered"] and list(shelf.iterdir()))
        assert ("backup.vanished", {"target": "shelf", "archives": 1}) in site.events


async def test_a_restart_knows_what_is_stored_and_a_lost_record_is_found_again(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        name = (await site.stored("shelf"))["shelf"]["name"]
    async with site.running():
        told = await site.until("covered", lambda each: each["covered"])
        assert _name(told) == name
    record = site.directory.root / "archive/backups.json"
    record.write_text("{")
    async with site.running():
        told = await site.until("covered", lambda each: each["covered"])
        # What it holds is not known any more, so a second one is made; the first one counts all the same.
        await site.until("stored", lambda each: _stored_other(each, name))
    assert {each["name"] for each in json.loads(record.read_text())["targets"]["shelf"]["archives"]} == {
        each.name for each in shelf.iterdir()
    }


async def test_half_written_files_go_and_never_count(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        name = (await site.stored("shelf"))["shelf"]["name"]
    left = shelf / f".{name}.abc.new"
    left.write_bytes((shelf / name).read_bytes()[:100])
    foreign = shelf / ".rop-00000000-g0001-20260101T000000Z.roparchive.abc.new"
    foreign.write_bytes(b"another server at work")
    staged = site.directory.root / "archive/.backups.json.xyz.new"
    staged.write_bytes(b"{")
    async with site.running():
        await site.until("covered", lambda each: each["covered"])
        _, listed = await site.call("GET", "/backup/archives")
        assert [each["name"] for each in listed["items"]] == [name]
    assert not left.exists()
    assert not staged.exists()
    assert foreign.exists()


async def test_the_record_belongs_to_a_place(site: Any, shelf: Path, tmp_path: Path) -> None:
    async with site.running():
        await site.set(shelf)
        await site.stored("shelf")
        moved = tmp_path / "moved"
        moved.mkdir()
        await site.set({"name": "shelf", "directory": {"path": str(moved)}})
        told = await site.until(
            "stored there", lambda each: each["targets"][0]["stored"] and list(moved.iterdir())
        )
        assert told["targets"][0]["place"] == str(moved)
        status, told = await site.call("DELETE", "/backup")
        assert (status, told["policy"], told["targets"]) == (200, None, [])
        assert len(list(shelf.iterdir())) == 1


async def test_a_lost_item_is_named(site: Any, shelf: Path) -> None:
    async with site.running():
        await site.set(shelf)
        await site.stored("shelf")
        key = site.directory.root / "certs/ECC/Root/key.pem"
        kept = key.read_bytes()
        key.unlink()
        told = await site.until("told", lambda each: each["problem"])
        assert told["problem"]["reason"] == "ItemMissing"
        assert "Root/key.pem" in told["problem"]["message"]
        key.write_bytes(kept)
        assert (await site.call("POST", "/backup/runs", {"id": "after"}))[0] == 200
        await site.until("no problem", lambda each: each["problem"] is None)
    shutil.rmtree(shelf)
