"""Shapes of `status`, for the schema of the CRDs. The engine writes them, nobody parses them by these models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from rop_operator.api.base import Model
from rop_operator.api.rules import PRESERVE_UNKNOWN, list_map

Observed = Annotated[dict[str, Any], Field(json_schema_extra=PRESERVE_UNKNOWN)]


class ConditionStatus(Model):
    """A condition, as kstatus reads it."""

    type: str
    """Which."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str | None = None
    """One word."""
    message: str | None = None
    """For people."""
    observed_generation: int | None = None
    """Generation of the document it is about."""
    last_transition_time: datetime | None = None
    """When `status` changed."""


Conditions = Annotated[list[ConditionStatus], Field(json_schema_extra=list_map("type"))]


class CertificateStatus(Model):
    """A certificate."""

    not_after: datetime | None = None
    """Its end."""


class ProvisionStatus(Model):
    """Journal of the hand-over."""

    attempt: int
    """Which attempt."""
    phase: Literal["Pending", "SessionOpen", "HandedOver", "Succeeded", "Failed"]
    """How far it came."""
    at: datetime
    """When it came there."""
    tries: int = 0
    """How often the camera was asked."""
    symbol: str | None = None
    """What the camera answered, or why it ended."""
    address: str | None = None
    """Where it was set up."""
    certificate_before: str | None = None
    """Serial of its newest certificate before."""


class FailureStatus(Model):
    """A write that the camera refused."""

    at: datetime
    """When."""
    of: str
    """Fingerprint of what was wanted."""
    reason: str
    """One word."""
    message: str
    """For people."""


class DriftStatus(Model):
    """A setting that differs though nobody asked for it."""

    field: str
    """Which, as it is written in the spec."""
    wanted: str
    """Value that is wanted."""
    seen: str
    """Value that the camera has."""
    since: datetime
    """When it was first seen so."""
    mode: str
    """Enforce or Report."""


class RepairStatus(Model):
    """How often a setting was repaired lately."""

    field: str
    """Which."""
    rounds: int
    """How often; after 5 times within an hour it is left alone."""
    first: datetime
    """The first of them."""
    last: datetime
    """The last of them."""


class SettingsStatus(Model):
    """Settings."""

    synced: str | None = None
    """Fingerprint of what was wanted when the camera was last in sync with it."""
    drift: Annotated[list[DriftStatus] | None, Field(json_schema_extra=list_map("field"))] = None
    """What differs though nobody asked for it."""
    repairs: Annotated[list[RepairStatus] | None, Field(json_schema_extra=list_map("field"))] = None
    """Repairs of the last hour."""
    last_failure: FailureStatus | None = None
    """The newest write that was refused."""


class WakesStatus(Model):
    """Wakes of one day of UTC."""

    day: str
    """Day of the newest wake."""
    used: int
    """Wakes of that day."""


class CameraStatus(Model):
    """What is known of a camera."""

    observed_generation: int | None = None
    """Generation of the document that was acted on."""
    state: Literal["Online", "Asleep", "Offline", "NeverSeen"] | None = None
    """Its connection."""
    firmware: str | None = None
    """Version of its firmware."""
    model: str | None = None
    """Model."""
    hardware: str | None = None
    """Hardware version."""
    family: str | None = None
    """Family, `battery` for one that sleeps."""
    address: str | None = None
    """Address it was seen at."""
    certificate: CertificateStatus | None = None
    """Its certificate."""
    wakes: int | None = None
    """How often it was woken."""
    wake_budget: WakesStatus | None = None
    """The same for the day of the newest wake."""
    provision: ProvisionStatus | None = None
    """Journal of the hand-over."""
    settings: SettingsStatus | None = None
    """Settings."""
    observed: Observed | None = None
    """Facts that decisions are made from."""
    conditions: Conditions | None = None
    """Conditions."""


class SelectedStatus(Model):
    """Cameras that a profile selects."""

    selected: int
    """How many."""
    conflicting: int | None = None
    """How many of them another profile of the same priority disagrees about."""


class CameraProfileStatus(Model):
    """What a profile does."""

    observed_generation: int | None = None
    """Generation of the document that was acted on."""
    cameras: SelectedStatus | None = None
    """Cameras that it selects."""
    conditions: Conditions | None = None
    """Conditions."""


