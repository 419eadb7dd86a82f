"""What decisions are made from: one camera or one server with everything known of it at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rop_operator.api.backup import CREDENTIAL_KEYS
from rop_operator.api.camera import CameraSpec, WakeBudget
from rop_operator.api.durations import parse_duration
from rop_operator.api.facts import DeviceFacts, Document, GatewayRun, Ref, ServerFacts
from rop_operator.api.gateway import CERTIFICATE_KEYS
from rop_operator.api.parse import camera_spec, problems_of, server_spec
from rop_operator.api.registry import Kind, kind_of
from rop_operator.api.server import RopServerSpec
from rop_operator.domain.profiles import Profile, Wanted, merge
from rop_operator.errors import Problem

DEFAULT_CODE_EXPIRY = 60.0
NOTHING = Wanted({})
Departure = Literal["Released", "Held", "Unjudged"]
BASIC_AUTH, GATEWAY_PAIR = "spec.gateway.basicAuthRef", "spec.gateway.certificate.secretRef"
TALKING = frozenset({"Online", "Asleep"})


@dataclass(frozen=True, slots=True)
class SecretProblem:
    """Why a secret has no value: SecretNotFound, SecretKeyMissing, SecretNotReferable or SecretInvalid."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A reference of a spec to a secret; `field` is its path (`spec.external.tokenRef`)."""

    field: str
    name: str
    key: str


def _kind(name: str) -> Kind:
    found = kind_of(name)
    if found is None:
        raise LookupError(name)
    return found


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """A Camera at one moment. `server_document` None: there is no such RopServer. `server` None: not observed yet.
    `device` None: the server has never heard of it. `rivals`: other Cameras with the same UID and server.
    `claimed`: whether the server already lets this UID enrol. `profiles`: the CameraProfiles that select it.
    `departure`: what its RopServer says to its deletion, `hold` why it is held.
    """

    document: Document
    now: datetime
    server_document: Document | None = None
    server: ServerFacts | None = None
    device: DeviceFacts | None = None
    rivals: Sequence[Document] = ()
    claimed: bool = True
    profiles: Sequence[Profile] = ()
    departure: Departure = "Released"
    hold: str = ""
    wanted: Wanted = field(init=False, default=NOTHING, repr=False)
    problems: tuple[Problem, ...] = field(init=False, default=())
    parsed: CameraSpec | None = field(init=False, default=None, repr=False)
    server_spec: RopServerSpec | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Parse the specs once."""
        problems = tuple(problems_of(_kind("Camera"), self.document.spec))
        object.__setattr__(self, "problems", problems)
        if not problems:
            spec = camera_spec(self.document.spec)
            object.__setattr__(self, "parsed", spec)
            object.__setattr__(self, "wanted", merge(spec, self.profiles))
        if self.server_document and not problems_of(_kind("RopServer"), self.server_document.spec):
            object.__setattr__(self, "server_spec", server_spec(self.server_document.spec))

    @property
    def spec(self) -> CameraSpec:
        """The valid spec. Only for snapshots without `problems`."""
        if self.parsed is None:
            raise ValueError(f"{self.document.ref}: {self.problems[0]}")
        return self.parsed

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last written."""
        return self.document.status

    @property
    def uid(self) -> str:
        """UID of the device."""
        return self.spec.uid

    @property
    def talking(self) -> bool:
        """Whether the device is connected, asleep or not."""
        return self.device is not None and self.device.state in TALKING

    @property
    def asleep(self) -> bool:
        """Whether reaching the device costs a wake."""
        return self.device is not None and self.device.state == "Asleep"

    @property
    def budget(self) -> WakeBudget | None:
        """How often it may be woken, None for as often as there is something to write."""
        return self.wanted.budget.value if self.wanted.budget is not None else None

    @property
    def managed_interface(self) -> bool:
        """Whether the server offers the management interface (claims, access, certificates)."""
        return self.server is not None and self.server.interface == "Management"

    @property
    def suspended(self) -> bool:
        """Whether the Camera or its server is suspended."""
        return self.spec.suspend or bool(self.server_spec and self.server_spec.suspend)

    @property
    def code_expiry(self) -> float:
        """Life of an authorization code in seconds."""
        enrolment = self.server_spec.enrolment if self.server_spec else None
        if enrolment is None or enrolment.code_expiry is None:
            return DEFAULT_CODE_EXPIRY
        return parse_duration(enrolment.code_expiry)

    @property
    def resync(self) -> float:
        """Seconds after which settings of a mains-powered camera are read again."""
        return parse_duration(self.server_spec.settings_resync if self.server_spec else "10m")

    @property
    def reads_per_second(self) -> int:
        """How many cameras of its server may be read a second."""
        return self.server_spec.settings_reads_per_second if self.server_spec else 20


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """A RopServer at one moment. `cameras` are all Cameras that name it, `devices` what it knows by UID,
    `secrets` the values (or why there is none) by the field of their reference, `rivals` other RopServers with the
    same instance. `has_runtime`: whether servers can be run here. `gateway_run`: its gateway's process,
    None where gateways are not run by this engine. `facts.fence` None: management is not held.
    """

    document: Document
    now: datetime
    facts: ServerFacts | None = None
    cameras: Sequence[Document] = ()
    devices: Mapping[str, DeviceFacts] = field(default_factory=dict)
    secrets: Mapping[str, str | SecretProblem] = field(default_factory=dict, repr=False)
    rivals: Sequence[Document] = ()
    manager_id: str = ""
    has_runtime: bool = True
    gateway_run: GatewayRun | None = None
    drills: Sequence[Document] = ()
    problems: tuple[Problem, ...] = field(init=False, default=())
    parsed: RopServerSpec | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Parse the spec once."""
        problems = tuple(problems_of(_kind("RopServer"), self.document.spec))
        object.__setattr__(self, "problems", problems)
        if not problems:
            object.__setattr__(self, "parsed", server_spec(self.document.spec))

    @property
    def spec(self) -> RopServerSpec:
        """The valid spec. Only for snapshots without `problems`."""
        if self.parsed is None:
            raise ValueError(f"{self.document.ref}: {self.problems[0]}")
        return self.parsed

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last written."""
        return self.document.status

    @property
    def managed(self) -> bool:
        """Whether the server is run by this engine."""
        return self.spec.external is None


