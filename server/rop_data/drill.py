"""The drill camera: a virtual camera of the site's own hierarchy, let in by a recovery drill and by nobody else.

Its UIDs begin with a reserved prefix that a server refuses on every port unless it was started for a drill. The
file holds all that a drill needs beside an archive and an identity, the expected signer and root included.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rop_data.archive.create import site_signer
from rop_data.authority import load_authority
from rop_data.config import ConfigError, load, parse
from rop_data.layout import CertDir, DataDir
from rop_pki import Issued, PkiError, fingerprint
from rop_pki.signer import Signer, create_signer, verify
from rop_wire.auth import long_term_code

PREFIX = "ROPDRILL"
CAMERA = "ROPDRILLCAMERA00"
"""The camera that was enrolled before the fire."""
NEWCOMER = "ROPDRILLNEWCOMER"
"""A camera that enrols during a drill."""
WITNESS = "ROPDRILLWITNESS0"
"""Never let in: it stands on the deny list, so that a lost deny list is noticed."""
CONTROL = "ROPDRILLCONTROL0"
"""Let in by a drill, to show that its probes of refusals can be let in at all."""

FILE = "camera.json"
WARRANT = "rop-drill-signer-v1"
FORMAT_VERSION = 1
_TEXTS = (
    "uid",
    "host",
    "rootPEM",
    "chainPEM",
    "keyPEM",
    "code",
    "siteSigner",
    "signerKeyPEM",
    "warrant",
)


def reserved(uid: str) -> bool:
    """Whether only a drill lets this UID in."""
    return uid.startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class DrillCamera:
    """What the file holds. `site_signer` and the root are what archives must show; `warrant` (hex) is the site's
    signature of the drill's own signer, with which it signs reports.
    """

    uid: str
    host: str
    root_pem: str
    chain_pem: str
    key_pem: str = field(repr=False)
    code: str = field(repr=False)
    site_signer: str
    signer_key_pem: str = field(repr=False)
    warrant: str

    @property
    def root_sha256(self) -> str:
        """Fingerprint of the root it pinned."""
        return fingerprint(self.root_pem.encode())

    @property
    def signer(self) -> Signer:
        """Signs reports."""
        return Signer(self.signer_key_pem.encode())

    def encode(self) -> bytes:
        """The file's bytes."""
        values = (getattr(self, name) for name in self.__slots__)
        document = {"formatVersion": FORMAT_VERSION, **dict(zip(_TEXTS, values, strict=True))}
        return (json.dumps(document, indent=1) + "\n").encode()


def decode(data: bytes) -> DrillCamera:
    """The inverse of `DrillCamera.encode`. Raises ConfigError naming the member."""
    raw = parse(data, FILE)
    if raw.get("formatVersion") != FORMAT_VERSION:
        raise ConfigError(f"{FILE}.formatVersion", f"{FORMAT_VERSION}; enrol the drill camera again")
    camera = DrillCamera(*(_text(raw, name) for name in _TEXTS))
    if not reserved(camera.uid):
        raise ConfigError(f"{FILE}.uid", f"a UID that begins with {PREFIX}", camera.uid[:32])
    try:
        name, _ = camera.signer.name, camera.root_sha256
        sound = verify(camera.site_signer, WARRANT, name.encode(), bytes.fromhex(camera.warrant))
    except (PkiError, ValueError):
        sound = False
    if not sound:
        raise ConfigError(FILE, "as `rop-server drill-camera enrol` wrote it; enrol the drill camera again")
    return camera


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{FILE}.{name}", "text")
    return value


def read(path: Path) -> DrillCamera:
    """From the file, or the folder it lies in. Raises ConfigError and OSError."""
    return decode((path / FILE if path.is_dir() else path).read_bytes())


def enrol(directory: DataDir, now: datetime) -> tuple[DrillCamera, Issued]:
    """A new drill camera of this site, served or not; nothing but the site's signer is written.

    Raises ConfigError, ArchiveError, LockedError, PkiError, FileNotFoundError.
    """
    config = load(directory.config)
    certs = CertDir(directory.resolve(str(config.get("cert.workDir")).rstrip("/")))
    authority = load_authority(certs, config.server_host)
    issued = authority.device_certificate(CAMERA, config.get("cert.clientCertValidDays"), now)
    site = site_signer(directory)
    own = create_signer()
    camera = DrillCamera(
        CAMERA,
        config.server_host,
        authority.root_pem.decode(),
        issued.chain_pem.decode(),
        issued.key_pem.decode(),
        long_term_code(config.sign_key, CAMERA),
        site.name,
        own.decode(),
        site.sign(WARRANT, Signer(own).name.encode()).hex(),
    )
    return camera, issued
