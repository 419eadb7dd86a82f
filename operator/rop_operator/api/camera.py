"""Kind `Camera`: one device, by its UID, on one server."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.base import Model, ObjectRef
from rop_operator.api.rules import Relation, Transition, between, list_map, matching, unchangeable

UID_PATTERN = r"[A-Z0-9]{16}"
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
ADDRESS_PATTERN = rf"({_OCTET}\.){{3}}{_OCTET}|[0-9A-Fa-f]{{0,4}}(:[0-9A-Fa-f]{{0,4}}){{2,7}}"
# Source: ROP v1.0 wire specification, client-api 2.4: 1 to 31 letters, digits, - and blanks, no blank at the ends.
NAME_PATTERN = r"[-a-zA-Z0-9]([-a-zA-Z0-9 ]{0,29}[-a-zA-Z0-9])?"

Uid = Annotated[
    str,
    matching(
        UID_PATTERN,
        "a UID has 16 characters, A to Z and 0 to 9; it is printed on the device's label",
        64,
    ),
]
DisplayName = Annotated[
    str,
    matching(
        NAME_PATTERN,
        "a display name has 1 to 31 letters, digits, blanks and -, without a blank at either end",
        255,
    ),
]
SettingPath = Literal[
    "displayName",
    "settings.pir",
    "settings.pir.enabled",
    "settings.pir.sensitivity",
    "settings.pir.reduceMistakes",
    "settings.alarm",
    "settings.alarm.enabled",
]
Mode = Literal["Enforce", "Report", "Ignore"]


class Lan(Model):
    """Where the camera waits for its set-up."""

    address: Annotated[str, matching(ADDRESS_PATTERN, "address is an IPv4 or IPv6 address", 64)] | None = None
    """IP address of the camera; left out, it is found by discovery."""
    port: Annotated[int, between(1, 65535, "port")] | None = None
    """TCP port of the camera's set-up service; left out, the discovered one, or 9527."""


class Provision(Model):
    """Hand the camera over to this server, once. One-way: the vendor's app no longer reaches it afterwards. The
    camera must run firmware that supports the open platform.
    """

    attempt: Annotated[int, between(1, 1_000_000, "attempt")] = 1
    """Raise it by one to try once more; nothing else repeats a hand-over."""
    lan: Lan | None = None
    """Over the camera's LAN, from where the engine runs. Left out, a person does it (`ropctl provision`)."""


class Pir(Model):
    """The motion sensor. Members left out keep what the camera has."""

    enabled: bool | None = None
    """Whether it reacts."""
    sensitivity: Annotated[int, between(0, 100, "sensitivity")] | None = None
    """0 to 100, higher reacts sooner."""
    reduce_mistakes: bool | None = None
    """Whether the camera filters false alarms."""


class Alarm(Model):
    """Whether the camera reports alarms."""

    enabled: bool | None = None
    """Whether it does."""


class Settings(Model):
    """Settings of the camera. Members left out are not touched."""

    pir: Pir | None = None
    """The motion sensor."""
    alarm: Alarm | None = None
    """Alarm reports."""


class Override(Model):
    """Another mode for one setting or group."""

    field: SettingPath
    """The setting as it is written in the spec."""
    mode: Mode
    """Enforce, Report or Ignore."""


class Policy(Model):
    """What happens when the camera differs from this document."""

    default: Mode | None = None
    """Enforce: repaired. Report: shown, never written. Ignore: neither. Left out: Enforce, or what a CameraProfile
    says.
    """
    overrides: Annotated[list[Override], Field(max_length=16, json_schema_extra=list_map("field"))] = []
    """Exceptions; the longest matching field wins."""


class WakeBudget(Model):
    """How often a sleeping battery camera may be woken on account of its documents."""

    per_day: Annotated[int, between(0, 1000, "perDay")]
    """Wakes in a day of UTC, whoever caused them. 0: never; what is to be written waits until the camera wakes."""
    alarm_reserve: Annotated[int, between(0, 1000, "alarmReserve")] | None = None
    """So many of them are left for viewers that follow an alarm. Left out: 1, of a perDay of 1 none."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="!has(self.alarmReserve) || self.alarmReserve <= self.perDay",
            message="alarmReserve is at most perDay",
            check=lambda m: m.alarm_reserve is None or m.alarm_reserve <= m.per_day,
            member="alarmReserve",
        ),
    )


class CameraAcknowledgement(Model):
    """A dangerous change, written down. It authorises exactly this value and nothing else."""

    edge: Literal["WrongModel", "Downgrade", "FactoryReset"]
    """Which change."""
    value: Annotated[str, matching(r"[^\x00-\x1f\x7f]{1,255}", "value has 1 to 255 printable characters", 255)]
    """The exact thing: WrongModel the camera's model, Downgrade the version it goes to, FactoryReset the UID."""


class CameraSpec(Model):
    """One camera."""

    transitions: ClassVar[tuple[Transition, ...]] = (
        unchangeable("serverRef", "make a second Camera for the other server, then delete this one"),
        unchangeable("uid", "another device is another Camera"),
    )
    relations: ClassVar[tuple[Relation, ...]] = ()

    server_ref: ObjectRef
    """The RopServer the camera belongs to. Immutable."""
    uid: Uid
    """UID of the device. Immutable. Quote it: an all-digit UID is a number to YAML."""
    access: Literal["Allowed", "Denied"] = "Allowed"
    """Denied: cut off on every port at once, durable; set-ups are refused too."""
    deletion_policy: Literal["Revoke", "Orphan"] = "Revoke"
    """Revoke: deleting this document denies the device. Orphan: the device stays as it is."""
    display_name: DisplayName | None = None
    """Name stored in the camera."""
    provision: Provision | None = None
    """Set-up by the engine. A camera that already talks to the server needs none."""
    settings: Settings | None = None
    """Settings to hold."""
    policy: Policy | None = None
    """What happens when the camera differs."""
    wake_budget: WakeBudget | None = None
    """How often it may be woken. Left out: what a CameraProfile says, else as often as there is something to
    write.
    """
    acknowledge: Annotated[
        list[CameraAcknowledgement], Field(max_length=32, json_schema_extra=list_map("edge", "value"))
    ] = []
    """Dangerous changes that are wanted."""
    suspend: bool = False
    """No device writes and no provisioning; observation, revocation and deletion go on."""
