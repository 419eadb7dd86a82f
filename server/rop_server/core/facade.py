"""The seam between the core (sessions, registry, decisions) and its users (client API, management, state).

The core implements `Devices`; the state store implements `CoreEvents` and `Admission`. Several servers will share
the registry of connected devices later, so nobody reaches behind `Devices`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rop_wire.messages import Support


class CallError(Exception):
    """A device call failed; `symbol` is one of the symbols of the client API (`rop_wire.symbols.SYMBOLS`).

    `status` is what the device answered, when it answered.
    """

    def __init__(self, symbol: str, detail: str = "", status: int | None = None) -> None:
        super().__init__(f"{symbol}: {detail}" if detail else symbol)
        self.symbol = symbol
        self.detail = detail
        self.status = status


@dataclass(frozen=True, slots=True)
class Battery:
    """Last battery report. `percent` 0-100; `charge` is `none`, `charging`, `completed` or None when unknown."""

    percent: int
    charge: str | None
    at: float


@dataclass(frozen=True, slots=True)
class DeviceLink:
    """What is known of a connected device right now, from its handshakes. Absent members are None."""

    uid: str
    family: str | None
    model: str | None
    firmware: str | None
    hardware: str | None
    signaling: bool
    keep_alive: bool
    since: float
    address: str | None = None
    battery: Battery | None = None
    certificate_serial: str | None = None
    certificate_not_after: float | None = None
    wired: bool = False
    key_index: str | None = None

    @property
    def asleep(self) -> bool:
        """True for a battery device that holds only its keep-alive connection."""
        return self.keep_alive and not self.signaling


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A short-term code for one UID; `expires_at` is epoch seconds."""

    uid: str
    code: str = field(repr=False)
    expires_at: float


class Request(Protocol):
    """A typed request of `rop_wire.messages`."""

    @property
    def command(self) -> int:
        """The command number."""
        ...

    def encode(self) -> bytes:
        """The payload bytes."""
        ...


class Devices(Protocol):
    """Connected devices and calls to them. Implemented by `rop_server.core`."""

    def online(self) -> Sequence[DeviceLink]:
        """Every device with a keep-alive and/or signaling connection, in order of arrival."""
        ...

    @property
    def revision(self) -> int:
        """Changes whenever the answer of `online()` changes: a cache key."""
        ...

    def link(self, uid: str) -> DeviceLink | None:
        """The link of one device, None when it is offline."""
        ...

    async def call(self, uid: str, request: Request, *, wake: bool = True, timeout: float | None = None) -> bytes:
        """Send a request, return the payload of its 200 response. Wakes a sleeping battery device unless
        `wake` is False, in which case `CallError("device_asleep")` is raised. `timeout` in seconds.
        """
        ...

    async def support(self, uid: str, *, wake: bool = True) -> Support:
        """Every channel and what it can do (199), asked once and kept until the device is offline.

        Raises as `call`; `rop_wire.errors.WireError` for a document that breaks the protocol.
        """
        ...

    async def snapshot(self, uid: str, channel: int, stream_type: str, timeout: float) -> bytes:
        """A JPEG picture (109). `timeout` in seconds runs from the request to the last part.

        Raises as `call`, and `CallError("duplicate_snap")` while another one of this device runs. Never retried.
        """
        ...

    async def disconnect(self, uid: str, reason: str) -> None:
        """Close every connection of the device."""
        ...

    def issue_code(self, uid: str) -> IssuedCode:
        """A fresh short-term code (initialization session). Raises `CallError` when enrolment is refused."""
        ...


class CoreEvents(Protocol):
    """Facts the core reports as they happen; called on the event loop, must not block. `at` is epoch seconds."""

    def connected(self, link: DeviceLink, transport: str, at: float) -> None:
        """A handshake arrived; `transport` is `Signaling` or `KeepAlive`."""
        ...

    def disconnected(self, uid: str, link: DeviceLink | None, transport: str, reason: str, at: float) -> None:
        """A connection of the device ended; `link` is what remains (None: offline)."""
        ...

    def heartbeat(self, uid: str, battery: Battery | None, at: float) -> None:
        """A heartbeat arrived, with battery data or without."""
        ...

    def woken(self, uid: str, at: float) -> None:
        """A battery device was woken by us."""
        ...

    def networked(self, uid: str, wired: bool, at: float) -> None:
        """The device told which network it uses: the wired one, or another."""
        ...

    def capable(self, uid: str, support: Support, at: float) -> None:
        """The device told what its channels can do."""
        ...

    def learned(self, uid: str, settings: dict[str, object], how: str, at: float) -> None:
        """Settings of a device passed by (`how`: `Read` or `Written`), keyed like the management interface:
        `displayName`, `pir.enabled`, `pir.sensitivity`, `pir.reduceMistakes`, `alarm.enabled`, `wifi.ssid`,
        `wifi.countryCode`.
        """
        ...

    def alarm(self, uid: str, event: dict[str, object], at: float) -> None:
        """A device raised an alarm (one call per event)."""
        ...

    def certificate_issued(
        self,
        uid: str,
        serial: str,
        not_after: float,
        issuer: str,
        by: str,
        address: str | None,
        at: float,
    ) -> None:
        """A device certificate was issued, by `ShortCode` or `LongCode`. Durable before it returns."""
        ...

    def registered(self, uid: str, address: str | None, at: float) -> None:
        """The device registered on 61002."""
        ...

    def code(self, uid: str, what: str, address: str | None, at: float) -> None:
        """Audit of short-term codes; `what` is `Issued`, `Used`, `UsedAgain`, `Expired` or `Refused`."""
        ...

    def refused(self, uid: str, port: str, reason: str, at: float) -> None:
        """A device was refused at a port (its name in config.json) by `Admission`."""
        ...


class Admission(Protocol):
    """One pure decision after every handshake, full or resumed, on every device port."""

    def admit(
        self, uid: str, serial: str | None, issuer: str | None, not_after: float | None, now: float
    ) -> str | None:
        """None when the device may come in, else the reason (`Denied`, `Expired`, ...)."""
        ...

    def may_enrol(self, uid: str) -> str | None:
        """None when a code may be issued to and used by this UID, else the reason (`Denied`, `NotClaimed`)."""
        ...

    def use_approval(self, uid: str, now: float) -> bool:
        """Whether a person approved one renewal of this UID that would be refused; used up by that."""
        ...
