"""Plans: what should happen next, as values. `ropctl plan` prints one, the engine executes it unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Action:
    """One step. `device_writes`, `wakes` and `reboots` are what it costs the camera."""

    device_writes: ClassVar[int] = 0
    reboots: ClassVar[int] = 0

    @property
    def wakes(self) -> int:
        """Battery wakes this step costs."""
        return 0


@dataclass(frozen=True, slots=True)
class EnsureRuntime(Action):
    """Start (or keep running) the managed server; `members` are config members for its first start."""

    members: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RestartRuntime(Action):
    """Restart the managed server because these members need it."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopRuntime(Action):
    """Stop the managed server; its data stays."""


@dataclass(frozen=True, slots=True)
class TakeManagement(Action):
    """Become the server's manager."""

    take_over: bool


@dataclass(frozen=True, slots=True)
class ApplyConfig(Action):
    """Write config members; `shown` is the same with secrets masked, for people."""

    members: Mapping[str, Any] = field(repr=False)
    shown: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApplyBackup(Action):
    """Set the backup policy, which holds credentials; `targets` and `recipients` are names, for people."""

    policy: Mapping[str, Any] = field(repr=False)
    targets: tuple[str, ...]
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnsureGateway(Action):
    """Start (or keep running) the server's gateway with this document and these files, which hold secrets. The
    adapter adds to the document where things lie.
    """

    host: str
    document: Mapping[str, Any] = field(repr=False)
    files: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StopGateway(Action):
    """Stop the server's gateway."""


@dataclass(frozen=True, slots=True)
class ReplaceLabels(Action):
    """Tell the server the labels of cameras, by UID."""

    labels: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ReplaceClaims(Action):
    """Set the enrolment policy and the UIDs that may enrol."""

    policy: str
    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetFinalizer(Action):
    """Add or remove `rop.dev/revoke`."""

    present: bool


@dataclass(frozen=True, slots=True)
class SetAccess(Action):
    """Allow or deny a device on every port."""

    uid: str
    access: str


@dataclass(frozen=True, slots=True)
class WriteSettings(Action):
    """Write (and read) settings in one call. `asleep`: the device is woken for it, once. `drifted`: fields that
    were changed by somebody else.
    """

    uid: str
    write: Mapping[str, Any]
    read: tuple[str, ...]
    asleep: bool
    drifted: tuple[str, ...] = ()

    @property
    def device_writes(self) -> int:  # type: ignore[override]
        """One command per group written."""
        return len({f.split(".")[0] for f in self.write})

    @property
    def wakes(self) -> int:
        """One when the device sleeps and something is written."""
        return 1 if self.asleep and self.write else 0


@dataclass(frozen=True, slots=True)
class Discover(Action):
    """Look for the camera on the LAN."""

    uid: str


@dataclass(frozen=True, slots=True)
class HandOver(Action):
    """One-way: the camera leaves the vendor's cloud for this server. `address` None: found by discovery."""

    device_writes: ClassVar[int] = 1

    uid: str
    attempt: int
    address: str | None
    port: int | None


@dataclass(frozen=True, slots=True)
class RotateStep(Action):
    """One step of a rotation of `item` to `generation`. `canary`: UIDs that go first. `acknowledged`: what is
    given up with a person's word.
    """

    item: str
    step: str
    generation: int
    canary: tuple[str, ...] = ()
    devices_per_minute: int | None = None
    acknowledged: str | None = None


@dataclass(frozen=True, slots=True)
class StoreImage(Action):
    """Put the file with this hash into the server's firmware folder."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class HoldUpgrades(Action):
    """These devices, and no others, are the holder's for so many seconds; nobody else upgrades them."""

    holder: str
    uids: tuple[str, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class StartUpgrade(Action):
    """Begin an upgrade of one camera. What became of it is observed, not answered."""

    device_writes: ClassVar[int] = 1
    reboots: ClassVar[int] = 1

    camera: str
    uid: str
    file: str
    sha256: str
    holder: str
    factory_reset: bool = False
    asleep: bool = False

    @property
    def wakes(self) -> int:
        """One for a device that sleeps."""
        return 1 if self.asleep else 0


@dataclass(frozen=True, slots=True)
class MakeArchive(Action):
    """Ask for an archive; the same `id` asks once. `targets` empty: every target of the policy."""

    id: str
    targets: tuple[str, ...] = ()
    retain: str = "ByPolicy"


@dataclass(frozen=True, slots=True)
class EnrolDrillCamera(Action):
    """Make the virtual camera of drills. `keys`: what it depends on; `replace`: instead of the one there is."""

    keys: str
    replace: bool = False


@dataclass(frozen=True, slots=True)
class StartDrill(Action):
    """Drill with the newest archive of a target; the same `id` begins once. Times are seconds."""

    id: str
    target: str
    timeout: float
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class StopDrill(Action):
    """End a drill that runs."""

    id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know. `severity` is `Info`, `Warning` or `Error`."""

    severity: str
    reason: str
    message: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions, when to look again (seconds, None: only on change), and findings.

    `later` is what follows at most once the camera is online; it is shown, and planned again then.
    """

    actions: tuple[Action, ...] = ()
    wait: float | None = None
    findings: tuple[Finding, ...] = ()
    later: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """An action was carried out; `value` is what it observed."""

    value: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; look again after `after` seconds. Becomes a condition with this reason."""

    after: float
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Will not work until something changes: a terminal reason for a person."""

    reason: str
    message: str


Outcome = Done | Wait | Failed
