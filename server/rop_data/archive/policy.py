"""When archives are made, for whom, where they go and how long they stay: the member `backup` of rop.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from rop_data.archive.errors import ArchiveError
from rop_data.archive.manifest import SCOPES, Recipient, check_recipients
from rop_data.config import ConfigError
from rop_pki.envelope import EnvelopeError, check_recipient

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
MAX_RECIPIENTS, MAX_TARGETS, MAX_KEEP, MAX_DAYS = 64, 16, 10_000, 36_500
MAX_PEM, MAX_REVISION = 65_536, 128
_MEMBERS = (
    "recipients",
    "singleRecipient",
    "targets",
    "onChange",
    "schedule",
    "timeZone",
    "retention",
    "revision",
)
_S3 = ("endpoint", "bucket", "prefix", "region", "caPEM")


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of an S3-compatible service. `prefix`: no slash at its ends; `ca_pem` replaces the system's CAs."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    ca_pem: str | None = None

    def encode(self) -> dict[str, Any]:
        """The member `s3`."""
        values = (self.endpoint, self.bucket, self.prefix, self.region, self.ca_pem)
        return dict(zip(_S3, values, strict=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Where archives are kept: a directory or a bucket, exactly one."""

    name: str
    directory: str | None = None
    s3: S3Place | None = None

    @property
    def credentials_file(self) -> str:
        """The secret of a bucket, below the data directory."""
        return f"secrets/backup-{self.name}.json"

    @property
    def shown(self) -> str:
        """Where it is, for people."""
        if self.s3 is None:
            return str(self.directory)
        return "/".join(filter(None, (self.s3.endpoint, self.s3.bucket, self.s3.prefix)))

    def encode(self) -> dict[str, Any]:
        """The member of `targets`."""
        if self.s3 is not None:
            return {"name": self.name, "s3": self.s3.encode()}
        return {"name": self.name, "directory": {"path": self.directory}}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Moments of a cron expression of five fields in a time zone."""

    text: str
    zone: str

    def after(self, moment: datetime) -> datetime:
        """The first moment later than this one (aware, in the schedule's zone)."""
        return next(CronSim(self.text, moment.astimezone(ZoneInfo(self.zone))))


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """`single_recipient` names the only recipient of scope All when there is one. `revision` is the manager's mark
    of what it has set; it is kept and told, never read.
    """

    recipients: tuple[Recipient, ...]
    targets: tuple[Place, ...]
    single_recipient: str | None = None
    on_change: bool = True
    schedule: Schedule | None = None
    keep_last: int = 14
    keep_days: int = 90
    revision: str | None = field(default=None)

    def target(self, name: str) -> Place | None:
        """The target of this name."""
        return next((each for each in self.targets if each.name == name), None)

    def encode(self) -> dict[str, Any]:
        """The member `backup` of rop.json; it holds no secret."""
        return {
            "recipients": [{"name": r.name, "key": r.key, "scope": r.scope} for r in self.recipients],
            "singleRecipient": self.single_recipient,
            "targets": [each.encode() for each in self.targets],
            "onChange": self.on_change,
            "schedule": self.schedule.text if self.schedule else None,
            "timeZone": self.schedule.zone if self.schedule else "UTC",
            "retention": {"keepLast": self.keep_last, "keepDays": self.keep_days},
            "revision": self.revision,
        }


def decode(raw: Any, where: str = "rop.backup") -> BackupPolicy | None:
    """The member `backup` of rop.json; None: no archives are made. Raises ConfigError naming the member."""
    if raw is None:
        return None
    _known(raw, where, _MEMBERS)
    recipients = _list(raw.get("recipients"), f"{where}.recipients", MAX_RECIPIENTS)
    targets = _list(raw.get("targets"), f"{where}.targets", MAX_TARGETS)
    retention = raw.get("retention") or {}
    _known(retention, f"{where}.retention", ("keepLast", "keepDays"))
    policy = BackupPolicy(
        tuple(_recipient(each, f"{where}.recipients[{n}]") for n, each in enumerate(recipients)),
        tuple(decode_place(each, f"{where}.targets[{n}]") for n, each in enumerate(targets)),
        _text(raw.get("singleRecipient"), f"{where}.singleRecipient", 63),
        _flag(raw.get("onChange", True), f"{where}.onChange"),
        _schedule(raw.get("schedule"), raw.get("timeZone"), where),
        _whole(retention.get("keepLast", 14), f"{where}.retention.keepLast", 1, MAX_KEEP),
        _whole(retention.get("keepDays", 90), f"{where}.retention.keepDays", 0, MAX_DAYS),
        _text(raw.get("revision"), f"{where}.revision", MAX_REVISION),
    )
    _unique([each.name for each in policy.recipients], f"{where}.recipients")
    _unique([each.name for each in policy.targets], f"{where}.targets")
    if not policy.targets:
        raise ConfigError(f"{where}.targets", "at least one")
    try:
        check_recipients(policy.recipients, policy.single_recipient)
    except ArchiveError as failure:
        raise ConfigError(f"{where}.recipients", f"usable: {failure}") from None
    return policy


def _recipient(raw: Any, where: str) -> Recipient:
    _known(raw, where, ("name", "key", "scope"))
    name, key, scope = raw.get("name"), raw.get("key"), raw.get("scope", "All")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}.name", "1 to 63 small letters, digits, hyphens", repr(name)[:80])
    if scope not in SCOPES:
        raise ConfigError(f"{where}.scope", f"one of {', '.join(SCOPES)}", repr(scope)[:80])
    try:
        check_recipient(key if isinstance(key, str) else "")
    except EnvelopeError as failure:
        # It may be a private key by mistake, so it is not shown.
        raise ConfigError(f"{where}.key", f"a public key: {failure}") from None
    return Recipient(name, scope, key)


