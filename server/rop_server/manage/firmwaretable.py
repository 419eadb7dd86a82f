"""The operations on firmware files and upgrades."""

from __future__ import annotations

from rop_server.manage.operation import Operation
from rop_server.schema import FLAG, MAYBE, NUMBER, TEXT, TIME, Schema, array, of, ref

HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
WAKE = {"wake": {"type": "string", "enum": ["never", "allow"]}}

FIRMWARE_OPERATIONS = (
    Operation(
        "GET",
        "/firmware",
        "list_firmware",
        "The files of the firmware folder, with their hashes.",
        "Observe",
        reply=ref("FirmwareList"),
    ),
    Operation(
        "PUT",
        "/firmware/{name}",
        "put_firmware",
        "Store a file; the body is the file itself. Stored as a whole with exactly this hash, or not at all.",
        "Control",
        query={"sha256": HASH},
        reply=ref("FirmwareList"),
        replies={
            409: "`duplicate_firmware`: another file has this name.",
            422: "`hash_mismatch`, `invalid_filename`, or the folder is full.",
        },
        fenced=True,
    ),
    Operation(
        "DELETE",
        "/firmware/{name}",
        "delete_firmware",
        "Remove a firmware file. A running upgrade with it goes on.",
        "Control",
        reply=ref("FirmwareList"),
        replies={404: "`file_not_found`."},
        fenced=True,
    ),
    Operation(
        "GET",
        "/upgrades",
        "list_upgrades",
        "The newest upgrade of every device since the server started, and which devices are held for whom.",
        "Observe",
        reply=ref("Upgrades"),
    ),
    Operation(
        "POST",
        "/devices/{uid}/upgrade",
        "begin_upgrade",
        "Begin an upgrade with a file of this hash. Truth is the version at the device's next handshake.",
        "Control",
        query=WAKE,
        body=ref("UpgradeRequest"),
        reply=ref("Upgrade"),
        replies={
            400: "`duplicate_upgrade`: one is under way, or the device is held for somebody else;"
            " `up_to_upgrade_session_limit`; `file_not_found`.",
            404: "`device_offline`.",
            409: "`device_asleep`: it sleeps and `wake` is `never`.",
        },
        fenced=True,
    ),
    Operation(
        "PUT",
        "/upgrades/holds",
        "hold_upgrades",
        "These devices, and no others, are the holder's for so many seconds: upgrades in another name, also by"
        " 61009, are refused. A device that somebody else holds stays theirs.",
        "Control",
        body=ref("HoldRequest"),
        reply=ref("Upgrades"),
        fenced=True,
    ),
)

FIRMWARE_SCHEMAS: dict[str, Schema] = {
    "FirmwareList": of(items=array(of(name=TEXT, size=NUMBER, modified=TIME, sha256=TEXT))),
    "Upgrade": of(
        uid=TEXT,
        session=TEXT,
        file=TEXT,
        sha256=MAYBE,
        factoryReset=FLAG,
        holder=MAYBE,
        status={
            "type": "string",
            "enum": [
                *("upgrading", "upgrade_success", "same_version", "file_check_failed", "failed"),
                *("out_of_memory", "focus_error", "low_battery", "unknown_error"),
            ],
        },
        reason=TEXT,
        before=MAYBE,
        beganAt=TIME,
        endedAt=TIME,
    ),
    "Upgrades": of(
        items=array(ref("Upgrade")), holds={"type": "object", "additionalProperties": {"type": "string"}}
    ),
    "UpgradeRequest": of("file", "sha256", file=TEXT, sha256=HASH, factoryReset=FLAG, holder=MAYBE),
    "HoldRequest": of(
        *("holder", "uids", "seconds"),
        holder={"type": "string", "minLength": 1, "maxLength": 200},
        uids=array({"type": "string", "pattern": "^[A-Z0-9]{16}$"}),
        seconds={"type": "integer", "minimum": 1, "maximum": 86_400},
    ),
}