class IdentityStatus(Model):
    """Which server this is."""

    instance_id: str | None = Field(default=None, alias="instanceID")
    """Its instance."""
    root_sha256: str | None = Field(default=None, alias="rootSHA256")
    """Fingerprint of its root certificate."""
    host: str | None = None
    """Host in its data."""
    version: str | None = None
    """Version of its program."""
    adopted: bool | None = None
    """Whether its data came from the vendor's server."""
    signer: str | None = None
    """Public key of what signs its archives: a restore accepts no other."""


class CamerasStatus(Model):
    """Cameras in numbers."""

    summary: str
    """Online of documented, `2/3`."""
    documented: int
    """Cameras that name this server."""
    online: int
    """Of them connected or asleep."""
    undocumented: int | None = None
    """Devices that it knows and no Camera names."""


class ConfigStatus(Model):
    """Its configuration."""

    pending_restart: list[str] | None = None
    """Members that take effect at the next start."""


class EnrolmentStatus(Model):
    """Claims applied last."""

    policy: str
    """Documented or Open."""
    claimed: int
    """How many UIDs may enrol."""
    digest: str
    """Fingerprint of them."""


class TargetStatus(Model):
    """A target of archives."""

    name: str
    """Which."""
    covered: bool
    """Whether the present keys are in an archive on it."""
    archive: str | None = None
    """The archive stored last."""
    stored_at: datetime | None = None
    """When it was read back."""
    reason: str | None = None
    """What is wrong, one word."""
    message: str | None = None
    """For people."""


class BackupStatus(Model):
    """Archives of its keys."""

    configured: bool
    """Whether it has a policy."""
    covers: bool
    """Whether the present keys are in a verified archive."""
    generation: int | None = None
    """Generation of the present keys."""
    last_verified: datetime | None = None
    """When an archive was last read back from a target."""
    targets: Annotated[list[TargetStatus] | None, Field(json_schema_extra=list_map("name"))] = None
    """Where archives go."""


class DeletionsStatus(Model):
    """Deleted cameras that are held."""

    hold: datetime
    """What MassDeletion acknowledges: the moment of the newest deletion."""
    held: int
    """How many."""


class GatewayStatus(Model):
    """HTTPS and RTSPS for clients."""

    url: str | None = None
    """Where clients call."""
    play_url_prefix: Annotated[str | None, Field(alias="playURLPrefix")] = None
    """What play addresses begin with."""
    serial: str | None = None
    """Serial of the certificate that is served."""
    not_after: datetime | None = None
    """Its end."""
    labels: str | None = None
    """Fingerprint of the cameras' labels that the server was told last."""


class RopServerStatus(Model):
    """What is known of a server."""

    observed_generation: int | None = None
    """Generation of the document that was acted on."""
    identity: IdentityStatus | None = None
    """Which server this is."""
    cameras: CamerasStatus | None = None
    """Cameras in numbers."""
    server_certificate: CertificateStatus | None = None
    """The certificate it shows to devices."""
    config: ConfigStatus | None = None
    """Its configuration."""
    enrolment: EnrolmentStatus | None = None
    """Claims applied last."""
    backup: BackupStatus | None = None
    """Archives of its keys."""
    deletions: DeletionsStatus | None = None
    """Deleted cameras that are held."""
    gateway: GatewayStatus | None = None
    """Its gateway."""
    observed: Observed | None = None
    """Facts that decisions are made from."""
    conditions: Conditions | None = None
    """Conditions."""


class FirmwareImageStatus(Model):
    """What is known of a firmware file."""

    observed_generation: int | None = None
    """Generation of the document that was acted on."""
    size: int | None = None
    """Bytes of the file, once it is here."""
    conditions: Conditions | None = None
    """Conditions."""


class PhaseStatus(Model):
    """A phase that a run came to."""

    name: str
    """Which."""
    at: datetime
    """When it came there first."""


class ProgressStatus(Model):
    """How far a run is."""

    done: int
    """What is done."""
    total: int
    """Of how many."""
    summary: str
    """`3/10`."""


class RunStatus(Model):
    """What is known of a run."""

    observed_generation: int | None = None
    """Generation of the document that was acted on."""
    phase: str | None = None
    """Where it is."""
    started_at: datetime | None = None
    """When it began."""
    completed_at: datetime | None = None
    """When it ended, well or not."""
    phases: Annotated[list[PhaseStatus] | None, Field(json_schema_extra=list_map("name"))] = None
    """Phases it came to, in order."""
    progress: ProgressStatus | None = None
    """How far it is."""
    observed: Observed | None = None
    """Facts that decisions are made from, and what came out."""
    conditions: Conditions | None = None
    """Conditions."""
