"""The critical items of a data directory: which files they are, and whether together they make a whole site."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rop_data import rotations
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.config import Config, ConfigError, check, parse
from rop_data.layout import CertDir, DataDir
from rop_pki import Authority, PkiError, fingerprint, key_matches
from rop_pki.signer import Signer

INCLUDED = "include"
SECRETS = "secrets"
MAX_INCLUDED = 64 * 1024 * 1024
SIGNER = "archive/signer.pem"
LEDGER = "archive/ledger.json"
ROTATION = "rotation.json"
_DATABASES = {"state.db": "state", "alarms.db": "alarms"}
_TABLES = frozenset({"device", "certificate", "denied", "token", "fact"})
_KEYS = re.compile(rb".+?-----END [A-Z ]*PRIVATE KEY-----\s*", re.DOTALL)
_SERIALS = frozenset({"serial", "index.txt", "crlnumber"})


@dataclass(frozen=True, slots=True)
class Items:
    """File contents by path below the data directory; the root's key apart (None: not opened).

    Beside a root of before or to come, `root_key` holds one key after the other, the one in use first.
    """

    files: Mapping[str, bytes] = field(repr=False)
    root_key: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Include:
    """A folder beside the data directory that goes into its archives: a host agent's documents, say."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the site is: instance, root fingerprint, signer's name, path of the root's key."""

    instance_id: str
    root_sha256: str
    signer: str
    root_key_path: str


def certificates(directory: DataDir, config: Config) -> CertDir:
    """The certificate folder. Raises ArchiveError when it is not below the data directory."""
    certs = CertDir(directory.resolve(str(config.get("cert.workDir")).rstrip("/")))
    if not certs.root.is_relative_to(directory.root) or ".." in certs.root.parts:
        raise ArchiveError(Reason.ITEM_INVALID, f"cert.workDir {certs.root} is not below {directory.root}")
    return certs


def collect(directory: DataDir, includes: Sequence[Include] = ()) -> Items:
    """Read every critical item of a locked or running directory. Raises ArchiveError when it is not whole."""
    root = directory.root
    try:
        config = Config(parse(directory.config.read_bytes()))
    except FileNotFoundError:
        raise ArchiveError(Reason.ITEM_MISSING, "config.json") from None
    except ConfigError as failure:
        raise ArchiveError(Reason.ITEM_INVALID, str(failure)) from None
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in _paths(directory, config)}
    for name in _DATABASES:
        if (root / name).is_file():
            files[name] = _copy_database(root / name)
    files |= included(includes)
    keys = root_key_paths(certificates(directory, config))
    told = [files.pop(path.relative_to(root).as_posix(), b"") for path in keys]
    items = Items(files, b"".join(told) if told[0] else None)
    identify(items)
    if items.root_key is None:
        raise ArchiveError(Reason.ITEM_MISSING, f"{keys[0].relative_to(root)} (the key of the root CA)")
    return items


def root_key_paths(certs: CertDir) -> list[Path]:
    """Keys of roots, the one in use first: only a recipient of scope All gets them."""
    return [certs.root_ca / "key.pem", *sorted(certs.root.glob("ECC-*/Root/key.pem"))]


def root_key_files(items: Items, in_use: str) -> dict[str, bytes]:
    """Where each key of a root belongs; `in_use` is the path of the first. Raises ArchiveError."""
    # Whatever precedes a key belongs to it: OpenSSL writes the curve before it.
    first, *others = _KEYS.findall(items.root_key or b"")
    found = {in_use: first}
    certificates = {path: data for path, data in items.files.items() if path.endswith("/Root/ca.pem")}
    for key in others:
        path = next((path for path, data in certificates.items() if key_matches(data, key)), None)
        if path is None:
            raise ArchiveError(Reason.ITEM_MISSING, "the certificate of a root whose key is in the archive")
        found[path.removesuffix("ca.pem") + "key.pem"] = key
    return found


