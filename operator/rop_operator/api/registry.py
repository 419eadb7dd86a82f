"""The table of kinds: everything else about a kind hangs on its row."""

from __future__ import annotations

from dataclasses import dataclass

from rop_operator.api.backup_run import RopBackupSpec
from rop_operator.api.base import Model
from rop_operator.api.camera import CameraSpec
from rop_operator.api.drill import RecoveryDrillSpec
from rop_operator.api.firmware import FirmwareImageSpec
from rop_operator.api.profile import CameraProfileSpec
from rop_operator.api.rollout import FirmwareRolloutSpec
from rop_operator.api.rotation import KeyRotationSpec
from rop_operator.api.server import RopServerSpec
from rop_operator.api.status import (
    CameraProfileStatus,
    CameraStatus,
    FirmwareImageStatus,
    RopServerStatus,
    RunStatus,
)

GROUP = "rop.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = "rop.dev/revoke"
REQUESTED_AT = "rop.dev/requestedAt"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get` and `ropctl get`. `wide` ones only with `-o wide`."""

    title: str
    json_path: str
    type: str = "string"
    format: str | None = None
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of group rop.dev."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    model: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    conditions: tuple[str, ...]
    # Words of ropctl only: to kubectl `rs` is a ReplicaSet.
    aliases: tuple[str, ...] = ()

    def names(self) -> frozenset[str]:
        """Every word a user may call it by, lower-case."""
        return frozenset({self.kind.lower(), self.plural, self.singular, *self.short_names, *self.aliases})


def condition_path(type_: str, member: str = "status") -> str:
    """JSON path of a member of a condition."""
    return f'.status.conditions[?(@.type=="{type_}")].{member}'


_END = (
    Column("Ready", condition_path("Ready")),
    Column("Reason", condition_path("Ready", "reason")),
    Column("Age", ".metadata.creationTimestamp", "date"),
)
_STATE = ("Accepted", "Ready", "Reconciling", "Stalled")
_RUN = ("Progressing", "Complete", "Failed")

KINDS: tuple[Kind, ...] = (
    Kind(
        kind="RopServer",
        plural="ropservers",
        singular="ropserver",
        short_names=("rops",),
        aliases=("rs",),
        model=RopServerSpec,
        status=RopServerStatus,
        columns=(
            Column("Host", ".spec.host"),
            Column("Online", ".status.cameras.summary"),
            Column("Cert-Expires", ".status.serverCertificate.notAfter", format="date-time"),
            Column("Backup", ".status.backup.lastVerified", format="date-time"),
            *_END,
        ),
        conditions=(
            *_STATE,
            "Serving",
            "CertificatesValid",
            "ConfigInSync",
            "BackedUp",
            "DrillPassed",
            "GatewayReady",
            "FullyObserved",
        ),
    ),
    Kind(
        kind="Camera",
        plural="cameras",
        singular="camera",
        short_names=("cam",),
        model=CameraSpec,
        status=CameraStatus,
        columns=(
            Column("UID", ".spec.uid"),
            Column("Server", ".spec.serverRef.name"),
            Column("Online", ".status.state"),
            Column("Firmware", ".status.firmware"),
            *_END,
        ),
        conditions=(*_STATE, "Online", "Provisioned", "SettingsInSync", "CertificateValid"),
    ),
    Kind(
        kind="CameraProfile",
        plural="cameraprofiles",
        singular="cameraprofile",
        short_names=("cprof",),
        aliases=("profile", "profiles"),
        model=CameraProfileSpec,
        status=CameraProfileStatus,
        columns=(
            Column("Server", ".spec.serverRef.name"),
            Column("Priority", ".spec.priority", "integer"),
            Column("Cameras", ".status.cameras.selected", "integer"),
            *_END,
        ),
        conditions=_STATE,
    ),
    Kind(
        kind="KeyRotation",
        plural="keyrotations",
        singular="keyrotation",
        short_names=("krot",),
        model=KeyRotationSpec,
        status=RunStatus,
        columns=(
            Column("Server", ".spec.serverRef.name"),
            Column("Item", ".spec.item"),
            Column("To", ".spec.toGeneration", "integer"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.summary"),
            *_END,
        ),
        conditions=(*_STATE, *_RUN),
    ),
    Kind(
        kind="FirmwareImage",
        plural="firmwareimages",
        singular="firmwareimage",
        short_names=("fwi",),
        model=FirmwareImageSpec,
        status=FirmwareImageStatus,
        columns=(
            Column("Version", ".spec.version"),
            Column("Size", ".status.size", "integer"),
            *_END,
        ),
        conditions=_STATE,
    ),
    Kind(
        kind="FirmwareRollout",
        plural="firmwarerollouts",
        singular="firmwarerollout",
        short_names=("fwr",),
        aliases=("rollout", "rollouts"),
        model=FirmwareRolloutSpec,
        status=RunStatus,
        columns=(
            Column("Server", ".spec.serverRef.name"),
            Column("Image", ".spec.imageRef.name"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.summary"),
            *_END,
        ),
        conditions=(*_STATE, *_RUN),
    ),
    Kind(
        kind="RopBackup",
        plural="ropbackups",
        singular="ropbackup",
        short_names=("rbak",),
        model=RopBackupSpec,
        status=RunStatus,
        columns=(
            Column("Server", ".spec.serverRef.name"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress.summary"),
            Column("Archive", ".status.observed.archive"),
            *_END,
        ),
        conditions=(*_STATE, *_RUN),
    ),
    Kind(
        kind="RecoveryDrill",
        plural="recoverydrills",
        singular="recoverydrill",
        short_names=("drill",),
        aliases=("drills",),
        model=RecoveryDrillSpec,
        status=RunStatus,
        columns=(
            Column("Server", ".spec.serverRef.name"),
            Column("Phase", ".status.phase"),
            Column("RTO", ".status.observed.rtoSeconds", "number"),
            Column("RPO", ".status.observed.rpoSeconds", "number"),
            Column("Archive", ".status.observed.archive"),
            *_END,
        ),
        conditions=(*_STATE, *_RUN),
    ),
)


def kind_of(name: str) -> Kind | None:
    """The kind of exactly this `kind`."""
    return next((row for row in KINDS if row.kind == name), None)


def kind_called(word: str) -> Kind | None:
    """The kind a user means: `Camera`, `camera`, `cameras`, `cam`, with or without `.rop.dev`."""
    plain = word.lower().removesuffix(f".{GROUP}")
    return next((row for row in KINDS if plain in row.names()), None)
