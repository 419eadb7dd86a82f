"""Archives are whole, signed, and restored completely or not at all."""

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rop_data.archive.create import load
from rop_data.archive.critical import observe
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.manifest import check_recipients, parse_recipients
from rop_data.archive.restore import Expectation, restore
from rop_data.archive.shelf import prune, shelve
from rop_data.archive.target import DirectoryTarget
from rop_data.layout import DataDir
from rop_data.rotations import Progress, RotationFile
from rop_data.store import prepare

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_restored_directory_has_every_key_and_opens(world, expect, tmp_path):
    path, header = world.archive()
    target = tmp_path / "new"
    restore(path, target, world.alice, expect(header))
    old, new = tree(world.directory.root), tree(target)
    skipped = {name for name in old if name.startswith("run/") or name in ("state.db-wal", "state.db-shm")}
    assert set(old) - set(new) <= skipped | {"archive/lock"}
    assert all(new[name] == old[name] for name in new if name != "state.db")
    assert {p.stat().st_mode & 0o077 for p in target.rglob("*")} == {0}
    denied = sqlite3.connect(target / "state.db").execute("SELECT uid FROM denied").fetchall()
    assert denied == [("95270001DENIEDAA",)]
    directory = DataDir(target)
    with directory.lock():
        site = prepare(directory, {}, NOW + timedelta(days=1))
    assert site.authority.root_fingerprint == header.root_sha256


def test_no_secret_is_in_the_clear(world):
    path, _ = world.archive()
    data = path.read_bytes()
    config = json.loads(world.directory.config.read_bytes())
    keys = [config["authCode"]["signKey"], *config["deviceAuth"]["deviceKeys"].values()]
    assert not any(key.encode() in data for key in keys)
    assert b"PRIVATE KEY" not in data


def test_an_archive_is_made_beside_a_running_server(world):
    with world.directory.lock():
        path, _ = world.archive()
    assert load(path).header.generation == 1


def test_nothing_is_overwritten(world):
    path, _ = world.archive()
    before = path.read_bytes()
    with pytest.raises(ArchiveError) as caught:
        world.archive()
    assert caught.value.reason is Reason.TARGET
    assert path.read_bytes() == before
    assert [each.name for each in world.shelf.iterdir()] == [path.name]


def test_the_identity_of_a_drill_does_not_open_the_root_key(world, expect, tmp_path):
    path, header = world.archive()
    with pytest.raises(ArchiveError) as caught:
        restore(path, tmp_path / "new", world.drill, expect(header))
    assert caught.value.reason is Reason.DECRYPT_FAILED
    restore(path, tmp_path / "new", world.drill, expect(header), without_root_key=True)
    assert not (tmp_path / "new/certs/ECC/Root/key.pem").exists()
    assert (tmp_path / "new/certs/ECC/E1/key.pem").exists()


def test_refusals_change_nothing(world, expect, tmp_path):
    path, header = world.archive()
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(full)
    right, other = expect(header), "0" * 64
    cases = [
        (full, world.alice, right, Reason.TARGET),
        (link, world.alice, right, Reason.TARGET),
        (tmp_path / "a" / "b", world.alice, right, Reason.TARGET),
        (tmp_path / "new", world.stranger, right, Reason.DECRYPT_FAILED),
        (tmp_path / "new", world.alice, Expectation(None, None), Reason.FOREIGN_SIGNER),
        (tmp_path / "new", world.alice, Expectation(other, header.root_sha256), Reason.FOREIGN_SIGNER),
        (tmp_path / "new", world.alice, Expectation(header.signer, other), Reason.FOREIGN_ROOT),
    ]
    before = sorted(tmp_path.rglob("*"))
    for target, identities, expected, reason in cases:
        with pytest.raises(ArchiveError) as caught:
            restore(path, target, identities, expected)
        assert caught.value.reason is reason
        assert sorted(tmp_path.rglob("*")) == before


def test_an_older_generation_needs_to_be_named(world, expect, tmp_path):
    old, header = world.archive()
    config = json.loads(world.directory.config.read_bytes())
    config["authCode"]["signKey"] = "another-sign-key-of-this-site"
    world.directory.config.write_text(json.dumps(config))
    _, newer = world.archive(NOW + timedelta(seconds=1))
    assert (header.generation, newer.generation) == (1, 2)
    with pytest.raises(ArchiveError) as caught:
        restore(old, tmp_path / "new", world.alice, expect(header))
    assert caught.value.reason is Reason.STALE
    restore(old, tmp_path / "new", world.alice, Expectation(header.signer, header.root_sha256, 1))


