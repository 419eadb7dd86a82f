"""Spoiled copies of an archive, made with the site's own signer as far as that goes: for the self-test."""

import gzip
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from rop_data.archive import container, manifest
from rop_data.archive.container import Container, Opened
from rop_data.archive.items import LEDGER, SIGNER, Items, keys_digest
from rop_data.archive.manifest import Entry, Header, digest
from rop_data.archive.restore import Expectation
from rop_data.config import put
from rop_data.drill import DrillCamera
from rop_pki.envelope import Identities, seal
from rop_pki.signer import Signer, create_signer

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Stage:
    """A good archive, opened, with all that a drill of it needs; `other` are the items of another site."""

    name: str
    data: bytes = field(repr=False)
    whole: Container = field(repr=False)
    opened: Opened = field(repr=False)
    identities: Identities = field(repr=False)
    camera: DrillCamera
    expected: Expectation
    other: Mapping[str, bytes] = field(repr=False)

    @property
    def files(self) -> Files:
        """The items by path, to be changed."""
        return dict(self.opened.items.files)

    @property
    def signer(self) -> Signer:
        """The site's own."""
        return Signer(self.opened.items.files[SIGNER])

    def of_kind(self, *kinds: str) -> list[str]:
        """Paths of the items of these kinds."""
        return [each.path for each in self.opened.entries if each.kind in kinds]


def forge(stage: Stage, change: Callable[[Files], object], **members: Any) -> bytes:
    """The archive with changed items, sealed to the same recipients and signed by the site; `members` of its
    header are replaced.
    """
    files = stage.files
    change(files)
    plain, listed = container.pack(Items(files, None), members.get("generation", stage.whole.header.generation))
    return _write(stage, plain, listed, members)


def forge_manifest(stage: Stage, change: Callable[[list[Entry]], list[Entry]]) -> bytes:
    """The archive with another manifest, sealed and signed."""
    listed = manifest.encode_entries(change(list(stage.opened.entries)))
    files = {container.MANIFEST: listed, **stage.files}
    return _write(stage, gzip.compress(container.tar(files), 6, mtime=0), listed, {})


def _write(stage: Stage, plain: bytes, listed: bytes, members: Mapping[str, Any]) -> bytes:
    header = stage.whole.header
    body = seal(plain, [each.key for each in header.recipients])
    hashes: dict[str, Any] = {
        "body_sha256": digest(body),
        "body_size": len(body),
        "manifest_sha256": digest(listed),
    }
    changed: Header = replace(header, **{**hashes, **members})
    return container.write(changed, stage.signer, body, stage.whole.root_key)


def resign(stage: Stage, key: Signer, **members: Any) -> bytes:
    """The archive with a header that another key signed."""
    whole = stage.whole
    return container.write(replace(whole.header, **members), key, whole.body, whole.root_key)


def unsigned(stage: Stage) -> bytes:
    """The archive with an empty signature."""
    parts = container.untar(stage.data)
    return container.tar({**parts, "header.sig": b""})


def stranger() -> Signer:
    """Somebody else."""
    return Signer(create_signer())


def settle(files: Files) -> None:
    """Make the ledger fit the keys, as a site whose keys were changed by hand has it."""
    known = json.loads(files[LEDGER])
    files[LEDGER] = json.dumps({**known, "keys": keys_digest(files)}).encode()


def member(files: Files, path: str, name: str, value: Any = None) -> None:
    """Set a dotted member of a JSON item, or take it away."""
    document = json.loads(files[path])
    if value is None:
        *parents, last = name.split(".")
        del reduce(dict.__getitem__, parents, document)[last]
    else:
        put(document, name, value)
    files[path] = json.dumps(document).encode()


def drop(files: Files, prefix: str) -> None:
    """Take away every item whose path begins so."""
    for path in [each for each in files if each.startswith(prefix)]:
        del files[path]


def state(files: Files, statement: str) -> None:
    """Run a statement on the archived state.db."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.deserialize(files["state.db"])
        database.execute(statement)
        files["state.db"] = database.serialize()
    finally:
        database.close()


def alter(root: Path, statement: str) -> None:
    """Run a statement on the state.db of a restored folder."""
    database = sqlite3.connect(root / "state.db", isolation_level=None)
    try:
        database.execute(statement)
    finally:
        database.close()
