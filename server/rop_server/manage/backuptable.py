"""The operations on backups and their documents."""

from __future__ import annotations

from rop_server.manage.operation import Operation
from rop_server.schema import FLAG, MAYBE, NUMBER, TEXT, TIME, Schema, array, maybe, of, ref

TARGET = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
NO_TARGET = "`target_unreachable`, `target_refused`, `target_not_usable`."
NO_ARCHIVE = "`target_unknown`, `archive_unknown`."

BACKUP_OPERATIONS = (
    Operation(
        "GET",
        "/backup",
        "get_backup",
        "The backup policy without secrets, and what is stored where. `covered`: the present keys are in an"
        " archive that was read back from a target.",
        "Observe",
        reply=ref("Backup"),
    ),
    Operation(
        "PUT",
        "/backup",
        "put_backup",
        "Set the backup policy. Credentials of buckets go into files of their own and are never told; a bucket"
        " without them keeps those it has.",
        "Admin",
        body=ref("BackupRequest"),
        reply=ref("Backup"),
        replies={422: "`invalid_config` with field and rule; nothing is changed."},
        fenced=True,
    ),
    Operation(
        "POST",
        "/backup/compare",
        "compare_backup",
        "Whether this is the present policy, credentials included; a bucket without them is compared without.",
        "Control",
        body=ref("BackupRequest"),
        reply=of(same=FLAG),
        replies={422: "`invalid_config` with field and rule."},
    ),
    Operation(
        "DELETE",
        "/backup",
        "delete_backup",
        "Make no more archives. Those on the targets stay.",
        "Admin",
        reply=ref("Backup"),
        fenced=True,
    ),
    Operation(
        "POST",
        "/backup/runs",
        "run_backup",
        "Ask for an archive now. The same id asks once, also after a restart. `acceptClock`: the clock is right"
        " although it is behind the last archive.",
        "Control",
        body=ref("BackupRunRequest"),
        reply=ref("BackupRun"),
        replies={
            404: "`policy_unknown`, `target_unknown`.",
            409: "`run_conflict`: this id was asked for in another way; `data_not_writable`.",
        },
    ),
    Operation(
        "GET",
        "/backup/runs/{name}",
        "get_backup_run",
        "A run by its id.",
        "Observe",
        reply=ref("BackupRun"),
        replies={404: "`run_unknown`."},
    ),
    Operation(
        "GET",
        "/backup/archives",
        "list_archives",
        "This site's archives as the targets list them now, newest first.",
        "Observe",
        query={"target": TARGET},
        reply=ref("BackupArchives"),
        replies={404: "`target_unknown`.", 409: NO_TARGET},
    ),
    Operation(
        "GET",
        "/backup/archives/{name}",
        "get_archive",
        "The bytes of an archive; they are encrypted to the recipients.",
        "Control",
        query={"target": TARGET},
        content="application/octet-stream",
        replies={404: NO_ARCHIVE, 409: NO_TARGET},
    ),
    Operation(
        "GET",
        "/backup/sheet",
        "get_recovery_sheet",
        "The recovery sheet as one HTML page to print: root, signer, recipients, where the archives are, the"
        " commands of a restore. It holds no secret.",
        "Observe",
        content="text/html",
        replies={404: "`archive_unknown`: none is stored yet.", 409: NO_TARGET},
    ),
    Operation(
        "POST",
        "/backup/archives/{name}/verify",
        "verify_archive",
        "Read an archive back once more and check its signature and hashes.",
        "Control",
        query={"target": TARGET},
        reply=ref("StoredArchive"),
        replies={404: NO_ARCHIVE, 409: f"{NO_TARGET} `damaged`, `signature_invalid`, `foreign_signer`."},
    ),
    Operation(
        "POST",
        "/backup/archives/{name}/proven",
        "prove_archive",
        "Note that a drill opened an archive, at epoch seconds `at` (now).",
        "Control",
        query={"target": TARGET},
        body={
            "type": "object",
            "properties": {"at": {"type": "number", "exclusiveMinimum": 0}},
            "additionalProperties": False,
        },
        reply=ref("StoredArchive"),
        replies={404: NO_ARCHIVE, 409: f"{NO_TARGET} `damaged`, `foreign_signer`, `data_not_writable`."},
    ),
    Operation(
        "POST",
        "/backup/prune",
        "prune_archives",
        "Delete what the retention no longer wants; never the last good archive of a key generation. A bucket"
        " needs `credentials` of its own, which are not kept.",
        "Admin",
        body=ref("PruneRequest"),
        reply=of(deleted={"type": "array", "items": {"type": "string"}}),
        replies={404: "`target_unknown`.", 409: f"{NO_TARGET} `clock_implausible`."},
        fenced=True,
    ),
)

