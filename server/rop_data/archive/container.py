"""The file of an archive: a tar of a signed header in clear and two age envelopes.

Only one byte sequence stands for one content, so a flipped bit anywhere is found.
`tar` and `age` alone can open it.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from rop_data.archive import manifest
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.items import LEDGER, Identity, Items, identify, keys_digest, kind
from rop_data.archive.manifest import PURPOSE, Entry, Header, digest
from rop_pki import signer
from rop_pki.envelope import EnvelopeError, Identities, open_sealed

MEMBERS = ("header.json", "header.sig", "body.age", "root-key.age")
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Container:
    """An archive whose signature and hashes hold. `header` tells who made it; whom to trust is the caller's."""

    header: Header
    body: bytes = field(repr=False)
    root_key: bytes = field(repr=False)


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files, in order, without times and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    """The files of such a tar. Raises ArchiveError."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isreg() else None
                if file is None or entry.name in found:
                    raise ArchiveError(Reason.DAMAGED, "the archive holds something other than single files")
                found[entry.name] = file.read()
    except (tarfile.TarError, EOFError, ValueError, OSError):
        raise ArchiveError(Reason.DAMAGED, "not an archive, or cut short") from None
    return found


def read(data: bytes) -> Container:
    """Check an archive as far as possible without a key. Raises ArchiveError."""
    parts = untar(data) if data else {}
    if tuple(parts) != MEMBERS:
        raise ArchiveError(Reason.DAMAGED, "not an archive, or cut short")
    header = manifest.decode_header(parts["header.json"])
    if not signer.verify(header.signer, PURPOSE, parts["header.json"], parts["header.sig"]):
        raise ArchiveError(Reason.SIGNATURE_INVALID, "the signature of the header does not hold")
    body, root_key = parts["body.age"], parts["root-key.age"]
    if digest(body) != header.body_sha256 or digest(root_key) != header.root_key_sha256 or tar(parts) != data:
        raise ArchiveError(Reason.DAMAGED, "the content is not what the header promises")
    return Container(header, body, root_key)


def write(header: Header, key: signer.Signer, body: bytes, root_key: bytes) -> bytes:
    """The bytes of an archive."""
    encoded = header.encode()
    return tar(dict(zip(MEMBERS, (encoded, key.sign(PURPOSE, encoded), body, root_key), strict=True)))


def pack(items: Items, generation: int) -> tuple[bytes, bytes]:
    """The plaintext of a body, and its manifest."""
    entries = [Entry(path, kind(path), digest(data), len(data), generation) for path, data in items.files.items()]
    listed = manifest.encode_entries(entries)
    return gzip.compress(tar({MANIFEST: listed, **items.files}), 6, mtime=0), listed


@dataclass(frozen=True, slots=True)
class Opened:
    """A decrypted archive, every item checked. `items.root_key` is None when the identity may not open it."""

    header: Header
    entries: tuple[Entry, ...]
    items: Items = field(repr=False)
    identity: Identity


def unpack(container: Container, identities: Identities) -> Opened:
    """Decrypt, and check every item against the manifest and against the others. Raises ArchiveError."""
    header = container.header
    try:
        plain = open_sealed(container.body, identities)
    except EnvelopeError as failure:
        raise ArchiveError(Reason.DECRYPT_FAILED, str(failure)) from None
    try:
        root_key: bytes | None = open_sealed(container.root_key, identities)
    except EnvelopeError:
        root_key = None
    files = untar(_unzip(plain))
    listed = files.pop(MANIFEST, b"")
    if digest(listed) != header.manifest_sha256:
        raise ArchiveError(Reason.DAMAGED, "the manifest is not the one the header promises")
    entries = manifest.decode_entries(listed)
    _compare(entries, files, header.generation)
    items = Items(files, root_key)
    identity = identify(items)
    if (identity.signer, identity.root_sha256) != (header.signer, header.root_sha256):
        raise ArchiveError(Reason.ITEM_INVALID, "the items belong to another site than the header says")
    _check_ledger(items, header.generation)
    return Opened(header, tuple(entries), items, identity)


def _check_ledger(items: Items, generation: int) -> None:
    """The keys must be those of the generation: an older key among newer ones opens nothing any more."""
    try:
        known = json.loads(items.files[LEDGER])
        fits = (known["generation"], known["keys"]) == (generation, keys_digest(items.files))
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ArchiveError(Reason.STALE, f"the keys are not those of generation {generation}")


def _unzip(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError):
        raise ArchiveError(Reason.DAMAGED, "the body cannot be read") from None


def _compare(entries: list[Entry], files: Mapping[str, bytes], generation: int) -> None:
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ArchiveError(Reason.DAMAGED, "the manifest names a path outside")
        data = files.get(entry.path)
        if data is None:
            raise ArchiveError(Reason.ITEM_MISSING, entry.path)
        if len(data) != entry.size or digest(data) != entry.sha256:
            raise ArchiveError(Reason.ITEM_INVALID, f"{entry.path} is not what the manifest promises")
        if entry.generation != generation:
            raise ArchiveError(Reason.STALE, f"{entry.path} is of generation {entry.generation}, not {generation}")
    if len(files) != len(entries):
        raise ArchiveError(Reason.DAMAGED, "the archive holds files that the manifest does not name")
