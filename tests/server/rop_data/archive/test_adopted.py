"""A directory that the vendor's server made comes back byte for byte, so that either program can go on with it."""

from pathlib import Path

from rop_data.archive.create import create
from rop_data.archive.restore import restore
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_server.state.database import open_database


def test_an_adopted_directory_comes_back(world, expect, vendor, now, tmp_path):
    directory = DataDir(vendor)
    with directory.lock():
        prepare(directory, {}, now)
    open_database(directory.state, durable=True).close()
    path, header = create(directory, world.shelf, world.recipients, None, now)
    target = tmp_path / "new"
    restore(path, target, world.alice, expect(header))
    theirs = [p for p in (vendor / "certs").rglob("*") if not p.name.startswith(".")]
    assert len(theirs) > 20
    for found in [*theirs, vendor / "config.json"]:
        back: Path = target / found.relative_to(vendor)
        assert back.exists(), found
        if found.is_file():
            assert back.read_bytes() == found.read_bytes()
