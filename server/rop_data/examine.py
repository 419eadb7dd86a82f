"""What is wrong with a data directory, and what a start would change in it; nothing is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rop_data import settings
from rop_data.authority import load_authority, needs_server_certificate
from rop_data.config import Config, ConfigError, check_host, generate, ignored_environment, load
from rop_data.layout import CertDir, DataDir
from rop_data.settings import RopSettings
from rop_pki import PkiError, key_matches

ERROR, WARNING, CHANGE, OK = "Error", "Warning", "Change", "OK"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `level`: `Error` (no start), `Warning`, `Change` (a start would do this), `OK`."""

    level: str
    subject: str
    text: str


def examine(directory: DataDir, environment: Mapping[str, str], now: datetime) -> list[Finding]:
    """Every finding, in the order of a start. Raises nothing for whatever is in the directory."""
    found: list[Finding] = []
    for part in (_configuration, _own, _certificates, _folders):
        try:
            found.extend(part(directory, environment, now))
        except (ConfigError, PkiError, OSError) as error:
            found.append(Finding(ERROR, part.__name__.removeprefix("_"), str(error)))
    return found


def _configuration(directory: DataDir, environment: Mapping[str, str], _now: datetime) -> Iterator[Finding]:
    if not directory.config.exists():
        host = Config(generate(environment)).server_host
        yield Finding(CHANGE, "config.json", f"would be made, with new keys, for {host}")
        return
    config = load(directory.config)
    yield Finding(OK, "config.json", f"serverHost {config.server_host}, {len(config.device_keys)} device keys")
    yield from _mode(directory.config, "config.json")
    try:
        check_host(config.server_host)
    except ConfigError as error:
        yield Finding(WARNING, "serverHost", str(error))
    for variable, member in ignored_environment(config, environment):
        yield Finding(WARNING, variable, f"differs from {member} and is not read any more: edit config.json")


def _own(directory: DataDir, _environment: Mapping[str, str], _now: datetime) -> Iterator[Finding]:
    told = settings.load(directory.rop)
    if told is not None:
        yield Finding(OK, "rop.json", f"instance {told.instance_id}, integrity {told.integrity}")
        yield from _mode(directory.rop, "rop.json")
        return
    made = RopSettings.new(adopted=directory.config.exists())
    kind = "an adopted" if made.adopted else "a new"
    text = f"would be made for {kind} site: client ports on {made.client_bind}, integrity {made.integrity}"
    yield Finding(CHANGE, "rop.json", text)


def _certificates(directory: DataDir, _environment: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    if not directory.config.exists():
        yield Finding(CHANGE, "certificates", "root, L2 CA and server certificate would be made")
        return
    config = load(directory.config)
    certs = CertDir(directory.resolve(str(config.get("cert.workDir")).rstrip("/")))
    told = settings.load(directory.rop)
    pinned = None if told is None else told.root_sha256
    for folder, name in ((certs.root_ca, "root CA"), (certs.intermediate, "L2 CA")):
        if not (folder / "ca.pem").is_file():
            lost = folder.exists() or (name == "root CA" and pinned is not None)
            text = "is missing: restore it from a backup" if lost else "would be made"
            yield Finding(ERROR if lost else CHANGE, name, text)
            return
        yield from _mode(folder / "key.pem", f"key of the {name}")
    authority = load_authority(certs, config.server_host)
    yield Finding(OK, "root CA", f"SHA-256 {authority.root_fingerprint}")
    if pinned is not None and pinned != authority.root_fingerprint:
        yield Finding(ERROR, "root CA", "is not the one this site was made with; restore it from a backup")
    root_key = certs.root_ca / "key.pem"
    if root_key.is_file() and not key_matches((certs.root_ca / "ca.pem").read_bytes(), root_key.read_bytes()):
        yield Finding(ERROR, "key of the root CA", "does not belong to the root CA")
    if not root_key.is_file():
        yield Finding(WARNING, "root CA", "its key is not here: a lost L2 CA cannot be made again")
    if needs_server_certificate(certs, authority, config, now):
        yield Finding(CHANGE, "server certificate", "would be issued anew")
    else:
        yield Finding(OK, "server certificate", "fits and is valid")


def _folders(directory: DataDir, _environment: Mapping[str, str], _now: datetime) -> Iterator[Finding]:
    if not directory.config.exists():
        return
    folder = directory.resolve(load(directory.config).get("upgrade.filePath"))
    if not folder.is_dir():
        yield Finding(CHANGE, "firmware", f"the folder {folder} would be made")


def _mode(path: Path, subject: str) -> Iterator[Finding]:
    if path.is_file() and path.stat().st_mode & 0o077:
        yield Finding(CHANGE, subject, "is open to other users: a start takes it away from them")
