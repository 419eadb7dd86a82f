"""A real site with a state database, three age identities, and an archive of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from rop_data.archive.create import create
from rop_data.archive.manifest import Header, Recipient
from rop_data.archive.restore import Expectation
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_pki.envelope import Identities, parse_identities
from rop_server.state.database import open_database

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A site, who may open its archives, and the folder of its archives."""

    directory: DataDir
    alice: Identities
    drill: Identities
    stranger: Identities
    recipients: tuple[Recipient, ...]
    shelf: Path

    def archive(self, now: datetime = NOW) -> tuple[Path, Header]:
        """Make an archive."""
        return create(self.directory, self.shelf, self.recipients, None, now)


@pytest.fixture(scope="session")
def make_site() -> Callable[[Path], DataDir]:
    """Makes a site in a directory, with a denied camera in its state."""

    def make(folder: Path) -> DataDir:
        directory = DataDir(folder)
        with directory.lock():
            prepare(directory, {"ROP_HOSTNAME": "rop.example.net"}, NOW)
        database = open_database(directory.state, durable=True)
        database.execute("INSERT INTO denied VALUES ('95270001DENIEDAA', 1.0)")
        database.close()
        return directory

    return make


@pytest.fixture
def world(tmp_path: Path, make_site: Callable[[Path], DataDir]) -> World:
    keys = [pyrage.x25519.Identity.generate() for _ in range(4)]
    names = (("alice", "All"), ("bob", "All"), ("drill", "WithoutRootKey"))
    recipients = tuple(
        Recipient(name, scope, str(key.to_public())) for (name, scope), key in zip(names, keys, strict=False)
    )
    alice, _, drill, stranger = (parse_identities(str(key).encode()) for key in keys)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    return World(make_site(tmp_path / "site"), alice, drill, stranger, recipients, shelf)


@pytest.fixture
def expect() -> Callable[[Header], Expectation]:
    """What the recovery sheet of this archive's site says."""
    return lambda header: Expectation(header.signer, header.root_sha256)