def decode_place(raw: Any, where: str) -> Place:
    """One member of `targets`. Raises ConfigError."""
    _known(raw, where, ("name", "directory", "s3"))
    name, directory, bucket = raw.get("name"), raw.get("directory"), raw.get("s3")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}.name", "1 to 63 small letters, digits, hyphens", repr(name)[:80])
    if (directory is None) == (bucket is None):
        raise ConfigError(where, "exactly one of directory and s3")
    if bucket is not None:
        return Place(name, s3=_s3(bucket, f"{where}.s3"))
    _known(directory, f"{where}.directory", ("path",))
    path = directory.get("path")
    fits = isinstance(path, str) and path.isprintable() and len(path) <= 1024
    if not fits or not PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ConfigError(f"{where}.directory.path", "an absolute path", repr(path)[:80])
    return Place(name, directory=path)


def _s3(raw: Any, where: str) -> S3Place:
    _known(raw, where, _S3)
    endpoint, bucket, prefix = raw.get("endpoint"), raw.get("bucket"), raw.get("prefix") or ""
    region, pem = raw.get("region") or "us-east-1", raw.get("caPEM")
    if not isinstance(endpoint, str) or not _is_endpoint(endpoint):
        raise ConfigError(f"{where}.endpoint", "https://HOST[:PORT] or http://HOST[:PORT]")
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{where}.bucket", "the name of a bucket", repr(bucket)[:80])
    if not isinstance(prefix, str) or (prefix and not _PREFIX.fullmatch(prefix)) or len(prefix) > 512:
        raise ConfigError(f"{where}.prefix", "letters, digits and ._- with single slashes", repr(prefix)[:80])
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        raise ConfigError(f"{where}.region", "the name of a region", repr(region)[:80])
    if pem is not None and (
        not isinstance(pem, str) or "BEGIN CERTIFICATE" not in pem or len(pem) > MAX_PEM or "PRIVATE" in pem
    ):
        raise ConfigError(f"{where}.caPEM", "certificates in PEM")
    return S3Place(endpoint.rstrip("/"), bucket, prefix, region, pem)


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        fits = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False
    plain = "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment
    return fits and plain and text.isprintable() and " " not in text and len(text) <= 300


def _schedule(text: Any, zone: Any, where: str) -> Schedule | None:
    zone = "UTC" if zone is None else zone
    try:
        ZoneInfo(zone)
    except (ValueError, TypeError, OSError, KeyError):
        raise ConfigError(f"{where}.timeZone", "a time zone such as Europe/Berlin", repr(zone)[:80]) from None
    if text is None:
        return None
    schedule = Schedule(text, zone)
    try:
        if not isinstance(text, str) or len(text.split()) != 5:
            raise CronSimError
        schedule.after(datetime.now(ZoneInfo(zone)) - timedelta(days=1))
    except (CronSimError, StopIteration, AttributeError):
        raise ConfigError(
            f"{where}.schedule", "a cron expression of five fields such as `0 3 * * *`", repr(text)[:80]
        ) from None
    return schedule


def _known(raw: Any, where: str, members: tuple[str, ...]) -> None:
    if not isinstance(raw, Mapping):
        raise ConfigError(where, "an object")
    for name in raw:
        if name not in members:
            raise ConfigError(f"{where}.{str(name)[:40]}", f"one of {', '.join(members)}")


def _list(raw: Any, where: str, limit: int) -> list[Any]:
    if not isinstance(raw, list) or len(raw) > limit:
        raise ConfigError(where, f"a list of at most {limit}")
    return raw


def _text(raw: Any, where: str, limit: int) -> str | None:
    if raw is not None and (not isinstance(raw, str) or not raw.isprintable() or not 0 < len(raw) <= limit):
        raise ConfigError(where, f"text of at most {limit} printable characters")
    return raw


def _flag(raw: Any, where: str) -> bool:
    if not isinstance(raw, bool):
        raise ConfigError(where, "true or false", repr(raw)[:80])
    return raw


def _whole(raw: Any, where: str, low: int, high: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
        raise ConfigError(where, f"a whole number from {low} to {high}", repr(raw)[:80])
    return raw


def _unique(names: list[str], where: str) -> None:
    if len(set(names)) != len(names):
        raise ConfigError(where, "of different names")
