"""What the engine needs from the world. Adapters implement these; the engine and the domain never see more."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from rop_operator.api.facts import (
    BackupRunFacts,
    DeviceFacts,
    Document,
    DrillCamera,
    DrillRun,
    FirmwareFacts,
    FleetEvent,
    Found,
    GatewayRun,
    Ref,
    RotationFacts,
    ServerFacts,
    Session,
    WriteResult,
)
from rop_operator.api.questions import Question
from rop_operator.domain.plan import EnsureGateway, MakeArchive, RotateStep, StartDrill, StartUpgrade


class PortError(Exception):
    """An adapter failed in a way a person can act on. `reason` is a condition reason (CamelCase)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class NothingSent(PortError):
    """A hand-over that never began: nothing reached the camera, which is as it was."""


class Store(Protocol):
    """Documents, their status and their events."""

    def changes(self) -> AsyncIterator[Ref]:
        """Every ref once at the start, then each ref whose document or secret reference may have changed."""
        ...

    async def get(self, ref: Ref) -> Document | None:
        """The newest version, None when it is gone."""
        ...

    async def list(self, kind: str, namespace: str | None = None) -> Sequence[Document]:
        """All documents of a kind."""
        ...

    async def put_status(self, document: Document, status: Mapping[str, Any]) -> None:
        """Replace the status. Called only when it differs. A vanished document is not an error."""
        ...

    async def set_finalizer(self, document: Document, name: str, present: bool) -> None:
        """Add or remove a finalizer; removing the last one of a deleted document makes it go."""
        ...

    async def record_event(self, ref: Ref, type_: str, reason: str, message: str) -> None:
        """Record an event a person can read; `type_` is `Normal` or `Warning`. Never fails."""
        ...


class Secrets(Protocol):
    """Secret values by reference."""

    async def read(self, namespace: str, name: str, key: str) -> bytes:
        """The value. PortError: SecretNotFound, SecretKeyMissing, SecretNotReferable, SecretInvalid."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach a server. `url` is `unix:///...` or `https://...`; `interface` Management or ClientAPI;
    `server_name` is the name its certificate must have, None: the one in the URL.
    """

    url: str
    interface: str
    ca_pem: bytes | None = None
    token: str | None = field(default=None, repr=False)
    server_name: str | None = None


