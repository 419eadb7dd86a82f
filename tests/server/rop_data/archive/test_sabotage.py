"""Every way an archive can be spoiled is found, with its reason, and restores nothing."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rop_data.archive import container
from rop_data.archive.container import Container
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import LEDGER, SIGNER, Items, collect
from rop_data.archive.manifest import Header, digest
from rop_data.archive.restore import restore
from rop_pki.envelope import seal
from rop_pki.signer import Signer

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)
CRITICAL = (
    "config.json",
    "rop.json",
    "state.db",
    SIGNER,
    LEDGER,
    "certs/ECC/Root/ca.pem",
    "certs/ECC/Root/serial",
    "certs/ECC/Root/index.txt",
    "certs/ECC/E1/ca.pem",
    "certs/ECC/E1/key.pem",
    "certs/ECC/E1/serial",
    "certs/ECC/E1/index.txt",
)
Files = dict[str, bytes]


def forge(world, path: Path, change: Callable[[Files], object], key: str | None = None) -> Header:
    """Replace an archive by one that the site's own signer made of spoiled items."""
    header = container.read(path.read_bytes()).header
    items = collect(world.directory)
    files = dict(items.files)
    change(files)
    plain, listed = container.pack(Items(files, None), header.generation)
    body = seal(plain, [each.key for each in world.recipients])
    whole = [each.key for each in world.recipients if each.scope == "All"]
    root_key = seal(items.root_key if key is None else key.encode(), whole)
    forged = replace(
        header,
        body_sha256=digest(body),
        body_size=len(body),
        root_key_sha256=digest(root_key),
        root_key_size=len(root_key),
        manifest_sha256=digest(listed),
    )
    signer = Signer((world.directory.root / SIGNER).read_bytes())
    path.write_bytes(container.write(forged, signer, body, root_key))
    return forged


def refused(world, expect, path: Path, header: Header, tmp_path: Path) -> ArchiveError:
    with pytest.raises(ArchiveError) as caught:
        restore(path, tmp_path / "new", world.alice, expect(header))
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))
    return caught.value


def test_an_unspoiled_forgery_restores(world, expect, tmp_path):
    """The control: what the other tests change is what they find."""
    path, header = world.archive()
    forge(world, path, lambda files: None)
    restore(path, tmp_path / "new", world.alice, expect(header))
    assert (tmp_path / "new/certs/ECC/Root/key.pem").is_file()


@pytest.mark.parametrize("name", CRITICAL)
def test_a_missing_item(world, expect, tmp_path, name):
    path, header = world.archive()
    forge(world, path, lambda files: files.pop(name))
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason is Reason.ITEM_MISSING
    assert name in str(failure)


@pytest.mark.parametrize("name", [each for each in CRITICAL if not each.endswith(("index.txt", "serial"))])
def test_a_truncated_item(world, expect, tmp_path, name):
    path, header = world.archive()
    forge(world, path, lambda files: files.update({name: files[name][: len(files[name]) // 2]}))
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason in (Reason.ITEM_INVALID, Reason.STALE)


@pytest.mark.parametrize("name", [each for each in CRITICAL if not each.endswith("index.txt")])
def test_an_empty_item(world, expect, tmp_path, name):
    path, header = world.archive()
    forge(world, path, lambda files: files.update({name: b""}))
    assert refused(world, expect, path, header, tmp_path).reason is Reason.ITEM_INVALID


FOREIGN = (
    "rop.json",
    SIGNER,
    "certs/ECC/Root/ca.pem",
    "certs/ECC/E1/ca.pem",
    "certs/ECC/E1/key.pem",
    "config.json",
)


@pytest.mark.parametrize("name", FOREIGN)
def test_an_item_of_another_server(world, expect, make_site, tmp_path, name):
    other = make_site(tmp_path / "other")
    world_of_other = replace(world, directory=other, shelf=tmp_path)
    world_of_other.archive()
    path, header = world.archive()
    forge(world, path, lambda files: files.update({name: (other.root / name).read_bytes()}))
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason in (Reason.ITEM_INVALID, Reason.STALE)


def _change_sign_key(data: bytes) -> bytes:
    config = json.loads(data)
    config["authCode"]["signKey"] = "the-sign-key-before-its-rotation"
    return json.dumps(config).encode()


def _without(section: str, member: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        config = json.loads(data)
        del config[section][member]
        return json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("change", "reason", "text"),
    [
        (_change_sign_key, Reason.STALE, "generation 1"),
        (_without("authCode", "signKey"), Reason.ITEM_MISSING, "authCode.signKey"),
        (_without("deviceAuth", "deviceKeys"), Reason.ITEM_MISSING, "deviceAuth.deviceKeys"),
        (_without("deviceAuth", "currentKeyIndex"), Reason.ITEM_MISSING, "deviceAuth.currentKeyIndex"),
    ],
)
def test_a_stale_or_missing_secret_of_the_configuration(world, expect, tmp_path, change, reason, text):
    path, header = world.archive()
    forge(world, path, lambda files: files.update({"config.json": change(files["config.json"])}))
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason is reason
    assert text in str(failure)


def test_a_state_without_its_deny_list(world, expect, tmp_path):
    def change(files: Files) -> None:
        database = sqlite3.connect(":memory:")
        database.deserialize(files["state.db"])
        database.execute("DROP TABLE denied")
        files["state.db"] = database.serialize()

    path, header = world.archive()
    forge(world, path, change)
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason is Reason.ITEM_MISSING
    assert "denied" in str(failure)


def test_a_root_key_that_is_another(world, expect, make_site, tmp_path):
    other = make_site(tmp_path / "other")
    path, header = world.archive()
    forge(world, path, lambda files: None, (other.root / "certs/ECC/Root/key.pem").read_text())
    failure = refused(world, expect, path, header, tmp_path)
    assert failure.reason is Reason.ITEM_INVALID
    assert "root" in str(failure)


def test_a_path_outside_is_refused(world, expect, tmp_path):
    path, header = world.archive()
    forge(world, path, lambda files: files.update({"../escaped": b"x"}))
    assert refused(world, expect, path, header, tmp_path).reason is Reason.DAMAGED
    assert not (tmp_path / "escaped").exists()


def test_flipped_bits_and_cuts_anywhere(world):
    path, _ = world.archive()
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        spoiled = bytearray(data)
        spoiled[position] ^= 1
        with pytest.raises(ArchiveError):
            container.read(bytes(spoiled))
    for length in (0, 1, 511, 512, len(data) // 2, len(data) - 512, len(data) - 1):
        with pytest.raises(ArchiveError):
            container.read(data[:length])
        # A target that lies: the right size, the rest never written.
        if length < len(data) - 1024:
            with pytest.raises(ArchiveError):
                container.read(data[:length].ljust(len(data), b"\0"))


def test_a_header_that_somebody_else_signed(world, expect, make_site, tmp_path):
    other = make_site(tmp_path / "other")
    replace(world, directory=other, shelf=tmp_path).archive()
    path, header = world.archive()
    whole: Container = container.read(path.read_bytes())
    stranger = Signer((other.root / SIGNER).read_bytes())
    path.write_bytes(container.write(whole.header, stranger, whole.body, whole.root_key))
    assert refused(world, expect, path, header, tmp_path).reason is Reason.SIGNATURE_INVALID
    claimed = replace(whole.header, signer=stranger.name, created=(NOW + timedelta(days=1)).isoformat())
    path.write_bytes(container.write(claimed, stranger, whole.body, whole.root_key))
    assert refused(world, expect, path, header, tmp_path).reason is Reason.FOREIGN_SIGNER