def secret_uses(spec: RopServerSpec) -> tuple[SecretUse, ...]:
    """Every secret a RopServer refers to: resolve these before making its snapshot."""
    found = []
    if spec.external is not None:
        for member, ref in (("caRef", spec.external.ca_ref), ("tokenRef", spec.external.token_ref)):
            if ref is not None:
                found.append(SecretUse(f"spec.external.{member}", ref.name, ref.key))
    for number, sink in enumerate(spec.alarms.sinks if spec.alarms else ()):
        found.append(SecretUse(f"spec.alarms.sinks[{number}].urlRef", sink.url_ref.name, sink.url_ref.key))
    return (*found, *_backup_secrets(spec), *_gateway_secrets(spec))


def target_field(number: int) -> str:
    """Path of a bucket in a spec."""
    return f"spec.backup.targets[{number}].s3"


def _backup_secrets(spec: RopServerSpec) -> Iterator[SecretUse]:
    for number, target in enumerate(spec.backup.targets if spec.backup else ()):
        if target.s3 is None:
            continue
        where, bucket = target_field(number), target.s3
        for key in CREDENTIAL_KEYS:
            yield SecretUse(f"{where}.credentialsRef.{key}", bucket.credentials_ref.name, key)
        if bucket.ca_ref is not None:
            yield SecretUse(f"{where}.caRef", bucket.ca_ref.name, bucket.ca_ref.key)


def _gateway_secrets(spec: RopServerSpec) -> Iterator[SecretUse]:
    gateway = spec.gateway
    if gateway is None:
        return
    if gateway.basic_auth_ref is not None:
        yield SecretUse(BASIC_AUTH, gateway.basic_auth_ref.name, gateway.basic_auth_ref.key)
    if gateway.certificate.secret_ref is not None:
        for key in CERTIFICATE_KEYS:
            yield SecretUse(f"{GATEWAY_PAIR}.{key}", gateway.certificate.secret_ref.name, key)


def server_ref(camera: Document) -> Ref | None:
    """The RopServer a Camera names, None when its spec does not say."""
    reference = camera.spec.get("serverRef")
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return Ref("RopServer", camera.ref.namespace, name) if isinstance(name, str) else None