class Server(Protocol):
    """One core server, through its management interface or its client API. Calls raise PortError
    (`Unreachable`, `Fenced`, `ManagedElsewhere`, `NotSupported`, or a device symbol as CamelCase).
    """

    async def observe(self, expected: Mapping[str, Any], backup: Mapping[str, Any] | None = None) -> ServerFacts:
        """Facts of the server itself. `expected` config members (dotted) are compared, secrets included;
        those that differ come back in `config_differs`; so is the policy `backup`, in `backup.differs`.
        Unreachable is a fact, not an error.
        """
        ...

    async def devices(self) -> Sequence[DeviceFacts]:
        """Every device ever seen; starts or restarts the event cursor."""
        ...

    def events(self) -> AsyncIterator[FleetEvent | None]:
        """Changes after `devices()`, in order; None asks for a fresh `devices()` (gap, restart, poll tick).
        Raises PortError when the server is unreachable.
        """
        ...

    async def take_management(self, manager: str, take_over: bool) -> int:
        """Become the manager; returns the fence to use from now on (the adapter remembers it)."""
        ...

    async def apply_config(self, members: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """Write dotted members; returns lists under `applied`, `restart`, `unchanged`."""
        ...

    async def apply_backup(self, policy: Mapping[str, Any]) -> None:
        """Set the backup policy, credentials included."""
        ...

    async def replace_labels(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the labels of all cameras, by UID."""
        ...

    async def claim(self, policy: str, uids: Sequence[str]) -> None:
        """Replace the enrolment policy and the claimed UIDs."""
        ...

    async def set_access(self, uid: str, access: str) -> DeviceFacts:
        """Allowed or Denied; a denial is durable and cuts the device off before this returns."""
        ...

    async def settings(self, uid: str, write: Mapping[str, Any], read: Sequence[str], wake: bool) -> WriteResult:
        """Write and read settings in one go; at most one wake, none when `wake` is False (`DeviceAsleep`)."""
        ...

    async def initialization_session(self, uid: str) -> Session:
        """Open a session whose code lets the camera enrol."""
        ...

    async def pki(self) -> Mapping[str, Any]:
        """The authority and the census, as the server tells them."""
        ...

    async def approve_renewal(self, uid: str, seconds: float) -> Mapping[str, Any]:
        """Let a device renew once within this time; `uid` and `until`."""

    async def ask(self, question: Question) -> Mapping[str, Any]:
        """What a person asks of this server. PortError `NotSupported` where it cannot tell."""
        ...

    async def rotations(self) -> Sequence[RotationFacts]:
        """Where every item that can be rotated is."""
        ...

    async def rotate(self, order: RotateStep) -> RotationFacts:
        """Carry out one step; given again it changes nothing. PortError: `GenerationGap`, `WrongPhase`,
        `BackupRequired`, `RootSealed`, `CanaryLost`, `StillNeeded`, `NotSupported`; nothing was changed then.
        """
        ...

    async def firmware(self) -> FirmwareFacts:
        """Files of the firmware folder, newest upgrades, holds. PortError `NotSupported`."""
        ...

    async def put_firmware(self, name: str, sha256: str, file: Path) -> None:
        """Bring a file with this hash into the folder; the same file again is a success. PortError."""
        ...

    async def hold_upgrades(self, holder: str, uids: Sequence[str], seconds: int) -> None:
        """These devices, and no others, are the holder's for so long; what others hold stays theirs."""
        ...

    async def start_upgrade(self, order: StartUpgrade) -> None:
        """Begin one; truth is the version at the next handshake. PortError `DeviceOffline`, `DeviceAsleep`,
        `DuplicateUpgrade`, `FileNotFound`, ...: nothing began.
        """
        ...

    async def backup_run(self, id_: str) -> BackupRunFacts | None:
        """An archive that was asked for, None when the server does not know of it."""
        ...

    async def make_archive(self, order: MakeArchive) -> BackupRunFacts:
        """Ask for an archive; once for an id. PortError: `PolicyUnknown`, `TargetUnknown`, `RunConflict`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class Fleet(Protocol):
    """Makes `Server`s."""

    def connect(self, endpoint: Endpoint) -> Server:
        """A client of that endpoint; no traffic yet."""
        ...


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """State of a managed server's process or pods: `Starting`, `Running`, `Failed` or `Stopped`."""

    state: str
    message: str | None = None
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """What is not as `ensure` makes it around a running server. `parts` are repaired beside it; `outdated` says
    why the server itself should be started anew (None: it need not).
    """

    parts: tuple[str, ...] = ()
    outdated: str | None = None


class Runtime(Protocol):
    """Runs core servers. They outlive the engine."""

    async def drift(self, ref: Ref) -> Drift:
        """What differs around a running server, by reading only. PortError."""
        ...

    async def ensure(self, ref: Ref, members: Mapping[str, Any], environment: Mapping[str, str]) -> RuntimeState:
        """See that the server of this RopServer runs; first start creates its data with `environment`
        (`ROP_HOSTNAME`, ...) and these dotted config members. Idempotent; returns at once with the state.
        """
        ...

    async def restart(self, ref: Ref) -> RuntimeState:
        """Stop gracefully and start again (a member needs it)."""
        ...

    async def stop(self, ref: Ref) -> None:
        """Stop the server; its data stays."""
        ...


class Gateways(Protocol):
    """Runs gateways beside servers. They outlive the engine."""

    async def observe(self, ref: Ref, wanted: EnsureGateway | None) -> GatewayRun:
        """How the gateway of this RopServer is, and whether it was given just this."""
        ...

    async def ensure(self, ref: Ref, wanted: EnsureGateway) -> GatewayRun:
        """Give it this and see that it runs; one that dies is started again, less and less often."""
        ...

    async def stop(self, ref: Ref) -> None:
        """Stop it; what it keeps stays."""
        ...


class Drills(Protocol):
    """Runs recovery drills beside servers. They outlive the engine. PortError `DrillNotPossible`."""

    async def camera(self, server: Ref) -> DrillCamera | None:
        """The drill camera of this server."""
        ...

    async def enrol(self, server: Ref, keys: str) -> None:
        """Enrol it, or enrol it again; the server need not run. `keys` is told again by `camera`."""
        ...

    async def run(self, server: Ref, id_: str) -> DrillRun | None:
        """A drill that was begun; its report counts only when its signature holds."""
        ...

    async def start(self, server: Ref, order: StartDrill, place: Mapping[str, Any], identity: bytes) -> None:
        """Begin a drill; the same id begins once. `place`: the target as the policy has it, with credentials."""
        ...

    async def stop(self, server: Ref, id_: str) -> None:
        """End one that runs."""
        ...


class Lan(Protocol):
    """The cameras' LAN as seen from here."""

    async def discover(self, seconds: float) -> Sequence[Found]:
        """Broadcast and collect answers. PortError `NotReachableFromHere` where no LAN can be reached."""
        ...

    async def hand_over(self, address: str, port: int, session: Session) -> str | None:
        """POST the session to the camera; None on success, else the symbol it answered.
        NothingSent: `NotReachableFromHere` (address outside the allowed networks), `CameraSilent` (no connection).
        PortError: `CameraSilent` (no answer: what became of the camera is not known).
        """
        ...


class Images(Protocol):
    """Firmware files by their hash, on this side."""

    def find(self, sha256: str) -> Path | None:
        """The whole, verified file; None when it is not here."""
        ...

    async def fetch(self, sha256: str, url: str) -> Path:
        """Bring it from a web server; at once when it is here. PortError `HashMismatch` (another file lies there),
        `FetchFailed`, `EgressRefused`, `StoreFull`; nothing is kept then.
        """
        ...


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """UTC now."""
        ...

    def monotonic(self) -> float:
        """Monotonic seconds."""
        ...
