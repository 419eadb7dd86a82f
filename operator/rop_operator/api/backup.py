"""Member `backup` of a RopServer: for whom archives of its keys are made, when, and where they go."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.base import Model, ObjectRef, SecretRef
from rop_operator.api.rules import Relation, between, list_map, matching

Label = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "a name here is 1 to 63 lower-case letters, digits and -, and begins and ends with a letter or digit",
        63,
    ),
]
PublicKey = Annotated[
    str,
    matching(
        r"(age1|ssh-ed25519 |ssh-rsa )[ -~]{10,}",
        "key is a public key: age1..., ssh-ed25519 ... or ssh-rsa ...; the private one stays with its owner",
        8192,
    ),
]
CREDENTIAL_KEYS = ("accessKey", "secretKey")


class Recipient(Model):
    """Somebody who can open the archives."""

    name: Label
    """A name for people."""
    key: PublicKey
    """Public key: age1... of age-keygen, or an SSH key."""
    scope: Literal["All", "WithoutRootKey"] = "All"
    """WithoutRootKey opens everything but the key of the root CA: for drills."""


class DirectoryTarget(Model):
    """A directory of the machine that the server runs on: another disk, or a share."""

    path: Annotated[
        str,
        matching(r"/.+", "path is an absolute path such as /mnt/backup", 1024),
    ]
    """It must exist: an unmounted disk is not taken for an empty one."""


class S3Target(Model):
    """A bucket of an S3-compatible service."""

    endpoint: Annotated[
        str,
        matching(
            r"https?://[A-Za-z0-9.:\[\]-]{1,255}/?",
            "endpoint is https://HOST or https://HOST:PORT, without a path",
            300,
        ),
    ]
    """Address of the service."""
    bucket: Annotated[str, matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "bucket is the name of a bucket", 63)]
    """It must exist; keep versions and object lock on."""
    prefix: (
        Annotated[
            str,
            matching(
                r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*",
                "prefix is made of letters, digits and ._- with single slashes",
                512,
            ),
        ]
        | None
    ) = None
    """Folder within the bucket."""
    region: Annotated[str, matching(r"[a-z0-9-]{1,64}", "region is the name of a region", 64)] = "us-east-1"
    """Region of the bucket."""
    credentials_ref: ObjectRef
    """Secret with the keys accessKey and secretKey. They need s3:PutObject, s3:GetObject and s3:ListBucket."""
    ca_ref: SecretRef | None = None
    """Certificates to trust, PEM. Left out: those of the system."""


class BackupTarget(Model):
    """Where archives go: a directory or a bucket."""

    name: Label
    """A name for people."""
    directory: DirectoryTarget | None = None
    """A directory of the server's machine."""
    s3: S3Target | None = None
    """A bucket."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="has(self.directory) != has(self.s3)",
            message="a target has exactly one of directory and s3",
            check=lambda m: (m.directory is None) != (m.s3 is None),
        ),
    )


class Retention(Model):
    """How long archives stay. The last good one of each generation of the keys is never deleted."""

    keep_last: Annotated[int, between(1, 10_000, "keepLast")] = 14
    """So many of the newest stay."""
    keep_days: Annotated[int, between(0, 36_500, "keepDays")] = 90
    """All that are younger stay."""


class Backup(Model):
    """Archives of the keys, the configuration and everything else that cannot be made again."""

    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="self.recipients.exists(r, r.scope == 'All')",
            message="at least one recipient has scope All: without one nobody could restore the root CA",
            check=lambda m: any(r.scope == "All" for r in m.recipients),
            member="recipients",
        ),
    )

    recipients: Annotated[list[Recipient], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    """Who can open the archives; two of scope All, or SingleRecipient is acknowledged."""
    targets: Annotated[list[BackupTarget], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    """Where they go."""
    on_change: bool = True
    """An archive is made when keys, configuration or denied devices change."""
    schedule: (
        Annotated[
            str,
            matching(
                r"[0-9A-Za-z*/,#?-]+( +[0-9A-Za-z*/,#?-]+){4}",
                "schedule is a cron expression of five fields such as 0 3 * * *",
                200,
            ),
        ]
        | None
    ) = None
    """And at these times in any case."""
    time_zone: Annotated[
        str,
        matching(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", "timeZone is a name such as Europe/Berlin", 64),
    ] = "UTC"
    """Time zone of the schedule."""
    retention: Retention = Retention()
    """How long archives stay in directories; buckets are pruned by hand."""

    def owner_alone(self) -> str | None:
        """Name of the only recipient of scope All, None when there are more."""
        full = [each.name for each in self.recipients if each.scope == "All"]
        return full[0] if len(full) == 1 else None