_NAME: Schema = {"type": "string", "maxLength": 63}
_STATE: Schema = {"type": "string", "enum": ["Stored", "Proven"]}
_RETAIN: Schema = {"type": "string", "enum": ["ByPolicy", "Forever"]}
_PROBLEM = maybe(of(reason=TEXT, message=TEXT, since=TIME))
_STORED = {
    "name": TEXT,
    "generation": NUMBER,
    "created": TIME,
    "size": NUMBER,
    "retain": _RETAIN,
    "state": _STATE,
    "storedAt": TIME,
    "provenAt": TIME,
}
_CREDENTIALS: Schema = {
    **of("accessKey", "secretKey", accessKey=TEXT, secretKey=TEXT, sessionToken=TEXT),
    "additionalProperties": False,
    "writeOnly": True,
}


def _closed(schema: Schema) -> Schema:
    return {**schema, "additionalProperties": False}


def _policy(bucket: Schema) -> Schema:
    scope: Schema = {"type": "string", "enum": ["All", "WithoutRootKey"]}
    recipient = of("name", "key", name=_NAME, key=TEXT, scope=scope)
    place = of("name", name=_NAME, directory=_closed(of(path=TEXT)), s3=bucket)
    return of(
        "recipients",
        "targets",
        recipients=array(_closed(recipient)),
        singleRecipient=MAYBE,
        targets=array(_closed(place)),
        onChange=FLAG,
        schedule=MAYBE,
        timeZone=TEXT,
        retention=_closed({"type": "object", "properties": {"keepLast": NUMBER, "keepDays": NUMBER}}),
        revision=MAYBE,
    )


def _bucket(**more: Schema) -> Schema:
    told = {"endpoint": TEXT, "bucket": TEXT, "prefix": TEXT, "region": TEXT, "caPEM": MAYBE}
    return _closed(of("endpoint", "bucket", **told, **more))


BACKUP_SCHEMAS: dict[str, Schema] = {
    "BackupPolicy": _closed(_policy(_bucket())),
    "BackupRequest": _closed(of(policy=_closed(_policy(_bucket(credentials=_CREDENTIALS))))),
    "Backup": of(
        policy=maybe(ref("BackupPolicy")),
        signer=MAYBE,
        generation={"type": ["integer", "null"]},
        covered=FLAG,
        problem=_PROBLEM,
        targets=array(
            of(
                name=TEXT,
                place=TEXT,
                busy=FLAG,
                covered=FLAG,
                lastAttempt=TIME,
                stored=maybe(of(**_STORED)),
                proven=maybe(of(**_STORED)),
                problem=_PROBLEM,
            )
        ),
    ),
    "StoredArchive": of(target=TEXT, **_STORED),
    "BackupArchives": of(
        items=array(
            of(
                target=TEXT,
                name=TEXT,
                size=NUMBER,
                generation={"type": ["integer", "null"]},
                created=TIME,
                retain=MAYBE,
                state={"type": "string", "enum": ["Listed", "Stored", "Proven"]},
            )
        )
    ),
    "BackupRunRequest": _closed(
        of("id", id=TEXT, targets=array(TARGET), retain=_RETAIN, acceptClock=FLAG),
    ),
    "BackupRun": of(
        id=TEXT,
        state={"type": "string", "enum": ["Pending", "Complete", "Failed"]},
        retain=_RETAIN,
        archive=MAYBE,
        generation={"type": ["integer", "null"]},
        requestedAt=TIME,
        finishedAt=TIME,
        targets=array(
            of(
                name=TEXT,
                state={"type": "string", "enum": ["Pending", "Stored", "Failed"]},
                message=MAYBE,
                sha256=MAYBE,
            )
        ),
    ),
    "PruneRequest": _closed(of("target", target=TARGET, credentials=_CREDENTIALS, dryRun=FLAG)),
}
