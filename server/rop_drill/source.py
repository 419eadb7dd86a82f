"""Where the archive of a drill comes from: the newest of a target, a file, or a stream."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rop_data.archive.create import prefix_of
from rop_data.archive.errors import ArchiveError
from rop_data.archive.policy import decode_place
from rop_data.archive.restore import Expectation
from rop_data.archive.s3 import S3Target, decode_credentials
from rop_data.archive.shelf import Label, label
from rop_data.archive.target import MAX_ARCHIVE, SUFFIX, Target
from rop_data.config import ConfigError
from rop_drill.reasons import DrillFailed, Reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An archive as the target gave it, encrypted and not trusted yet."""

    name: str
    data: bytes = field(repr=False)


def newest(target: Target, expected: Expectation) -> Fetched:
    """The newest archive of this site, by the names that archives have. Raises DrillFailed.

    A broken one is taken as well: a restore would need the newest, so it must be whole. When there are archives of
    other sites alone, the newest of those tells what is wrong.
    """
    try:
        labels = [told for each in target.names() if (told := label(each.name))]
        own = [each for each in labels if each.prefix == prefix_of(expected.signer or "")]
        last = max(own or labels, default=None)
        if last is None:
            raise DrillFailed(Reason.BACKUP_MISSING, "the target holds no archive")
        _check_generation(last, own)
        return Fetched(last.name, target.get(last.name))
    except ArchiveError as failure:
        raise DrillFailed.of(failure) from None


def _check_generation(last: Label, own: list[Label]) -> None:
    """Keys that were replaced must not come back unnoticed."""
    newer = max((each.generation for each in own), default=last.generation)
    if newer > last.generation:
        raise DrillFailed(
            Reason.ARCHIVE_STALE, f"{last.name} is the newest, but its keys are older than generation {newer}"
        )


def of_file(path: Path) -> Fetched:
    """One archive. Raises DrillFailed."""
    try:
        return Fetched(path.name, path.read_bytes())
    except OSError as failure:
        raise DrillFailed(Reason.TARGET_UNREACHABLE, f"{path}: {failure.strerror}") from None


def of_stream(stream: BinaryIO) -> Fetched:
    """An archive that a command streams. Raises DrillFailed."""
    data = stream.read(MAX_ARCHIVE + 1)
    if not data:
        raise DrillFailed(Reason.TARGET_UNREACHABLE, "nothing came on standard input")
    if len(data) > MAX_ARCHIVE:
        raise DrillFailed(Reason.TARGET_UNREACHABLE, f"the stream has more than {MAX_ARCHIVE} bytes")
    return Fetched(f"standard-input{SUFFIX}", data)


def bucket(text: bytes, loopback: bool) -> Target:
    """An S3 target from `{endpoint, bucket, prefix?, region?, caPEM?, credentials: {accessKey, secretKey}}`.

    Raises ConfigError naming the member; it holds no secret.
    """
    try:
        raw = json.loads(text)
        credentials = decode_credentials(raw.pop("credentials", None))
    except ValueError as failure:
        told = "JSON" if isinstance(failure, json.JSONDecodeError) else f"with credentials: {failure}"
        raise ConfigError("--s3", told) from None
    except (AttributeError, TypeError):
        raise ConfigError("--s3", "a JSON object") from None
    place = decode_place({"name": "drill", "s3": raw}, "--s3")
    assert place.s3 is not None
    return S3Target(place.s3, credentials, loopback)