def _paths(directory: DataDir, config: Config) -> Iterator[Path]:
    folders = (certificates(directory, config).root, directory.manage, directory.root / SECRETS)
    own = (directory.root / name for name in (SIGNER, LEDGER, ROTATION))
    singles = (directory.config, directory.rop, *own)
    for path in (*singles, *(each for folder in folders for each in sorted(folder.rglob("*")))):
        # Half-written files of a running server have hidden names.
        hidden = any(part.startswith(".") for part in path.relative_to(directory.root).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def included(includes: Sequence[Include]) -> dict[str, bytes]:
    """The files of further folders, by path in an archive. Raises ArchiveError when they are too large."""
    found: dict[str, bytes] = {}
    size = 0
    for each in includes:
        if not each.folder.is_dir():
            raise ArchiveError(Reason.ITEM_MISSING, f"{each.folder} (included as {each.name})")
        for path in sorted(each.folder.rglob("*")):
            inside = path.relative_to(each.folder)
            if any(part.startswith(".") for part in inside.parts) or path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            size += len(data)
            if size > MAX_INCLUDED:
                raise ArchiveError(
                    Reason.ITEM_INVALID, f"{each.folder}: more than {MAX_INCLUDED >> 20} MiB are included"
                )
            found[f"{INCLUDED}/{each.name}/{inside.as_posix()}"] = data
    return found


def _copy_database(path: Path) -> bytes:
    """A consistent copy, also beside a running writer; in memory, so that no plaintext is left behind."""
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
    copy = sqlite3.connect(":memory:")
    try:
        source.backup(copy)
        data = bytearray(copy.serialize())
    except sqlite3.Error as failure:
        raise ArchiveError(Reason.ITEM_INVALID, f"{path.name}: {failure}") from None
    finally:
        copy.close()
        source.close()
    # Bytes 18 and 19 say "write-ahead log"; a copy without its log is a plain file until the server opens it.
    data[18:20] = b"\x01\x01"
    return bytes(data)


def kind(path: str) -> str:
    """The kind of an item."""
    name = PurePosixPath(path)
    known = {"config.json": "config", "rop.json": "settings", SIGNER: "signer", LEDGER: "ledger"}
    known |= {ROTATION: "rotation", **_DATABASES}
    if path in known:
        return known[path]
    folder = {"manage": "management", SECRETS: "secret", INCLUDED: "included"}.get(name.parts[0])
    if folder is not None:
        return folder
    if name.parts[-3:-1] == ("ECC", "Root") and name.name == "ca.pem":
        return "rootCertificate"
    if name.parts[-3:-1] == ("ECC", "E1") and name.name in ("ca.pem", "key.pem"):
        return "intermediateCertificate" if name.name == "ca.pem" else "intermediateKey"
    return "serials" if name.name in _SERIALS else "certificates"


def identify(items: Items) -> Identity:
    """Whose site these items are. Raises ArchiveError naming what is missing or does not fit together."""
    files = items.files
    try:
        config, settings = parse(_need(files, "config.json")), parse(_need(files, "rop.json"), "rop.json")
        check(config)
        if ROTATION in files:
            rotations.decode(files[ROTATION])
        signer = Signer(_need(files, SIGNER))
        _need(files, LEDGER)
        folder = _certificate_folder(config)
        root = _need(files, f"{folder}/ECC/Root/ca.pem")
        tier2 = [_need(files, f"{folder}/ECC/E1/{name}") for name in ("ca.pem", "key.pem")]
        for authority in ("Root", "E1"):
            for name in ("serial", "index.txt"):
                _need(files, f"{folder}/ECC/{authority}/{name}", empty=name == "index.txt")
        Authority(root, tier2[0], tier2[1], config["serverHost"])
        fits = items.root_key is None or key_matches(root, items.root_key)
    except ConfigError as failure:
        missing = failure.rule.startswith("present")
        raise ArchiveError(Reason.ITEM_MISSING if missing else Reason.ITEM_INVALID, str(failure)) from None
    except PkiError as failure:
        raise ArchiveError(Reason.ITEM_INVALID, str(failure)) from None
    if not fits:
        raise ArchiveError(Reason.ITEM_INVALID, "the key of the root CA does not belong to its certificate")
    if settings.get("rootSHA256") != fingerprint(root) or not isinstance(settings.get("instanceID"), str):
        raise ArchiveError(Reason.ITEM_INVALID, "rop.json names another root CA")
    _check_database("state.db", _need(files, "state.db"), _TABLES)
    if "alarms.db" in files:
        _check_database("alarms.db", files["alarms.db"], frozenset())
    return Identity(settings["instanceID"], fingerprint(root), signer.name, f"{folder}/ECC/Root/key.pem")


def keys_digest(files: Mapping[str, bytes]) -> str:
    """One value for all keys of a site: it changes when any of them is rotated."""
    config = parse(files["config.json"])
    secret = {"signKey": config["authCode"]["signKey"], "deviceAuth": config["deviceAuth"]}
    folder = _certificate_folder(config)
    authorities = [files[f"{folder}/ECC/{name}"] for name in ("Root/ca.pem", "E1/ca.pem", "E1/key.pem")]
    parts = (json.dumps(secret, sort_keys=True).encode(), *authorities, files[SIGNER])
    more = (files[ROTATION],) if ROTATION in files else ()
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in (*parts, *more))).hexdigest()


def _certificate_folder(config: Mapping[str, object]) -> str:
    """`cert.workDir` below a data directory of any place: the archive may be restored elsewhere."""
    section = config.get("cert")
    spelled = section.get("workDir", "/data/certs") if isinstance(section, dict) else "/data/certs"
    base = DataDir(Path("/data"))
    folder = base.resolve(str(spelled).rstrip("/"))
    if not folder.is_relative_to(base.root) or ".." in folder.parts:
        raise ArchiveError(
            Reason.ITEM_INVALID, "cert.workDir is an absolute path; use /data/... or a relative one"
        )
    return folder.relative_to(base.root).as_posix()


def _need(files: Mapping[str, bytes], path: str, empty: bool = False) -> bytes:
    data = files.get(path)
    if data is None:
        raise ArchiveError(Reason.ITEM_MISSING, path)
    if not data and not empty:
        raise ArchiveError(Reason.ITEM_INVALID, f"{path} is empty")
    return data


def _check_database(name: str, data: bytes, tables: frozenset[str]) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        sound = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        sound, found = False, set()
    finally:
        connection.close()
    if not sound:
        raise ArchiveError(Reason.ITEM_INVALID, f"{name} is damaged")
    if tables - found:
        raise ArchiveError(Reason.ITEM_MISSING, f"{name} lacks {', '.join(sorted(tables - found))}")
