"""Archives of a site with more than one root: each key comes back to its place, for whom it is meant alone."""

from datetime import UTC, datetime

import pytest

from rop_data import roots
from rop_data.archive.container import unpack
from rop_data.archive.create import load
from rop_data.archive.critical import critical_digest, observe
from rop_data.archive.restore import restore
from rop_data.layout import CertDir
from rop_pki import key_matches

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def certs(world):
    folder = CertDir(world.directory.root / "certs")
    roots.make_ready(folder, "/data/certs", "rop.example.net", 2, NOW)
    roots.cross_sign(folder)
    return folder


def test_every_root_gets_its_key_back(world, expect, certs, tmp_path):
    path, header = world.archive()
    restore(path, tmp_path / "new", world.alice, expect(header))
    found = {p.relative_to(tmp_path / "new") for p in (tmp_path / "new/certs").glob("*/Root/key.pem")}
    assert {each.parts[1] for each in found} == {"ECC", "ECC-next"}
    for key in found:
        folder = (tmp_path / "new" / key).parent
        assert key_matches((folder / "ca.pem").read_bytes(), (folder / "key.pem").read_bytes())
    assert (tmp_path / "new/certs/ECC-next/Root/cross.pem").read_bytes() == roots.crosses(roots.spare(certs))


def test_who_may_not_have_the_root_key_gets_none_of_them(world, certs):
    path, _ = world.archive()
    opened = unpack(load(path), world.drill)
    assert opened.items.root_key is None
    assert not [name for name in opened.items.files if name.endswith("Root/key.pem")]


@pytest.mark.usefixtures("certs")
def test_an_archive_counts_for_the_directory_it_was_made_of(world):
    path, _ = world.archive()
    items = unpack(load(path), world.alice).items
    assert critical_digest(items.files, items.root_key) == observe(world.directory).critical
