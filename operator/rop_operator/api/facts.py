"""Values the engine passes between its rooms: documents as stored, and facts observed on servers and cameras.

Times are timezone-aware UTC datetimes; durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Identity of a document. `str(ref)` is `Camera/video/front-door`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Document:
    """One stored document: metadata the engine needs, raw `spec`, raw `status` (both JSON values).

    `invalid` is set by a host store for a document that no longer parses: its last accepted version is served.
    """

    ref: Ref
    uid: str
    generation: int
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    created: datetime | None = None
    deleting: datetime | None = None
    resource_version: str = ""


class _Wire(BaseModel):
    """Base of facts read from the management interface: camelCase on the wire, unknown members ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class BatteryFacts(_Wire):
    """Last battery report of a device."""

    percent: int
    charge: str | None = None
    at: datetime | None = None


class CertificateFacts(_Wire):
    """The newest certificate issued to (or shown by) a device."""

    serial: str
    not_after: datetime | None = None
    issuer: str | None = None
    issued_at: datetime | None = None
    by: str | None = None
    address: str | None = None


class PinnedRoot(_Wire):
    """The root a device was set up with; `assumed` when nobody saw it happen."""

    sha256: str
    assumed: bool = False


class SettingFact(_Wire):
    """A setting of a device as last seen: value, when, and how (`Read` or `Written`)."""

    value: Any
    at: datetime | None = None
    how: str = "Read"


class DeviceFacts(_Wire):
    """Everything a server knows of one device. `state` is Online, Asleep, Offline or NeverSeen."""

    uid: str
    state: Literal["Online", "Asleep", "Offline", "NeverSeen"] = "NeverSeen"
    family: str | None = None
    model: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    address: str | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    since: datetime | None = None
    battery: BatteryFacts | None = None
    certificate: CertificateFacts | None = None
    pinned_root: PinnedRoot | None = None
    registered_at: datetime | None = None
    access: Literal["Allowed", "Denied"] = "Allowed"
    denied_at: datetime | None = None
    claimed: bool = False
    wakes: int = 0
    last_wake: datetime | None = None
    settings: dict[str, SettingFact] = Field(default_factory=dict)

    @property
    def on_battery(self) -> bool:
        """True when the device says that it is of the battery family."""
        return self.family == "battery"


class ArchiveFacts(_Wire):
    """An archive that was read back from its target."""

    name: str
    generation: int | None = None
    stored_at: datetime | None = None


class BackupProblem(_Wire):
    """Why no archive is made, or not on a target."""

    reason: str
    message: str = ""


class TargetFacts(_Wire):
    """A target of archives. `covered`: the present keys are in an archive on it; `stored` the newest one there."""

    name: str
    covered: bool = False
    stored: ArchiveFacts | None = None
    problem: BackupProblem | None = None


class BackupFacts(_Wire):
    """A server's own backups. `covered`: the present keys are in an archive on a target. `differs`: its policy is
    not the one that was compared.
    """

    configured: bool = False
    differs: bool = False
    covered: bool = False
    generation: int | None = None
    signer: str | None = None
    problem: BackupProblem | None = None
    targets: tuple[TargetFacts, ...] = ()


class GatewayFacts(_Wire):
    """What a gateway tells of itself. `present`: lately. `reason` is `Ready` when nothing is wrong."""

    present: bool = False
    reason: str = ""
    message: str = ""
    serving: bool = False
    host: str = ""
    https_port: int = 0
    rtsps_port: int = 0
    serial: str | None = None
    not_after: datetime | None = None


class GatewayRun(_Wire):
    """A gateway's process on this machine: `Running`, `Failed` or `Stopped`. `same`: it has what is asked for."""

    state: Literal["Running", "Failed", "Stopped"]
    same: bool = False
    message: str | None = None


class RunTargetFacts(_Wire):
    """What became of an asked-for archive on a target: `Pending`, `Stored` (read back) or `Failed`."""

    name: str
    state: Literal["Pending", "Stored", "Failed"] = "Pending"
    message: str | None = None
    sha256: str | None = None


