"""The table of calls of 61009: what is served, and the OpenAPI document, come from it.

Source: ROP v1.0 wire specification, client-api 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rop_server.client.schemas import (
    ACTION,
    CHANNEL,
    CLOCK,
    DATE,
    DEVICE_NAME,
    DIRECTION,
    DONE,
    FILE_NAME,
    NETWORK,
    RECORDED,
    STREAM_TYPE,
    UID,
    UPGRADE_FILE,
    WHOLE,
)
from rop_server.schema import FLAG, Schema, of, ref

DEVICE = "/v1.0/devices/{uid}"
# Whatever a call needs of a device can fail like this. Source: client-api 1.1 (DEV).
DEVICE_ERRORS = (
    "device_offline",
    "cmd_timeout",
    "wake_up_timeout",
    "device_connection_not_found",
    "device_signaling_connection_closed",
    "cmd_exec_error",
    "server_internal_error",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. Members of `query` are needed unless they are in `optional`; `body` None: none is read; `raw`: it
    is a file. `symbols` are the refusals besides `invalid_parameter`. `switched`: served only when switched on.
    `verb`: what a caller of the gateway needs, None: nobody may. `common`: it concerns all cameras, so it needs a
    right on all of them.
    """

    method: str
    path: str
    name: str
    summary: str
    reply: Schema = field(default_factory=lambda: DONE)
    query: Mapping[str, Schema] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    body: Schema | None = None
    raw: bool = False
    content: str = "application/json"
    symbols: tuple[str, ...] = ()
    switched: bool = False
    verb: str | None = None
    common: bool = False

    @property
    def checked(self) -> bool:
        """Whether there is anything that can be an invalid parameter."""
        return self.body is not None or bool(self.query) or "{" in self.path


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1.0/devices/initialization-session",
        "initialization_session",
        "What a camera is handed at set-up. `time` is in seconds since 1970.",
        ref("Session"),
        body=of(uid=UID),
        symbols=("auth_failed",),
        verb="provision",
    ),
    Operation(
        "GET",
        "/v1.0/devices",
        "list_devices",
        "Devices with a connection right now, in order of arrival.",
        ref("DeviceList"),
        verb="read",
    ),
    Operation(
        "GET",
        f"{DEVICE}/settings/general-config",
        "get_general",
        "The device name.",
        ref("GeneralConfig"),
        symbols=DEVICE_ERRORS,
        verb="read",
    ),
    Operation(
        "PUT",
        f"{DEVICE}/settings/general-config",
        "put_general",
        "Set the device name.",
        body=of(deviceName=DEVICE_NAME),
        symbols=DEVICE_ERRORS,
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/settings/pir-config",
        "get_pir",
        "The PIR sensor.",
        ref("Pir"),
        symbols=DEVICE_ERRORS,
        verb="read",
    ),
    Operation(
        "PUT",
        f"{DEVICE}/settings/pir-config",
        "put_pir",
        "Set the PIR sensor, all of it.",
        body=of(enabled=FLAG, sensitivity={**WHOLE, "maximum": 100}, reduceMistakes=FLAG),
        symbols=DEVICE_ERRORS,
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/settings/alarm",
        "get_alarm",
        "Whether the device reports alarms.",
        ref("AlarmSwitch"),
        symbols=DEVICE_ERRORS,
        verb="read",
    ),
    Operation(
        "PUT",
        f"{DEVICE}/settings/alarm",
        "put_alarm",
        "Switch the alarm reports. A malformed UID is `device_offline` here.",
        body=of(enabled=FLAG),
        symbols=DEVICE_ERRORS,
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/states/battery",
        "get_battery",
        "The last battery report; the device is not woken.",
        ref("Battery"),
        symbols=("device_offline", "cmd_not_support"),
        verb="read",
    ),
    Operation(
        "PATCH",
        f"{DEVICE}/ptz/zoom",
        "zoom",
        "One step of the zoom.",
        body=of(channel=CHANNEL, action=ACTION),
        symbols=("cmd_not_support", "device_channel_not_found", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "PATCH",
        f"{DEVICE}/ptz/focus",
        "focus",
        "One step of the focus.",
        body=of(channel=CHANNEL, action=ACTION),
        symbols=("cmd_not_support", "device_channel_not_found", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "POST",
        f"{DEVICE}/ptz/rotate",
        "rotate",
        "Turn until the direction `none`.",
        body=of(channel=CHANNEL, direction=DIRECTION, speed={"type": "integer", "minimum": 1, "maximum": 64}),
        symbols=("cmd_not_support", "direction_not_support", "device_channel_not_found", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/records",
        "find_records",
        "Up to 40 recordings; times are those of the device. `nextToken` of a full page leads to the next.",
        ref("Records"),
        query={
            "record_date": DATE,
            "start_at": CLOCK,
            "end_at": CLOCK,
            "stream_type": RECORDED,
            "channel": CHANNEL,
            "next_token": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        optional=frozenset({"next_token"}),
        symbols=DEVICE_ERRORS,
        verb="replay",
    ),
    Operation(
        "GET",
        f"{DEVICE}/records/calendar",
        "calendar",
        "The days of a month with recordings.",
        ref("Calendar"),
        query={
            "channel": CHANNEL,
            "year": {"type": "integer", "minimum": 2000, "maximum": 3000},
            "month": {"type": "integer", "minimum": 1, "maximum": 12},
        },
        symbols=DEVICE_ERRORS,
        verb="replay",
    ),
    Operation(
        "POST",
        f"{DEVICE}/records/play-session",
        "play_record",
        "An RTSP address of a recording, a new one at each call.",
        ref("Play"),
        body=of(fileName=FILE_NAME, channel=CHANNEL),
        symbols=("file_not_found", "frequent_request", *DEVICE_ERRORS),
        verb="replay",
    ),
    Operation(
        "POST",
        f"{DEVICE}/live/play-session",
        "play_live",
        "The RTSP address of a live stream.",
        ref("Play"),
        body=of(streamType=STREAM_TYPE, channel=CHANNEL),
        symbols=("device_channel_not_found", "stream_type_not_support", "frequent_request", *DEVICE_ERRORS),
        verb="live",
    ),
    Operation(
        "GET",
        f"{DEVICE}/snap/snapshot.jpg",
        "snapshot",
        "A picture. Whatever goes wrong with an online device is `snap_error`.",
        {"type": "string", "format": "binary"},
        query={"stream_type": STREAM_TYPE, "channel": CHANNEL},
        content="image/jpeg",
        symbols=("snap_error", "device_offline"),
        verb="live",
    ),
    Operation(
        "POST",
        "/v1.0/firmware/{fileName}",
        "upload",
        "Store a firmware file under the name as it stands in the path, undecoded.",
        body={"type": "string", "format": "binary"},
        raw=True,
        symbols=("invalid_filename", "duplicate_firmware"),
        verb="firmware",
        common=True,
    ),
    Operation(
        "POST",
        f"{DEVICE}/upgrade-session",
        "begin_upgrade",
        "Send a firmware file to the device and have it installed, in the background.",
        ref("UpgradeSession"),
        body=of(upgradeFile=UPGRADE_FILE, factoryReset=FLAG),
        symbols=(
            "invalid_filename",
            "up_to_upgrade_session_limit",
            "duplicate_upgrade",
            "file_not_found",
            "device_offline",
        ),
        verb="firmware",
    ),
    Operation(
        "GET",
        f"{DEVICE}/upgrade-session/{{session-id}}",
        "upgrade_status",
        "What became of an upgrade.",
        ref("UpgradeStatus"),
        symbols=("session_not_found",),
        verb="firmware",
    ),
    Operation(
        "GET",
        f"{DEVICE}/settings/wifi-config",
        "get_wifi",
        "The WiFi in use.",
        ref("Wifi"),
        symbols=("cmd_not_support", *DEVICE_ERRORS),
        verb="read",
    ),
    Operation(
        "PUT",
        f"{DEVICE}/settings/wifi-config",
        "put_wifi",
        "Join a network.",
        body=NETWORK,
        symbols=("cmd_not_support", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "POST",
        f"{DEVICE}/wifi/scan-task",
        "scan_wifi",
        "Look for networks in the background. `expiringAt` is in milliseconds since 1970.",
        ref("ScanTask"),
        symbols=("cmd_not_support", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/wifi/scan/{{session-id}}",
        "wifi_networks",
        "What a scan of this device found so far.",
        ref("WifiScan"),
        symbols=("session_not_found",),
        verb="control",
    ),
    Operation(
        "POST",
        f"{DEVICE}/wifi/test",
        "try_wifi",
        "Try a network without joining it; only a device with a wire can.",
        ref("WifiTest"),
        body=NETWORK,
        symbols=("cmd_not_support", *DEVICE_ERRORS),
        verb="control",
    ),
    Operation(
        "GET",
        f"{DEVICE}/signal",
        "get_signal",
        "Send a command without payload; the device's document as JSON. Only commands of `rop.signalCommands`.",
        {"type": "object", "additionalProperties": True},
        query={"cmd": {**WHOLE, "maximum": 2**32 - 1}},
        symbols=("auth_failed", *DEVICE_ERRORS),
        switched=True,
    ),
    Operation(
        "POST",
        f"{DEVICE}/signal",
        "post_signal",
        "Send a command with a document made from JSON. Only commands of `rop.signalCommands`.",
        query={"cmd": {**WHOLE, "maximum": 2**32 - 1}},
        body=of(body={"type": "object", "additionalProperties": True}),
        symbols=("auth_failed", *DEVICE_ERRORS),
        switched=True,
    ),
)
