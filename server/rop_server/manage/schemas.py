"""JSON schemas of the documents of the management interface."""

from __future__ import annotations

from rop_server.manage.backuptable import BACKUP_SCHEMAS
from rop_server.manage.firmwaretable import FIRMWARE_SCHEMAS
from rop_server.manage.gatewaytable import GATEWAY_SCHEMAS
from rop_server.schema import ANY, FLAG, MAYBE, NUMBER, TEXT, TIME, Schema, array, mapping, maybe, of, ref

SCHEMAS: dict[str, Schema] = {
    "Error": of(error=of("symbol", "message", symbol=TEXT, message=TEXT, field=TEXT, rule=TEXT)),
    "Readiness": of(ready=FLAG, ports=mapping(FLAG)),
    "Identity": of(
        instanceID=TEXT,
        host=TEXT,
        version=TEXT,
        rootSHA256=TEXT,
        caHash=TEXT,
        adopted=FLAG,
        ports=mapping(NUMBER),
        serverCertificate=of(notAfter=TIME, serial=TEXT),
        manager=of(id=MAYBE, fence=NUMBER),
        configFileChanged=FLAG,
        pendingRestart=array(TEXT),
        features=array(TEXT),
    ),
    "Device": of(
        uid=TEXT,
        state={"type": "string", "enum": ["Online", "Asleep", "Offline", "NeverSeen"]},
        family=MAYBE,
        model=MAYBE,
        firmware=MAYBE,
        hardware=MAYBE,
        address=MAYBE,
        firstSeen=TIME,
        lastSeen=TIME,
        since=TIME,
        connectedAt=TIME,
        battery=maybe(of(percent=NUMBER, charge=MAYBE, at=TIME)),
        certificate=maybe(
            of(serial=TEXT, notAfter=TIME, issuer=MAYBE, issuedAt=TIME, by=MAYBE, address=MAYBE),
        ),
        pinnedRoot=maybe(of(sha256=TEXT, assumed=FLAG)),
        wired={"type": ["boolean", "null"]},
        capability=maybe(
            of(
                channels=array(
                    of(
                        channel=NUMBER,
                        streams=array(TEXT),
                        rotates=FLAG,
                        diagonals=FLAG,
                        zooms=FLAG,
                        focuses=FLAG,
                        wifi=FLAG,
                    )
                )
            )
        ),
        registeredAt=TIME,
        access={"type": "string", "enum": ["Allowed", "Denied"]},
        deniedAt=TIME,
        claimed=FLAG,
        wakes=NUMBER,
        lastWake=TIME,
        settings=mapping(of(value=ANY, at=TIME, how={"type": "string", "enum": ["Read", "Written"]})),
    ),
    "DeviceList": of(epoch=TEXT, next=NUMBER, items=array(ref("Device"))),
    "Event": of(seq=NUMBER, type=TEXT, uid=MAYBE, at=TIME, data=mapping(ANY)),
    "Events": of(epoch=TEXT, next=NUMBER, reset=FLAG, items=array(ref("Event"))),
    "LogLines": of(next=NUMBER, items=array(mapping(ANY))),
    "AuditLines": of(
        items=array(
            of(
                *("at", "interface", "operation", "caller", "status"),
                at=TIME,
                interface={"type": "string", "enum": ["Management", "ClientAPI"]},
                operation=TEXT,
                caller=TEXT,
                status=NUMBER,
                uid=TEXT,
            )
        )
    ),
    "SettingsRequest": {
        "type": "object",
        "properties": {
            "write": {
                "type": "object",
                "properties": {
                    "displayName": TEXT,
                    "pir.enabled": FLAG,
                    "pir.sensitivity": {"type": "integer", "minimum": 0, "maximum": 100},
                    "pir.reduceMistakes": FLAG,
                    "alarm.enabled": FLAG,
                },
                "additionalProperties": False,
            },
            "read": array(TEXT),
        },
        "additionalProperties": False,
    },
    "SettingsAnswer": of(woke=FLAG, written=array(TEXT), values=mapping(ANY), errors=mapping(TEXT)),
    "WifiRequest": {
        "type": "object",
        "properties": {
            "ssid": {"type": "string", "minLength": 1, "maxLength": 127},
            "key": {"type": "string", "maxLength": 127, "writeOnly": True},
            "countryCode": {"type": "string", "pattern": "^[A-Z]{2}$"},
        },
        "required": ["ssid", "key", "countryCode"],
        "additionalProperties": False,
    },
    "WifiNetworks": of(
        woke=FLAG,
        networks=array(
            of(ssid=TEXT, signal={"type": ["integer", "null"]}, encrypted={"type": ["boolean", "null"]})
        ),
    ),
    "Session": of(
        uid=TEXT,
        caHash=TEXT,
        code=TEXT,
        host=TEXT,
        getCAPort=NUMBER,
        getCertPort=NUMBER,
        registerPort=NUMBER,
        time=NUMBER,
        expiresAt=TIME,
    ),
    "Claims": of(policy={"type": "string", "enum": ["Documented", "Open"]}, uids=array(TEXT)),
    "Alarms": of(
        sinks=array(
            of(
                name=TEXT,
                address=MAYBE,
                enabled=FLAG,
                down=FLAG,
                waiting=NUMBER,
                oldest=TIME,
                dead=NUMBER,
                last=MAYBE,
                counts=mapping(NUMBER),
            )
        ),
        dropped=mapping(NUMBER),
    ),
    "DeadAlarms": of(items=array(of(id=TEXT, sink=TEXT, uid=TEXT, at=TIME, deadAt=TIME, reason=TEXT, body=TEXT))),
    "ReplayRequest": {
        "type": "object",
        "properties": {
            "sink": TEXT,
            "uid": {"type": "string", "pattern": "^[A-Z0-9]{16}$"},
            "ids": {"type": "array", "items": TEXT, "maxItems": 1000},
        },
        "additionalProperties": False,
    },
    "SinkRequest": {
        "type": "object",
        "properties": {
            "url": {"type": "string", "format": "uri", "maxLength": 1024, "writeOnly": True},
            "key": {"type": "string", "writeOnly": True},
            "enabled": FLAG,
            "filter": {
                "type": "object",
                "properties": {"uids": array(TEXT), "statuses": array(TEXT), "types": array(TEXT)},
                "additionalProperties": False,
            },
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    "StreamList": of(
        items=array(
            of(
                uid=TEXT,
                channel=NUMBER,
                kind={"type": "string", "enum": ["live", "recording"]},
                name=TEXT,
                handle=NUMBER,
                codec=MAYBE,
                viewers=NUMBER,
                connections=NUMBER,
                bytes=NUMBER,
                frames=NUMBER,
                dropped=NUMBER,
                idle={"type": "number"},
            )
        )
    ),
    "Rotation": of(
        item=TEXT,
        generation=NUMBER,
        target={"type": ["integer", "null"]},
        phase=TEXT,
        done=NUMBER,
        total=NUMBER,
        since=TIME,
        detail=mapping(ANY),
    ),
    "Pki": of(
        root=of(sha256=TEXT, notAfter=TIME, keyPresent=FLAG),
        intermediate=of(keyID=TEXT, serial=TEXT, notAfter=TIME),
        serverCertificate=of(serial=TEXT, notAfter=TIME),
        rootPEM=TEXT,
        rotations=array(ref("Rotation")),
        census=of(
            devices=NUMBER,
            withoutCertificate=NUMBER,
            byRoot=array(of(sha256=TEXT, devices=NUMBER)),
            assumedRoot=NUMBER,
            byIssuer=array(of(keyID=TEXT, devices=NUMBER)),
            byExpiryWeek=array(of(week=TEXT, devices=NUMBER)),
            byDeviceKey=array(of(key=TEXT, devices=NUMBER)),
            expired=of(devices=NUMBER, named=array(TEXT)),
            renewalOverdue=of(devices=NUMBER, named=array(TEXT)),
        ),
    ),
    "RotationList": of(items=array(ref("Rotation"))),
    "RotationOrder": {
        "type": "object",
        "properties": {
            "step": {
                "type": "string",
                "enum": ["Prepare", "CrossSign", "Canary", "Roll", "Observe", "Retire", "Abort"],
            },
            "toGeneration": {"type": "integer", "minimum": 1},
            "canary": array(TEXT),
            "devicesPerMinute": {"type": "number", "exclusiveMinimum": 0},
            "acknowledged": MAYBE,
            "material": mapping(TEXT),
        },
        "required": ["step", "toGeneration"],
    },
    **BACKUP_SCHEMAS,
    **FIRMWARE_SCHEMAS,
    **GATEWAY_SCHEMAS,
    "Manager": of(id=MAYBE, fence=NUMBER),
    "Config": of(members=mapping(ANY), masked=mapping(TEXT), fileChanged=FLAG, pendingRestart=array(TEXT)),
    "Applied": of(applied=array(TEXT), restart=array(TEXT), unchanged=array(TEXT)),
}
