"""Opening a data directory: make what is missing, adopt what is there, load it all."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rop_data import atomic, roots, settings
from rop_data.authority import (
    ensure_intermediate,
    ensure_root,
    ensure_server_certificate,
    load_authority,
    tighten,
)
from rop_data.config import Config, ConfigError, generate, load, patch, save
from rop_data.layout import CertDir, DataDir
from rop_data.rotations import RotationFile
from rop_data.settings import RopSettings
from rop_pki import Authority


@dataclass(slots=True)
class Site:
    """A data directory, opened. Key material never shows in its repr. Only `authority` ever changes."""

    directory: DataDir
    certs: CertDir
    config: Config
    settings: RopSettings
    authority: Authority = field(repr=False)

    @property
    def root_pem(self) -> bytes:
        """The root CA file, byte for byte."""
        return (self.certs.root_ca / "ca.pem").read_bytes()

    @property
    def server_chain_pem(self) -> bytes:
        """The server certificate: leaf and L2 CA."""
        return self.certs.server_chain(self.config.server_host).read_bytes()

    @property
    def presented_pem(self) -> bytes:
        """What the server presents: leaf, L2 CA, and its root as those of before signed it."""
        return self.server_chain_pem + roots.crosses(self.certs)

    @property
    def server_key_pem(self) -> bytes:
        """The server's key."""
        return self.certs.server_key(self.config.server_host).read_bytes()

    def reload_authority(self) -> None:
        """The L2 CA is another one now. Raises ConfigError."""
        self.authority = load_authority(self.certs, self.config.server_host)

    def renew_server_certificate(self, now: datetime) -> bool:
        """Renew the server certificate when it is due; True when it was."""
        return ensure_server_certificate(self.certs, self.authority, self.config, now)


def prepare(
    directory: DataDir,
    environment: Mapping[str, str],
    now: datetime,
    members: Mapping[str, Any] | None = None,
) -> Site:
    """Open the directory; call it under `directory.lock()`. `members` are dotted changes (`rop.*` go to rop.json).

    A new directory is made from the environment; one that the vendor's server made is adopted unchanged. Raises
    ConfigError (nothing of the changes is written then). Order of writes: rop.json, config.json, root, L2 CA,
    server certificate, the root's fingerprint; each is whole or absent, so a crash is finished by the next start.
    """
    changes = dict(members or {})
    ours = {name: changes.pop(name) for name in list(changes) if name.startswith("rop.")}
    found = directory.config.is_file()
    known = settings.load(directory.rop)
    site_settings = settings.patch(known or RopSettings.new(adopted=found), ours)
    config = load(directory.config) if found else Config(generate(environment))
    changed = Config(patch(config.raw, changes)) if changes else config

    atomic.make_directory(directory.root)
    atomic.sweep(directory.root)
    atomic.restrict(directory.config)
    if site_settings != known:
        settings.save(directory.rop, site_settings)
    if not found or changed.raw != config.raw:
        save(directory.config, changed)
    return _open(directory, changed, site_settings, now)


def _open(directory: DataDir, config: Config, site_settings: RopSettings, now: datetime) -> Site:
    spelled = str(config.get("cert.workDir")).rstrip("/")
    certs = CertDir(directory.resolve(spelled))
    atomic.make_directory(certs.root / "ECC")
    atomic.make_directory(directory.resolve(config.get("upgrade.filePath")))
    wanted = RotationFile(directory.rotation).get("Root").data.get("wanted")
    tighten(certs)
    ensure_root(certs, spelled, site_settings.root_sha256 is None, now)
    ensure_intermediate(certs, spelled, config.server_host, now)
    authority = load_authority(certs, config.server_host)
    # Without a fingerprint it is new; after a rotation was cut short the file has the one of before.
    if site_settings.root_sha256 is None or authority.root_fingerprint == wanted:
        site_settings = replace(site_settings, root_sha256=authority.root_fingerprint)
        if settings.load(directory.rop) != site_settings:
            settings.save(directory.rop, site_settings)
    elif site_settings.root_sha256 != authority.root_fingerprint:
        raise ConfigError(
            str(certs.root_ca / "ca.pem"), "the root this site was made with; restore it from a backup"
        )
    ensure_server_certificate(certs, authority, config, now)
    return Site(directory, certs, config, site_settings, authority)
