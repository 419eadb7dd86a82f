"""The keys of a server in Secrets of the cluster: the volume is the truth while it exists, the Secret its escrow.

One Secret holds one generation: filled once, then immutable. The operator keeps an empty one ready.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rop_data import atomic
from rop_data.archive.container import tar, untar
from rop_data.archive.items import LEDGER, ROTATION, SIGNER, certificates
from rop_data.config import Config, parse
from rop_data.layout import DataDir
from rop_pod.account import Account, AccountError, Held

KEYS = "rop.dev/keys"
MEMBER = "keys.tar"
MOST = 900 * 1024
MANY = 1000
_DEVICES = {"newcerts", "csr", "certs", "crl"}
_AUTHORITY = {"ca.pem", "key.pem"}


@dataclass(frozen=True, slots=True)
class Generation:
    """One Secret of keys."""

    name: str
    held: Held

    @property
    def digest(self) -> str | None:
        """Fingerprint of what it holds, None while it is empty."""
        return self.held.annotations.get(KEYS)


def generations(account: Account, prefix: str) -> list[Generation]:
    """All Secrets PREFIX-1, PREFIX-2, ... that are there."""
    found: list[Generation] = []
    for number in range(1, MANY):
        held = account.read(f"{prefix}-{number}")
        if held is None:
            break
        found.append(Generation(f"{prefix}-{number}", held))
    return found


def files_of(directory: DataDir) -> dict[str, bytes]:
    """What makes this site itself: configuration, authorities and keys; nothing of single devices."""
    config = Config(parse(directory.config.read_bytes()))
    certs = certificates(directory, config).root
    singles = (
        directory.config,
        directory.rop,
        directory.rotation,
        *(directory.root / n for n in (SIGNER, LEDGER)),
    )
    found: dict[str, bytes] = {}
    for path in (*singles, *(path for path in sorted(certs.rglob("*")) if _of_authority(path.relative_to(certs)))):
        if path.is_file() and not path.is_symlink():
            # Lists of issued certificates grow with the fleet and are made anew.
            data = b"" if path.name == "index.txt" else path.read_bytes()
            found[path.relative_to(directory.root).as_posix()] = data
    return found


def _of_authority(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not _DEVICES & set(path.parts)


def fingerprint(files: Mapping[str, bytes]) -> str:
    """Of the keys alone, those of rotations included: a changed setting makes no new generation."""
    config = parse(files["config.json"])
    secret = {"signKey": config["authCode"]["signKey"], "deviceAuth": config["deviceAuth"]}
    authorities = [(name, files[name].hex()) for name in sorted(files) if name.rsplit("/", 1)[-1] in _AUTHORITY]
    told = [secret, authorities] + [files[name].hex() for name in (ROTATION,) if name in files]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def deposit(account: Account, found: list[Generation], files: Mapping[str, bytes]) -> str | None:
    """Fill the empty Secret unless the newest one holds these keys; its name, None when nothing was to do.

    AccountError: no Secret is left to be filled, or the keys do not fit into one.
    """
    now = fingerprint(files)
    filled = [each for each in found if each.digest is not None]
    if filled and filled[-1].digest == now:
        return None
    empty = next((each for each in found if each.digest is None), None)
    if empty is None:
        raise AccountError("no empty Secret for the keys: the operator makes one; is it running?")
    packed = tar(files)
    if len(packed) > MOST:
        raise AccountError(f"the keys take {len(packed)} bytes, more than a Secret holds")
    account.fill(empty.name, empty.held, {MEMBER: packed}, {KEYS: now}, final=True)
    return empty.name


def withdraw(directory: DataDir, found: list[Generation]) -> str | None:
    """Write the newest keys into a directory that has none; the Secret's name, None when nothing was to do.

    `config.json` is written last: while it is absent, the next attempt begins anew.
    """
    filled = [each for each in found if each.digest is not None]
    if directory.config.exists() or not filled:
        return None
    files = untar(filled[-1].held.data[MEMBER])
    for name in sorted(files, key=lambda each: each == "config.json"):
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise AccountError(f"Secret {filled[-1].name}: {name} would lie outside of the data directory")
        path = directory.root / relative
        atomic.make_directory(path.parent)
        atomic.write(path, files[name])
    return filled[-1].name