class BackupRunFacts(_Wire):
    """An archive that was asked for: `Pending`, `Complete` (stored on every target) or `Failed`."""

    id: str
    state: Literal["Pending", "Complete", "Failed"] = "Pending"
    archive: str | None = None
    generation: int | None = None
    finished_at: datetime | None = None
    targets: tuple[RunTargetFacts, ...] = ()


class ServerFacts(_Wire):
    """What the engine observed of one server. Members a polled server cannot tell are None.

    `interface` is `Management` or `ClientAPI`; `features` names what the interface offers
    (`settings`, `claims`, `events`, `config`, `access`).
    """

    interface: Literal["Management", "ClientAPI"] = "Management"
    reachable: bool = False
    error: str | None = None
    error_reason: str | None = None
    instance_id: str | None = Field(default=None, alias="instanceID")
    host: str | None = None
    version: str | None = None
    root_sha256: str | None = Field(default=None, alias="rootSHA256")
    adopted: bool = False
    ready: bool = False
    ports: dict[str, int] = Field(default_factory=dict)
    server_certificate_not_after: datetime | None = None
    manager_id: str | None = None
    fence: int | None = None
    config: dict[str, Any] = Field(default_factory=dict, repr=False)
    config_differs: tuple[str, ...] = ()
    config_file_changed: bool = False
    pending_restart: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    backup: BackupFacts | None = None
    gateway: GatewayFacts | None = None
    runtime: str | None = None  # managed servers: Starting, Running, Failed, Stopped
    runtime_message: str | None = None
    runtime_drift: tuple[str, ...] = ()  # what around a managed server differs and is repaired beside it
    runtime_outdated: str | None = None  # why a managed server should be started anew

    @property
    def keys_backed_up(self) -> bool | None:
        """Whether a verified backup holds the present keys; None: cannot tell."""
        return self.backup.covered if self.backup is not None else None


@dataclass(frozen=True, slots=True)
class Session:
    """An initialization session: what is handed to a camera. Source: client-api 2.1."""

    uid: str
    document: Mapping[str, Any] = field(repr=False)
    expires_at: datetime = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A camera that answered LAN discovery."""

    uid: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """A change on a server. `device` is the device's state after it (None for events of the server itself)."""

    type: str
    uid: str | None
    at: datetime | None
    device: DeviceFacts | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Answer of one settings call: fields written, values read, symbol per failed field."""

    woke: bool
    written: tuple[str, ...]
    values: Mapping[str, Any]
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RotationFacts:
    """Where the rotation of an item is on a server. `phase` is `Idle` or that after the newest step; `target`
    None: no rotation runs. `done` of `total` devices have the new thing.
    """

    item: str
    generation: int
    target: int | None = None
    phase: str = "Idle"
    done: int = 0
    total: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


class DrillReport(_Wire):
    """What a drill found. Source: report of `rop-drill`, its signature verified. `archive` is a file name."""

    result: Literal["Passed", "Failed"]
    reason: str | None = None
    message: str = ""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    started: datetime | None = None
    archive: str | None = None


@dataclass(frozen=True, slots=True)
class DrillRun:
    """A drill that was begun. `step`: where it is. `report` None and not `Running`: it was killed, or ended with
    `message`. `file`: where the signed report is.
    """

    state: Literal["Running", "Ended"]
    step: str | None = None
    report: DrillReport | None = None
    file: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class DrillCamera:
    """The virtual camera of drills. `keys`: what it depends on, as it was told then. `used`: a drill was begun
    with it, so an archive knows it.
    """

    enrolled_at: datetime
    keys: str
    used: bool = False


class UpgradeFacts(_Wire):
    """The newest upgrade of a device since its server started. `status` is a word of client-api 2.14, `before` the
    firmware text it had, `holder` in whose name.
    """

    uid: str
    session: str = ""
    status: str = "upgrading"
    reason: str = ""
    before: str | None = None
    holder: str | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FirmwareFacts:
    """Firmware on a server: hashes of files by their name, upgrades and holders by UID."""

    files: Mapping[str, str] = field(default_factory=dict)
    upgrades: Mapping[str, UpgradeFacts] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
