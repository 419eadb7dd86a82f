"""What an archive says of itself: a signed header in clear, and a manifest of every item inside."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rop_data.archive.errors import ArchiveError, Reason
from rop_pki.envelope import EnvelopeError, check_recipient

FORMAT_VERSION = 1
PURPOSE = "rop-archive-header-v1"
BY_POLICY, FOREVER = RETAIN = ("ByPolicy", "Forever")
SCOPES = ("All", "WithoutRootKey")
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def digest(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who can open archives. `scope` All: also the root's key."""

    name: str
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One item: path below the data directory, kind, SHA-256, bytes, generation of the keys it belongs to."""

    path: str
    kind: str
    sha256: str
    size: int
    generation: int


@dataclass(frozen=True, slots=True)
class Header:
    """The part that needs no key to read. Hashes are those of the two envelopes and of the manifest inside.

    `retain` Forever: no prune deletes it.
    """

    instance_id: str
    root_sha256: str
    signer: str
    generation: int
    created: str
    body_sha256: str
    body_size: int
    root_key_sha256: str
    root_key_size: int
    manifest_sha256: str
    recipients: tuple[Recipient, ...]
    retain: str = BY_POLICY

    def encode(self) -> bytes:
        """The signed bytes."""
        return json.dumps({"formatVersion": FORMAT_VERSION, **asdict(self)}, indent=1).encode() + b"\n"

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.created)


def decode_header(data: bytes) -> Header:
    """The inverse of `Header.encode`. Raises ArchiveError."""
    try:
        raw = json.loads(data)
        version = raw.pop("formatVersion")
        if version != FORMAT_VERSION:
            raise ArchiveError(Reason.DAMAGED, f"format {version!r} of another program version")
        raw["recipients"] = tuple(Recipient(**each) for each in raw["recipients"])
        header = Header(**raw)
        sound = header.created_at.tzinfo is not None and type(header.generation) is int
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ArchiveError(Reason.DAMAGED, "the header cannot be read") from None
    if (
        not sound
        or header.retain not in RETAIN
        or not all(map(_HEX.fullmatch, (header.signer, header.root_sha256)))
    ):
        raise ArchiveError(Reason.DAMAGED, "the header is not well-formed")
    return header


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """The manifest's bytes."""
    return json.dumps([asdict(each) for each in entries], indent=1).encode() + b"\n"


def decode_entries(data: bytes) -> list[Entry]:
    """The inverse of `encode_entries`. Raises ArchiveError."""
    try:
        found = [Entry(**each) for each in json.loads(data)]
    except (ValueError, TypeError, RecursionError):
        raise ArchiveError(Reason.DAMAGED, "the manifest cannot be read") from None
    for each in found:
        texts, numbers = (each.path, each.kind, each.sha256), (each.size, each.generation)
        if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
            raise ArchiveError(Reason.DAMAGED, "the manifest is not well-formed")
    return found


def parse_recipients(text: str) -> tuple[Recipient, ...]:
    """Recipients from lines `NAME All|WithoutRootKey KEY`; `#` starts a comment line. Raises ArchiveError."""
    found: dict[str, Recipient] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 2)
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or words[1] not in SCOPES or not _NAME.fullmatch(words[0]) or words[0] in found:
            raise ArchiveError(
                Reason.RECIPIENTS, f"line {number} must be `NAME All|WithoutRootKey KEY`, names once"
            )
        try:
            check_recipient(words[2].strip())
        except EnvelopeError as failure:
            raise ArchiveError(Reason.RECIPIENTS, f"line {number}: {failure}") from None
        found[words[0]] = Recipient(words[0], words[1], words[2].strip())
    return tuple(found.values())


def check_recipients(recipients: tuple[Recipient, ...], single: str | None) -> None:
    """At least two different keys of scope All, or one whose name is acknowledged. Raises ArchiveError."""
    whole: Mapping[str, str] = {each.key: each.name for each in recipients if each.scope == "All"}
    if len(whole) >= 2 or (len(whole) == 1 and single in whole.values()):
        return
    raise ArchiveError(
        Reason.RECIPIENTS,
        f"two recipients of scope All are needed, {len(whole)} found: with one, a lost key loses every archive"
        " (--single-recipient NAME accepts that)",
    )


def as_document(header: Header) -> dict[str, Any]:
    """The header for people and programs, with names as in the other documents."""
    return {
        "instanceID": header.instance_id,
        "rootSHA256": header.root_sha256,
        "signer": header.signer,
        "generation": header.generation,
        "created": header.created,
        "retain": header.retain,
        "recipients": [asdict(each) for each in header.recipients],
    }
