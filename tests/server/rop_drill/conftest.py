"""A site with a drill camera, a denied device and one archive, whose data directory is renamed away."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_data.archive.create import make
from rop_data.archive.manifest import Recipient
from rop_data.archive.restore import Expectation
from rop_data.drill import DrillCamera, read
from rop_data.layout import DataDir
from rop_drill.drill import Inputs
from rop_drill.source import of_file
from rop_pki.envelope import new_identity, parse_identities, recipient_of
from rop_server.state.database import open_database

HOST = "drilled.invalid"
DENIED = "95270001DENIEDAA"


@dataclass(frozen=True)
class Site:
    """What is left after the fire, all that a drill gets: archives, an identity's file, the drill camera."""

    shelf: Path
    archive: Path
    identity: Path
    camera: Path
    away: Path = field(repr=False)

    @property
    def known(self) -> DrillCamera:
        """The drill camera."""
        return read(self.camera)

    def inputs(self, **others: Any) -> Inputs:
        """Good ones."""
        known = self.known
        return Inputs(
            **{
                "fetch": lambda: of_file(self.archive),
                "identify": lambda: parse_identities(self.identity.read_bytes()),
                "camera": known,
                "expected": Expectation(known.site_signer, known.root_sha256),
                "max_age": timedelta(hours=25),
                **others,
            }
        )

    def words(self, *more: str) -> list[str]:
        """The options that name them."""
        return ["--from", str(self.shelf), "--identity", str(self.identity), "--camera", str(self.camera), *more]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("drilled")
    data, camera, shelf = DataDir(folder / "data"), folder / "camera", folder / "shelf"
    for words in (["configure"], ["drill-camera", "enrol", "--to", str(camera)]):
        subprocess.run(
            [sys.executable, "-m", "rop_server", *words, "--data", str(data.root)],
            env={**os.environ, "ROP_HOSTNAME": HOST},
            check=True,
            capture_output=True,
        )
    database = open_database(data.state, durable=True)
    database.execute("INSERT INTO denied VALUES (?, 1.0)", (DENIED,))
    database.close()
    keys = [new_identity() for _ in range(3)]
    scopes = (("alice", "All"), ("bob", "All"), ("drill", "WithoutRootKey"))
    recipients = tuple(
        Recipient(name, scope, recipient_of(key)) for (name, scope), key in zip(scopes, keys, strict=True)
    )
    made = make(data, recipients, None, datetime.now(UTC))
    shelf.mkdir()
    archive = shelf / made.name
    archive.write_bytes(made.data)
    identity = folder / "identity.txt"
    identity.write_bytes(keys[2])
    away = data.root.rename(folder / "burnt")
    return Site(shelf, archive, identity, camera, away)


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def rop_drill() -> Callable[..., Ran]:
    """Runs the command."""

    def run(*words: str, given: bytes = b"") -> Ran:
        command = [sys.executable, "-m", "rop_drill", *words]
        ran = subprocess.run(command, input=given, capture_output=True, check=False)
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All drills of a user share a folder, and tests look at what they leave there: one after the other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("drills"))
