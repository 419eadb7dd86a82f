"""A copy of a vendor server's data directory that ours can serve; the original is only read."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rop_data import atomic
from rop_data.authority import load_authority
from rop_data.config import Config, ConfigError, load, patch, save
from rop_data.layout import CONTAINER_ROOT, CertDir, DataDir
from rop_pki import key_matches
from rop_wire.auth import ca_hash

_FOLDERS = ("cert.workDir", "upgrade.filePath")


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was copied and verified."""

    files: int
    host: str
    root_sha256: str
    ca_hash: str
    key_indexes: tuple[str, ...]


def adopt(vendor: Path, data: Path) -> Adopted:
    """Copy `vendor` to `data`, which must be absent or empty, and verify the copy before it gets its name.

    Raises ConfigError when the original cannot be served or changed meanwhile, OSError when it cannot be copied.
    """
    vendor = vendor.resolve()
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ConfigError("--data", "absent or an empty directory", str(data))
    if data.resolve().is_relative_to(vendor):
        raise ConfigError("--data", "outside the vendor's directory", str(data))
    config = _readable(vendor)
    before = listing(vendor)
    temporary = data.resolve().with_name(f".{data.name}.adopting")
    shutil.rmtree(temporary, ignore_errors=True)
    atomic.make_directory(temporary.parent)
    try:
        shutil.copytree(vendor, temporary, ignore_dangling_symlinks=True)
        _own(temporary)
        if listing(temporary) != before or listing(vendor) != before:
            raise ConfigError(str(vendor), "left alone while it is copied: stop the vendor's server first")
        moved = _moved(vendor, config)
        if moved:
            save(temporary / "config.json", Config(patch(config.raw, moved)))
        told = _verified(temporary, config, len(before))
        if data.exists():
            data.rmdir()
        os.rename(temporary, data.resolve())  # noqa: PTH104 - must fail on a non-empty target
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    atomic.sync_directory(data.resolve().parent)
    return told


def listing(folder: Path) -> dict[str, str]:
    """SHA-256 by path of every file below a folder."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _readable(vendor: Path) -> Config:
    try:
        config = load(vendor / "config.json")
    except FileNotFoundError:
        raise ConfigError("--vendor", "a directory with config.json", str(vendor)) from None
    for member in _FOLDERS:
        place = DataDir(vendor).resolve(config.get(member))
        if not place.resolve().is_relative_to(vendor):
            raise ConfigError(member, "below the vendor's directory", str(place))
    # Verified before anything is copied: a directory without a whole PKI is no site.
    load_authority(_certs(vendor, config), config.server_host)
    return config


def _certs(root: Path, config: Config) -> CertDir:
    return CertDir(DataDir(root).resolve(str(config.get("cert.workDir")).rstrip("/")))


def _moved(vendor: Path, config: Config) -> dict[str, Any]:
    """Folders that config.json names by their place in the old directory."""
    told = {member: Path(config.get(member)) for member in _FOLDERS}
    return {
        member: str(CONTAINER_ROOT / path.relative_to(vendor))
        for member, path in told.items()
        if path.is_absolute() and path.is_relative_to(vendor) and not path.is_relative_to(CONTAINER_ROOT)
    }


def _own(folder: Path) -> None:
    """The copy is nobody else's business, and on disk."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if path.is_dir():
            atomic.sync_directory(path)
        elif path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _verified(copy: Path, original: Config, files: int) -> Adopted:
    config = load(copy / "config.json")
    certs = _certs(copy, config)
    authority = load_authority(certs, config.server_host)
    same = config.sign_key == original.sign_key and config.device_keys == original.device_keys
    if not same or config.current_key_index != original.current_key_index:
        raise ConfigError("config.json", "copied with the same keys")
    root_pem, root_key = (certs.root_ca / "ca.pem").read_bytes(), certs.root_ca / "key.pem"
    if root_key.is_file() and not key_matches(root_pem, root_key.read_bytes()):
        raise ConfigError(str(root_key), "the key of the root CA")
    return Adopted(
        files,
        config.server_host,
        authority.root_fingerprint,
        ca_hash(root_pem),
        tuple(config.device_keys),
    )
