"""A scene: one camera on one server, with everything known of them, to change piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rop_operator.api.facts import DeviceFacts, Document, GatewayRun, Ref, ServerFacts
from rop_operator.api.registry import FINALIZER
from rop_operator.domain.camera import plan_camera
from rop_operator.domain.plan import Plan
from rop_operator.domain.profiles import Profile
from rop_operator.domain.provisioning import Journal, with_journal
from rop_operator.domain.server import plan_server
from rop_operator.domain.server_status import server_status
from rop_operator.domain.snapshot import CameraSnapshot, ServerSnapshot
from rop_operator.domain.status import Outcomes, camera_status

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
UID = "952700010000ABCD"


def device(state: str = "Online", **members: Any) -> DeviceFacts:
    """Facts of the camera. `settings={"displayName": "x"}` were read a minute ago."""
    settings = {
        name: {"value": value, "at": NOW - timedelta(seconds=60), "how": "Read"}
        for name, value in members.pop("settings", {}).items()
    }
    base: dict[str, Any] = {
        "uid": UID,
        "state": state,
        "family": "ipc",
        "firmware": "v3.1",
        "certificate": {"serial": "01", "notAfter": NOW + timedelta(days=100)},
        "settings": settings,
    }
    return DeviceFacts.model_validate({**base, **members})


def server_facts(**members: Any) -> ServerFacts:
    """Facts of a server that runs well and is managed by us."""
    base: dict[str, Any] = {
        "interface": "Management",
        "reachable": True,
        "ready": True,
        "instanceID": "i-1",
        "host": "rop.example.net",
        "managerId": "me",
        "fence": 1,
        "rootSHA256": "ab",
        "serverCertificateNotAfter": NOW + timedelta(days=60),
        "features": ("settings", "claims", "events", "config"),
        "config": {"serverHost": "rop.example.net", "authCode.expiredIn": 60},
    }
    return ServerFacts.model_validate({**base, **members})


def server_document(**spec: Any) -> Document:
    """The RopServer `home`."""
    return Document(
        Ref("RopServer", "video", "home"), "s-1", 1, {"host": "rop.example.net", **spec}, {}, created=NOW
    )


def camera_document(name: str = "front-door", uid: str = UID, age: int = 100, **spec: Any) -> Document:
    """A Camera with its finalizer, `age` seconds old."""
    return Document(
        Ref("Camera", "video", name),
        f"uid-of-{name}",
        1,
        {"serverRef": {"name": "home"}, "uid": uid, **spec},
        {},
        finalizers=(FINALIZER,),
        created=NOW - timedelta(seconds=age),
    )


@dataclass
class Scene:
    """The camera's snapshot in the making."""

    document: Document = field(default_factory=camera_document)
    server: ServerFacts | None = field(default_factory=server_facts)
    home: Document | None = field(default_factory=server_document)
    device: DeviceFacts | None = None
    rivals: list[Document] = field(default_factory=list)
    claimed: bool = True
    profiles: list[Profile] = field(default_factory=list)
    now: datetime = NOW

    def spec(self, **members: Any) -> "Scene":
        """Change members of the spec; a new generation."""
        spec = {**self.document.spec, **members}
        self.document = replace(self.document, spec=spec, generation=self.document.generation + 1)
        return self

    def journal(self, phase: str, **members: Any) -> "Scene":
        """Put a journal into the status."""
        entry = Journal(**{"attempt": 1, "phase": phase, "at": self.now, "tries": 1, **members})
        self.document = replace(self.document, status=with_journal(self.document.status, entry))
        return self

    def later(self, seconds: float) -> "Scene":
        """Time passes."""
        self.now += timedelta(seconds=seconds)
        return self

    @property
    def snapshot(self) -> CameraSnapshot:
        """As the engine takes it."""
        return CameraSnapshot(
            self.document,
            self.now,
            server_document=self.home,
            server=self.server,
            device=self.device,
            rivals=tuple(self.rivals),
            claimed=self.claimed,
            profiles=tuple(self.profiles),
        )

    @property
    def plan(self) -> Plan:
        """The decision."""
        return plan_camera(self.snapshot)

    def status(self, outcomes: Outcomes = ()) -> dict[str, Any]:
        """The status after a cycle; kept in the document."""
        written = camera_status(self.snapshot, self.plan, outcomes)
        self.document = replace(self.document, status=written)
        return written

    def condition(self, type_: str, outcomes: Outcomes = ()) -> tuple[str, str]:
        """Status and reason of a condition after a cycle."""
        found = next(c for c in self.status(outcomes)["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


@dataclass
class Site:
    """The server's snapshot in the making."""

    document: Document = field(default_factory=server_document)
    facts: ServerFacts | None = field(default_factory=server_facts)
    cameras: list[Document] = field(default_factory=list)
    devices: dict[str, DeviceFacts] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    rivals: list[Document] = field(default_factory=list)
    has_runtime: bool = True
    gateway_run: GatewayRun | None = None
    now: datetime = NOW

    def spec(self, **members: Any) -> "Site":
        """Change members of the spec."""
        self.document = replace(self.document, spec={**self.document.spec, **members})
        return self

    def camera(self, labels: dict[str, str] | None = None, **members: Any) -> Document:
        """A Camera of this server with labels."""
        return replace(camera_document(**members), labels=labels or {})

    @property
    def snapshot(self) -> ServerSnapshot:
        """As the engine takes it."""
        return ServerSnapshot(
            self.document,
            self.now,
            self.facts,
            tuple(self.cameras),
            self.devices,
            self.secrets,
            tuple(self.rivals),
            manager_id="me",
            has_runtime=self.has_runtime,
            gateway_run=self.gateway_run,
        )

    @property
    def plan(self) -> Plan:
        """The decision."""
        return plan_server(self.snapshot)

    def status(self, outcomes: Outcomes = ()) -> dict[str, Any]:
        """The status after a cycle; kept in the document."""
        written = server_status(self.snapshot, self.plan, outcomes)
        self.document = replace(self.document, status=written)
        return written

    def condition(self, type_: str, outcomes: Outcomes = ()) -> tuple[str, str]:
        """Status and reason of a condition after a cycle."""
        found = next(c for c in self.status(outcomes)["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


@pytest.fixture
def scene() -> Scene:
    """A camera that nobody has seen yet."""
    return Scene()


@pytest.fixture
def site() -> Site:
    """A server that runs well."""
    return Site()


@pytest.fixture
def a_device() -> Callable[..., DeviceFacts]:
    """Makes facts of the camera."""
    return device


@pytest.fixture
def a_camera() -> Callable[..., Document]:
    """Makes Cameras."""
    return camera_document


@pytest.fixture
def some_facts() -> Callable[..., ServerFacts]:
    """Makes facts of the server."""
    return server_facts
