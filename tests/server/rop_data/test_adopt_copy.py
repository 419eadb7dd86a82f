"""Copies of a vendor's directory, and the examination that writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rop_data.adopt import adopt, listing
from rop_data.config import Config, ConfigError, generate, ignored_environment
from rop_data.examine import CHANGE, ERROR, OK, WARNING, Finding, examine
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_pki import PkiError


def levels(found: list[Finding]) -> set[str]:
    return {finding.level for finding in found}


def test_a_copy_is_the_same_site_and_the_original_is_untouched(
    vendor: Path, listing: Callable[[Path], Any], now: datetime, tmp_path: Path, vendor_config: dict[str, Any]
) -> None:
    before = listing(vendor)
    (vendor / "firmware/old.pak").write_bytes(b"firmware")
    before = listing(vendor)
    told = adopt(vendor, tmp_path / "ours")
    assert listing(vendor) == before
    assert told.host == vendor_config["serverHost"] and told.files == len(list_files(vendor))
    directory = DataDir(tmp_path / "ours")
    with directory.lock():
        site = prepare(directory, {}, now)
    assert site.settings.adopted and site.settings.root_sha256 == told.root_sha256
    assert site.config.sign_key == vendor_config["authCode"]["signKey"]
    assert site.root_pem == (vendor / "certs/ECC/Root/ca.pem").read_bytes()
    assert (directory.root / "firmware/old.pak").read_bytes() == b"firmware"
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.root.rglob("*") if path.is_file())


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_folders_named_by_their_old_place_are_found_in_the_copy(vendor: Path, tmp_path: Path) -> None:
    raw = json.loads((vendor / "config.json").read_text())
    raw["cert"]["workDir"] = str(vendor / "certs")
    (vendor / "config.json").write_text(json.dumps(raw))
    adopt(vendor, tmp_path / "ours")
    copied = json.loads((tmp_path / "ours/config.json").read_text())
    assert copied["cert"]["workDir"] == "/data/certs" and copied["futureMember"] == raw["futureMember"]


def test_a_directory_that_is_no_site_is_not_copied(vendor: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours"
    target.mkdir()
    (target / "something").write_text("x")
    with pytest.raises(ConfigError, match="empty"):
        adopt(vendor, target)
    with pytest.raises(ConfigError, match="outside"):
        adopt(vendor, vendor / "inside")
    with pytest.raises(ConfigError, match=r"config\.json"):
        adopt(target, tmp_path / "other")
    key = vendor / "certs/ECC/E1/key.pem"
    key.write_bytes((vendor / "certs/ECC/Root/key.pem").read_bytes())
    with pytest.raises((ConfigError, PkiError), match="does not belong"):
        adopt(vendor, tmp_path / "other")
    assert not (tmp_path / "other").exists() and not (tmp_path / ".other.adopting").exists()


def test_a_root_key_of_another_root_is_refused(vendor: Path, tmp_path: Path) -> None:
    (vendor / "certs/ECC/Root/key.pem").write_bytes((vendor / "certs/ECC/E1/key.pem").read_bytes())
    with pytest.raises(ConfigError, match="root CA"):
        adopt(vendor, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
    assert ERROR in levels(examine(DataDir(vendor), {}, datetime.now().astimezone()))


def test_examining_an_adopted_site_writes_nothing(vendor: Path, now: datetime) -> None:
    (vendor / "config.json").chmod(0o644)
    before = listing(vendor)
    found = examine(DataDir(vendor), {"ROP_HOSTNAME": "other.example.com"}, now)
    assert listing(vendor) == before
    assert ERROR not in levels(found)
    told = {(finding.level, finding.subject) for finding in found}
    assert {(CHANGE, "rop.json"), (CHANGE, "config.json"), (OK, "root CA"), (WARNING, "ROP_HOSTNAME")} <= told


def test_examining_a_served_site_finds_nothing_to_change(vendor: Path, now: datetime) -> None:
    directory = DataDir(vendor)
    with directory.lock():
        prepare(directory, {}, now)
    assert levels(examine(directory, {}, now)) == {OK}
    (vendor / "certs/ECC/Root/ca.pem").unlink()
    assert ERROR in levels(examine(directory, {}, now))


def test_examining_nothing_and_rubbish(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    new = DataDir(tmp_path / "new")
    assert levels(examine(new, environment, now)) == {CHANGE}
    assert not new.root.exists()
    assert ERROR in levels(examine(new, {}, now))
    new.root.mkdir()
    new.config.write_text("{")
    assert levels(examine(new, environment, now)) >= {ERROR}


def test_variables_that_no_longer_count(environment: dict[str, str]) -> None:
    config = Config(generate(environment))
    assert ignored_environment(config, environment) == []
    later = environment | {"ROP_HOSTNAME": "new.example.com", "ROP_ALARM_WEBHOOK": "https://x/s3cr3t"}
    assert ignored_environment(config, later) == [
        ("ROP_HOSTNAME", "serverHost"),
        ("ROP_ALARM_WEBHOOK", "alarm.notificationURL"),
    ]
