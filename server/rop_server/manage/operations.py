"""The table of operations of `/manage/v1`: routes, scopes and the OpenAPI document come from it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rop_server.manage.backuptable import BACKUP_OPERATIONS
from rop_server.manage.firmwaretable import FIRMWARE_OPERATIONS
from rop_server.manage.gatewaytable import GATEWAY_OPERATIONS
from rop_server.manage.operation import Operation
from rop_server.schema import TEXT, TIME, of, ref

PREFIX = "/manage/v1"
UID = {"type": "string", "pattern": "^[A-Z0-9]{16}$"}
WHOLE = {"type": "integer", "minimum": 0}
PAGE = {"type": "integer", "minimum": 0, "maximum": 1000}


WAKE: Mapping[str, Mapping[str, Any]] = {"wake": {"type": "string", "enum": ["never", "allow"]}}
SLEEPER = {404: "`device_offline`.", 409: "`device_asleep`: it sleeps and `wake` is `never`."}
UNKNOWN = {404: "`device_unknown`: no fact about this UID is known."}

OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/health", "health", "The process answers.", None, reply=of(status={"type": "string"})),
    Operation(
        "GET",
        "/ready",
        "ready",
        "Whether every port listens.",
        None,
        reply=ref("Readiness"),
        replies={503: "A port does not listen (same document)."},
    ),
    Operation("GET", "/identity", "identity", "Who this server is.", "Observe", reply=ref("Identity")),
    Operation("GET", "/devices", "list_devices", "Every device ever seen.", "Observe", reply=ref("DeviceList")),
    Operation(
        "GET", "/devices/{uid}", "get_device", "One device.", "Observe", reply=ref("Device"), replies=UNKNOWN
    ),
    Operation(
        "GET",
        "/events",
        "events",
        "Changes from number `since` on, in order. Waits up to `wait` seconds for the first. "
        "`reset`: that position is not known (any more), list again.",
        "Observe",
        query={
            "since": WHOLE,
            "epoch": {"type": "string"},
            "wait": {"type": "integer", "minimum": 0, "maximum": 60},
        },
        reply=ref("Events"),
    ),
    Operation(
        "POST",
        "/devices/{uid}/settings",
        "device_settings",
        "Write and read settings of a device in one go, with one wake at most.",
        "Control",
        query=WAKE,
        body=ref("SettingsRequest"),
        reply=ref("SettingsAnswer"),
        replies=SLEEPER,
        fenced=True,
    ),
    Operation(
        "POST",
        "/devices/{uid}/wifi/scan",
        "scan_wifi",
        "The networks around a device, scanned now. It takes up to half a minute.",
        "Control",
        query=WAKE,
        reply=ref("WifiNetworks"),
        replies=SLEEPER | {400: "`cmd_not_support`: it has no WiFi."},
        fenced=True,
    ),
    Operation(
        "POST",
        "/devices/{uid}/wifi/test",
        "test_wifi",
        "Try a network without joining it; only a device that uses its wire can.",
        "Control",
        query=WAKE,
        body=ref("WifiRequest"),
        reply=of(usable={"type": "boolean"}),
        replies=SLEEPER | {400: "`cmd_not_support`: it has no WiFi, or uses no wire."},
        fenced=True,
    ),
    Operation(
        "PUT",
        "/devices/{uid}/wifi",
        "join_wifi",
        "Join a network. A device without a wire leaves its present one; it is back when the `connectedAt` of its"
        " document is a later one than this answer tells.",
        "Control",
        query=WAKE,
        body=ref("WifiRequest"),
        reply=of(woke={"type": "boolean"}, connectedAt=TIME),
        replies=SLEEPER | {400: "`cmd_not_support`: it has no WiFi."},
        fenced=True,
    ),
    Operation(
        "POST",
        "/devices/{uid}/initialization-session",
        "open_session",
        "A fresh short-term code and what a camera is handed with it.",
        "Control",
        reply=ref("Session"),
        replies={403: "`auth_failed`: the UID is denied or not claimed."},
        fenced=True,
    ),
    Operation(
        "PUT",
        "/devices/{uid}/access",
        "set_access",
        "Allow or deny a device. A denial is on disk and its connections are cut when this answers.",
        "Control",
        body=of(access={"type": "string", "enum": ["Allowed", "Denied"]}),
        reply=ref("Device"),
        fenced=True,
    ),
    Operation(
        "GET", "/claims", "get_claims", "Enrolment policy and claimed UIDs.", "Observe", reply=ref("Claims")
    ),
    Operation(
        "PUT",
        "/claims",
        "replace_claims",
        "Replace the policy and every claim.",
        "Control",
        body=ref("Claims"),
        reply=ref("Claims"),
        fenced=True,
    ),
    Operation("PUT", "/claims/{uid}", "claim", "Claim one UID.", "Control", reply=ref("Claims"), fenced=True),
    Operation(
        "DELETE",
        "/claims/{uid}",
        "release",
        "End the claim of one UID.",
        "Control",
        reply=ref("Claims"),
        fenced=True,
    ),
    *FIRMWARE_OPERATIONS,
    Operation(
        "GET",
        "/streams",
        "list_streams",
        "Running streams and their viewers. Rates are the difference of two readings.",
        "Observe",
        reply=ref("StreamList"),
    ),
    Operation(
        "GET",
        "/logs",
        "list_logs",
        "The last lines of the log, oldest first. `after`: only those behind the `next` of an earlier answer.",
        "Control",
        query={
            "limit": PAGE,
            "after": WHOLE,
            "level": {"type": "string", "enum": ["debug", "info", "warning", "error"]},
            "uid": UID,
        },
        reply=ref("LogLines"),
    ),
    Operation(
        "GET",
        "/audit",
        "list_audit",
        "Who changed what, oldest first: calls of this interface and of 61009 that are no GET.",
        "Control",
        query={"limit": PAGE, "uid": UID},
        reply=ref("AuditLines"),
    ),
    Operation(
        "GET",
        "/alarms",
        "get_alarms",
        "Receivers of alarms: what waits, what was given up. Addresses are masked.",
        "Observe",
        reply=ref("Alarms"),
    ),
    Operation(
        "GET",
        "/alarms/dead",
        "list_dead_alarms",
        "Alarms that were given up, newest first.",
        "Control",
        query={
            "sink": {"type": "string"},
            "uid": UID,
            "limit": {"type": "integer", "minimum": 0, "maximum": 1000},
        },
        reply=ref("DeadAlarms"),
    ),
    Operation(
        "POST",
        "/alarms/replay",
        "replay_alarms",
        "Send alarms again that were given up: all, or those of a sink, a device, or with these ids.",
        "Control",
        body=ref("ReplayRequest"),
        reply=of(replayed={"type": "integer"}),
    ),
    Operation(
        "PUT",
        "/alarms/sinks/{name}",
        "put_alarm_sink",
        "Make or change a receiver. Address and key go into files of their own.",
        "Admin",
        body=ref("SinkRequest"),
        reply=ref("Applied"),
        replies={422: "`invalid_config` or `invalid_parameter`; nothing is changed."},
        fenced=True,
    ),
    Operation(
        "DELETE",
        "/alarms/sinks/{name}",
        "delete_alarm_sink",
        "Remove a receiver and its secrets; what waits for it is given up.",
        "Admin",
        reply=ref("Applied"),
        replies={404: "`sink_unknown`."},
        fenced=True,
    ),
    *BACKUP_OPERATIONS,
    Operation("GET", "/manager", "get_manager", "Who manages this server.", "Observe", reply=ref("Manager")),
    Operation(
        "PUT",
        "/manager",
        "take_management",
        "Become the manager, with a new and higher fence.",
        "Control",
        body=of("id", id={"type": "string", "minLength": 1, "maxLength": 200}, takeOver={"type": "boolean"}),
        reply=ref("Manager"),
        replies={409: "`managed_elsewhere`: another manager is recorded and `takeOver` is not true."},
    ),
    Operation(
        "GET", "/config", "get_config", "The configuration, without secrets.", "Observe", reply=ref("Config")
    ),
    Operation(
        "PUT",
        "/config",
        "put_config",
        "Write members over the file's current content; null removes one.",
        "Admin",
        body=of(members={"type": "object", "additionalProperties": True}),
        reply=ref("Applied"),
        replies={422: "`invalid_config` with field and rule; nothing is changed."},
        fenced=True,
    ),
    Operation(
        "POST",
        "/config/compare",
        "compare_config",
        "Whether members have these values, secrets included. Null asks for the default.",
        "Control",
        body={"type": "object", "additionalProperties": True},
        reply={"type": "object", "additionalProperties": {"type": "boolean"}},
    ),
    Operation(
        "POST",
        "/config/reload",
        "reload_config",
        "Take the hand-edited file as it is.",
        "Admin",
        reply=ref("Applied"),
        replies={422: "`invalid_config` with field and rule; nothing is changed."},
        fenced=True,
    ),
    Operation(
        "GET",
        "/rotations",
        "list_rotations",
        "What can be rotated and where each rotation is.",
        "Observe",
        reply=ref("RotationList"),
    ),
    Operation(
        "POST",
        "/rotations/{item}",
        "take_rotation_step",
        "Carry out one step of a rotation. Given again it answers the present state.",
        "Admin",
        body=ref("RotationOrder"),
        reply=ref("Rotation"),
        replies={
            404: "`item_unknown`.",
            409: "`generation_gap`, `wrong_phase`, `backup_required`, `root_sealed`, `canary_lost`, "
            "`still_needed`, `invalid_config` or `not_supported`; nothing is changed.",
        },
        fenced=True,
    ),
    Operation(
        "GET",
        "/pki",
        "get_pki",
        "The authority of this server, where each rotation is, and the census: which devices hold what.",
        "Observe",
        reply=ref("Pki"),
    ),
    Operation(
        "PUT",
        "/devices/{uid}/renewal",
        "approve_renewal",
        "Let a device renew its certificate once although its code is by a retired signKey, within some seconds.",
        "Admin",
        body=of("seconds", seconds={"type": "number", "exclusiveMinimum": 0, "maximum": 604800}),
        reply=of(uid=TEXT, until=TIME),
        replies={404: "`device_unknown`.", 409: "`denied`."},
        fenced=True,
    ),
    *GATEWAY_OPERATIONS,
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Metrics for Prometheus. `by=device` adds families with a UID as label.",
        "Observe",
        query={"by": {"type": "string", "enum": ["device"]}},
        content="text/plain",
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "This document.",
        None,
        reply={"type": "object", "additionalProperties": True},
    ),
)

__all__ = ["OPERATIONS", "PREFIX", "Operation"]
