"""JSON schemas of the documents of the client interface. Requests may have further members, answers have none.

Source: ROP v1.0 wire specification, client-api 1.2 and 2; discrepancies B9, B12, B13.
"""

from __future__ import annotations

from rop_server.client.ptz import DIRECTIONS, STEPS
from rop_server.client.records import RECORDED as RECORDED_STREAMS
from rop_server.client.validation import MAX_CHANNEL
from rop_server.core.wifi import MAX_BYTES
from rop_server.schema import FLAG, TEXT, Schema, array, of
from rop_wire.messages import STREAM_BITS
from rop_wire.symbols import SYMBOLS

UID: Schema = {"type": "string", "pattern": "^[A-Z0-9]{16}$"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
CHANNEL: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_CHANNEL}
STREAM_TYPE: Schema = {"type": "string", "enum": list(STREAM_BITS)}
RECORDED: Schema = {"type": "string", "enum": list(RECORDED_STREAMS)}
ACTION: Schema = {"type": "string", "enum": list(STEPS)}
DIRECTION: Schema = {"type": "string", "enum": list(DIRECTIONS)}
DEVICE_NAME: Schema = {"type": "string", "pattern": "^[-a-zA-Z0-9]([-a-zA-Z0-9 ]{0,29}[-a-zA-Z0-9])?$"}
DATE: Schema = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
CLOCK: Schema = {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}:[0-9]{2}$"}
MOMENT: Schema = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"}
FILE_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
FIRMWARE_NAME: Schema = {"type": "string", "pattern": "^(?!\\.)[A-Za-z0-9._ %-]{1,255}$"}
UPGRADE_FILE: Schema = {"type": "string", "pattern": "^(?!\\.)[A-Za-z0-9._ %-]{0,252}paks?$"}
SESSION_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9]{32}$"}
_WIFI: Schema = {
    "type": "string",
    "pattern": "^[ !-\\[\\]-_a-}\\u00a1-\\uffff]*$",
    "maxLength": MAX_BYTES,
    "description": f"{MAX_BYTES} bytes of UTF-8 at most; no backslash, tilde, backquote, control character.",
}
NETWORK: Schema = of(
    ssid={**_WIFI, "minLength": 1},
    key={**_WIFI, "writeOnly": True},
    countryCode={"type": "string", "pattern": "^[A-Z]{2}$"},
)


def exact(*optional: str, **members: Schema) -> Schema:
    """An object with these members and no others, all of them needed but the optional ones."""
    needed = [name for name in members if name not in optional]
    return {"type": "object", "properties": members, "required": needed, "additionalProperties": False}


DONE: Schema = exact(message={"const": "ok"})


def _refusal(symbol: str) -> Schema:
    message = SYMBOLS[symbol].message
    return exact(error=exact(symbol={"const": symbol}, message={"const": message}))


REFUSALS: dict[str, Schema] = {symbol: _refusal(symbol) for symbol in SYMBOLS}

SCHEMAS: dict[str, Schema] = {
    "NotFound": exact(message={"const": "resource not found."}),
    "Session": exact(
        uid=UID,
        caHash={"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"},
        code={"type": "string", "pattern": "^[A-Za-z0-9]{8}$"},
        host=TEXT,
        getCAPort=WHOLE,
        getCertPort=WHOLE,
        registerPort=WHOLE,
        time=WHOLE,
    ),
    "DeviceList": exact(
        totalRows=WHOLE,
        items=array(exact("family", "model", "firmware", family=TEXT, uid=UID, model=TEXT, firmware=TEXT)),
    ),
    "GeneralConfig": exact("deviceName", deviceName=TEXT),
    "Pir": exact(sensitivity=MAYBE_WHOLE, enabled=FLAG, reduceMistakes=FLAG),
    "AlarmSwitch": exact(enabled=FLAG),
    "Battery": exact(
        "chargeStatus",
        percent={"type": "integer", "minimum": 0, "maximum": 100},
        chargeStatus={"type": "string", "enum": ["none", "charging", "completed"]},
    ),
    "Records": exact(
        "nextToken",
        totalRows=MAYBE_WHOLE,
        nextToken=TEXT,
        items=array(
            exact(channel=WHOLE, fileName=TEXT, startTime=MOMENT, endTime=MOMENT, streamType=TEXT),
        ),
    ),
    "Calendar": exact(
        totalRows=WHOLE,
        items=array(exact(channel=WHOLE, date={"type": "integer", "minimum": 1, "maximum": 31})),
    ),
    "Play": exact(
        playURL={"type": "string", "pattern": "/v1\\.0/live/[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$"}, expiredIn=WHOLE
    ),
    "UpgradeSession": exact(sessionId=SESSION_ID, expiredIn=WHOLE),
    "UpgradeStatus": exact(
        status={
            "type": "string",
            "enum": [
                "upgrading",
                "upgrade_success",
                "same_version",
                "file_check_failed",
                "failed",
                "out_of_memory",
                "focus_error",
                "low_battery",
                "unknown_error",
            ],
        }
    ),
    "Wifi": exact("countryCode", ssid=TEXT, channel=MAYBE_WHOLE, countryCode=TEXT),
    "ScanTask": exact(sessionId=SESSION_ID, expiringAt=WHOLE),
    "WifiScan": exact(
        status={"type": "string", "enum": ["scanning", "success", "error", "timeout"]},
        wifiList=array(
            exact(
                "signal",
                "encryptMode",
                ssid=TEXT,
                signal={"type": "integer"},
                encryptMode={"type": "string", "enum": ["none", "auto"]},
            )
        ),
    ),
    "WifiTest": exact(status={"type": "string", "enum": ["success", "error"]}),
}
