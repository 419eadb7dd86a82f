"""What must be in a backup at once when it changes: one value over it, of an archive and of a live directory."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rop_data.archive.errors import ArchiveError
from rop_data.archive.items import (
    LEDGER,
    SECRETS,
    SIGNER,
    Include,
    certificates,
    included,
    keys_digest,
    kind,
    root_key_paths,
)
from rop_data.config import Config, ConfigError, parse
from rop_data.layout import DataDir

_KINDS = frozenset(
    {
        "config",
        "settings",
        "signer",
        "rotation",
        "management",
        "secret",
        "included",
        "rootCertificate",
        "intermediateCertificate",
        "intermediateKey",
    }
)
_ROWS = ("SELECT uid FROM denied ORDER BY uid", "SELECT name, sha256, scope FROM token ORDER BY name")


@dataclass(frozen=True, slots=True)
class Live:
    """A directory as it is now. `critical`: digest of everything whose change asks for an archive. `generation` of
    its keys; None: they are in no archive, because none was made since one of them changed.
    """

    generation: int | None
    critical: str


def critical_digest(files: Mapping[str, bytes], root_key: bytes | None) -> str:
    """One value for everything whose change asks for an archive at once: keys, configuration, secrets, included
    folders, denied devices and tokens. Serials, census and alarms wait for the schedule.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(files["state.db"])
        return _digest(files, root_key, _rows(connection))
    finally:
        connection.close()


def observe(directory: DataDir, includes: Sequence[Include] = ()) -> Live:
    """Digests of a running directory, without reading what does not count. Raises ArchiveError and OSError."""
    try:
        config = Config(parse(directory.config.read_bytes()))
    except ConfigError as failure:
        raise ArchiveError.invalid(str(failure)) from None
    certs, root = certificates(directory, config), directory.root
    wanted = [
        *(directory.config, directory.rop, directory.rotation, root / SIGNER, certs.root_ca / "ca.pem"),
        *(certs.intermediate / name for name in ("ca.pem", "key.pem")),
        *(each for folder in (directory.manage, root / SECRETS) for each in folder.rglob("*")),
    ]
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in wanted
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    }
    keys = b"".join(path.read_bytes() for path in root_key_paths(certs) if path.is_file())
    rows = _read_rows(directory.state)
    critical = _digest(files | included(includes), keys or None, rows)
    return Live(_generation(root / LEDGER, keys_digest(files)) if SIGNER in files else None, critical)


def _generation(ledger: Path, keys: str) -> int | None:
    try:
        told = json.loads(ledger.read_bytes())
        return int(told["generation"]) if told["keys"] == keys else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(files: Mapping[str, bytes], root_key: bytes | None, rows: bytes) -> str:
    told = hashlib.sha256(rows)
    for name in sorted(files):
        if kind(name) in _KINDS:
            told.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    told.update(hashlib.sha256(root_key or b"").digest())
    return told.hexdigest()


def _read_rows(path: Path) -> bytes:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            return _rows(connection)
        finally:
            connection.close()
    except sqlite3.Error as failure:
        raise ArchiveError.invalid(f"{path.name}: {failure}") from None


def _rows(state: sqlite3.Connection) -> bytes:
    told = hashlib.sha256()
    for query in _ROWS:
        for row in state.execute(query):
            told.update(repr(row).encode())
        told.update(b";")
    # A table of later formats; without a row in it the value is that of before.
    if state.execute("SELECT 1 FROM sqlite_master WHERE name = 'gateway_token'").fetchone() is not None:
        for row in state.execute("SELECT name, sha256, grant, expires_at FROM gateway_token ORDER BY name"):
            told.update(repr(row).encode())
    return told.digest()