def test_the_generation_stays_while_no_key_changes(world):
    _, first = world.archive()
    _, second = world.archive(NOW + timedelta(hours=1))
    assert first.generation == second.generation == 1


def test_keys_that_come_are_in_the_archive_and_count_as_keys(world, expect, tmp_path):
    world.archive()
    assert observe(world.directory).generation == 1
    coming = Progress(1, 2, "Prepared", 0.0, {"next": "the-key-to-come"})
    RotationFile(world.directory.rotation).put("SignKey", coming)
    assert observe(world.directory).generation is None, "they are in no archive"
    path, header = world.archive(NOW + timedelta(minutes=1))
    assert observe(world.directory).generation == header.generation == 2
    target = tmp_path / "new"
    restore(path, target, world.alice, expect(header))
    assert RotationFile(DataDir(target).rotation).get("SignKey") == coming


def test_a_lost_item_of_the_site_is_noticed_when_an_archive_is_made(world):
    world.archive()
    root = world.directory.root
    names = ("rop.json", "state.db", "archive/signer.pem", "certs/ECC/Root/key.pem", "certs/ECC/E1/key.pem",
             "certs/ECC/Root/ca.pem", "certs/ECC/E1/serial", "config.json")  # fmt: skip
    for number, name in enumerate(names, 1):
        kept = (root / name).read_bytes()
        (root / name).unlink()
        with pytest.raises(ArchiveError) as caught:
            world.archive(NOW + timedelta(hours=number))
        assert caught.value.reason is Reason.ITEM_MISSING
        assert name in str(caught.value)
        (root / name).write_bytes(kept)
    assert len(list(world.shelf.iterdir())) == 1


def test_prune_keeps_the_newest_of_every_generation_and_broken_files(world):
    made = [world.archive(NOW + timedelta(days=day))[0] for day in range(5)]
    config = json.loads(world.directory.config.read_bytes())
    config["authCode"]["signKey"] = "another-sign-key-of-this-site"
    world.directory.config.write_text(json.dumps(config))
    newer = world.archive(NOW + timedelta(days=5))[0]
    broken = made[4]
    broken.write_bytes(broken.read_bytes()[:-1])
    gone = prune(DirectoryTarget(world.shelf), 0, 3, NOW + timedelta(days=400))
    assert sorted(gone) == [each.name for each in made[:3]]
    assert sorted(world.shelf.iterdir()) == [made[3], broken, newer]
    assert [each.name for each in shelve(DirectoryTarget(world.shelf))] == [newer.name, made[3].name, broken.name]
    assert prune(DirectoryTarget(world.shelf), 0, 0, NOW + timedelta(days=4000)) == []


def test_recipients_are_two_or_acknowledged(world):
    keys = [each.key for each in world.recipients]
    lines = f"# people\nalice All {keys[0]}\n\ndrill WithoutRootKey {keys[2]}\n"
    parsed = parse_recipients(lines)
    assert [(each.name, each.scope) for each in parsed] == [("alice", "All"), ("drill", "WithoutRootKey")]
    for single in (None, "bob", "drill"):
        with pytest.raises(ArchiveError):
            check_recipients(parsed, single)
    check_recipients(parsed, "alice")
    for wrong in ("alice All AGE-SECRET-KEY-1QQ", "alice Some age1", f"a All {keys[0]}\na All {keys[1]}"):
        with pytest.raises(ArchiveError) as caught:
            parse_recipients(wrong)
        assert "AGE-SECRET" not in str(caught.value)
    with pytest.raises(ArchiveError):
        check_recipients(parse_recipients(f"a All {keys[0]}\nb All {keys[0]}"), None)


def test_archives_lie_outside_of_the_data_directory(world):
    before = sorted(world.directory.root.rglob("*"))
    for folder in (world.directory.root, world.directory.root / "certs", world.shelf / "absent"):
        with pytest.raises(ArchiveError) as caught:
            replace(world, shelf=folder).archive()
        assert caught.value.reason is Reason.TARGET
    assert sorted(world.directory.root.rglob("*")) == before
