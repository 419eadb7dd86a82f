"""Carrying out actions: each becomes an `Outcome`. Nothing is decided here."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rop_operator.api.facts import DeviceFacts, Document, Found, WriteResult
from rop_operator.api.registry import FINALIZER
from rop_operator.domain import provisioning
from rop_operator.domain.plan import (
    Action,
    ApplyBackup,
    ApplyConfig,
    Done,
    EnsureGateway,
    EnsureRuntime,
    Failed,
    HandOver,
    Outcome,
    ReplaceClaims,
    ReplaceLabels,
    RestartRuntime,
    SetAccess,
    SetFinalizer,
    StopGateway,
    StopRuntime,
    TakeManagement,
    Wait,
    WriteSettings,
)
from rop_operator.domain.provisioning import Journal
from rop_operator.domain.settings import learned
from rop_operator.domain.snapshot import CameraSnapshot
from rop_operator.ports import Clock, Gateways, Lan, NothingSent, PortError, Runtime, Server, Store
from rop_operator.reconcile.link import Link

DISCOVERY_SECONDS = 2.5
DISCOVERY_FRESH = 5.0
PERMANENT = frozenset({"NotSupported", "GenerationGap", "InvalidParameter", "InvalidConfig", "CmdNotSupport"})
# Not the camera's doing: the situation changed between observing and acting, or the server went away.
PASSING = frozenset({"Unreachable", "Fenced", "ManagedElsewhere", "DeviceAsleep", "NotLeader"})
AGAIN: Mapping[str, float] = {"Unreachable": 5.0, "Fenced": 1.0, "DeviceAsleep": 1.0, "DeviceOffline": 30.0}
LATER = 30.0


class Unperformed(Exception):
    """The situation is not the one the action was decided for: look again after `after` seconds."""

    def __init__(self, error: PortError) -> None:
        super().__init__(error.message)
        self.reason = error.reason
        self.message = error.message
        self.after = AGAIN.get(error.reason, LATER)


def outcome_of(error: PortError) -> Outcome:
    """What a failed call means. Unperformed when it says nothing of the action itself."""
    if error.reason in PASSING:
        raise Unperformed(error) from error
    if error.reason in PERMANENT:
        return Failed(error.reason, error.message)
    return Wait(AGAIN.get(error.reason, LATER), error.reason, error.message)


def symbol_of(reason: str) -> str:
    """`CameraSilent` -> `camera_silent`, as journals keep it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", reason).lower()


def kept(action: WriteSettings, result: WriteResult) -> WriteResult:
    """The result with an error for each field that the device took and changed: writing it again is no use."""
    changed = {
        name: "not_kept"
        for name in result.written
        if name in result.values and result.values[name] != action.write[name]
    }
    return replace(result, errors={**result.errors, **changed}) if changed else result


class Discovery:
    """One discovery for everybody who asks at about the same time."""

    def __init__(self, lan: Lan, clock: Clock) -> None:
        self._lan = lan
        self._clock = clock
        self._running: asyncio.Task[tuple[Found, ...]] | None = None
        self._found: tuple[Found, ...] = ()
        self._at = float("-inf")

    async def find(self, uid: str) -> tuple[Found, ...]:
        """Answers for a UID. PortError `NotReachableFromHere`."""
        known = tuple(f for f in self._found if f.uid == uid)
        if known and self._clock.monotonic() - self._at < DISCOVERY_FRESH:
            return known
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._discover(), name="discovery")
        return tuple(f for f in await asyncio.shield(self._running) if f.uid == uid)

    async def _discover(self) -> tuple[Found, ...]:
        self._found = tuple(await self._lan.discover(DISCOVERY_SECONDS))
        self._at = self._clock.monotonic()
        return self._found

    async def close(self) -> None:
        """End a running discovery."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class CameraHands:
    """Carries out the actions of one Camera."""

    store: Store
    clock: Clock
    lan: Lan
    discovery: Discovery
    link: Link

    async def perform(self, snapshot: CameraSnapshot, action: Action) -> Outcome:
        """One action. Unperformed when the situation has changed."""
        try:
            match action:
                case SetFinalizer(present):
                    await self.store.set_finalizer(await self._current(snapshot.document), FINALIZER, present)
                    return Done()
                case SetAccess(uid, access):
                    self.link.devices[uid] = await self._server().set_access(uid, access)
                    return Done()
                case WriteSettings():
                    return await self._settings(action)
                case HandOver():
                    return await self._hand_over(snapshot, action)
        except PortError as error:
            return outcome_of(error)
        return Failed("NotSupported", f"{type(action).__name__} is not for a Camera")

    def _server(self) -> Server:
        if self.link.server is None:
            raise PortError("Unreachable", "the server is not connected")
        return self.link.server

    async def _current(self, document: Document) -> Document:
        return await self.store.get(document.ref) or document

    async def _settings(self, action: WriteSettings) -> Outcome:
        """Wakes only as many times as the plan said."""
        result = kept(
            action, await self._server().settings(action.uid, action.write, action.read, action.wakes > 0)
        )
        known = self.link.devices.get(action.uid)
        if known is not None:
            self.link.devices[action.uid] = self._after(known, result)
        return Done(result)

    def _after(self, device: DeviceFacts, result: WriteResult) -> DeviceFacts:
        return learned(device, result, self.clock.now())

    async def _hand_over(self, snapshot: CameraSnapshot, action: HandOver) -> Outcome:
        """The journal is written before each step it announces."""
        place = await self._place(action)
        if not isinstance(place, Found):
            return place
        journal = provisioning.session_opened(snapshot, action.attempt, place.address)
        await self._keep(snapshot.document, journal)
        try:
            session = await self._server().initialization_session(action.uid)
            symbol = await self.lan.hand_over(place.address, place.port, session)
        except NothingSent as error:
            return await self._not_begun(snapshot, journal, error)
        except PortError as error:
            if error.reason != "CameraSilent":
                return await self._not_begun(snapshot, journal, error)
            return Wait(snapshot.code_expiry + provisioning.CODE_MARGIN, error.reason, error.message)
        now = self.clock.now()
        if symbol is None:
            await self._keep(snapshot.document, provisioning.handed_over(journal, now))
        else:
            await self._keep(snapshot.document, provisioning.refused(journal, symbol, now))
        return Done(symbol)

    async def _place(self, action: HandOver) -> Found | Outcome:
        if action.address is not None and action.port is not None:
            return Found(action.uid, action.address, action.port)
        found = await self.discovery.find(action.uid)
        if action.address is not None:
            found = tuple(f for f in found if f.address == action.address)
        if not found:
            return Wait(LATER, "CameraSilent", f"no camera with UID {action.uid} answered the discovery")
        if len({(f.address, f.port) for f in found}) > 1:
            places = ", ".join(f"{f.address}:{f.port}" for f in found)
            return Wait(LATER, "AmbiguousAnswers", f"{action.uid} answered from several places: {places}")
        return found[0]

    async def _not_begun(self, snapshot: CameraSnapshot, journal: Journal, error: PortError) -> Outcome:
        await self._keep(
            snapshot.document, provisioning.not_begun(journal, symbol_of(error.reason), self.clock.now())
        )
        return outcome_of(error)

    async def _keep(self, document: Document, journal: Journal) -> None:
        current = await self._current(document)
        await self.store.put_status(current, provisioning.with_journal(current.status, journal))


@dataclass(frozen=True, slots=True)
class ServerHands:
    """Carries out the actions of one RopServer."""

    runtime: Runtime | None
    gateways: Gateways | None
    manager_id: str
    link: Link

    async def perform(self, action: Action) -> Outcome:
        """One action."""
        try:
            return await self._perform(action)
        except PortError as error:
            return outcome_of(error)

    async def _perform(self, action: Action) -> Outcome:
        match action:
            case EnsureRuntime(members, environment):
                return await self._ensure(members, environment)
            case RestartRuntime():
                self.link.runtime = await self._runtime().restart(self.link.ref)
            case StopRuntime():
                await self._runtime().stop(self.link.ref)
            case TakeManagement(take_over):
                await self._server().take_management(self.manager_id, take_over)
            case ApplyConfig(members):
                return Done(await self._server().apply_config(members))
            case ApplyBackup(policy):
                await self._server().apply_backup(policy)
            case EnsureGateway():
                return await self._gateway(action)
            case StopGateway():
                await self._gateways().stop(self.link.ref)
            case ReplaceLabels(labels):
                await self._server().replace_labels(labels)
            case ReplaceClaims(policy, uids):
                await self._server().claim(policy, uids)
                self.link.claimed = None if policy == "Open" else frozenset(uids)
            case _:
                return Failed("NotSupported", f"{type(action).__name__} is not for a RopServer")
        return Done()

    async def _ensure(self, members: Mapping[str, Any], environment: Mapping[str, str]) -> Outcome:
        state = await self._runtime().ensure(self.link.ref, members, environment)
        self.link.runtime = state
        if state.state == "Failed":
            return Wait(1.0, "RuntimeFailed", state.message or "the server does not start")
        return Done(state)

    async def _gateway(self, wanted: EnsureGateway) -> Outcome:
        run = await self._gateways().ensure(self.link.ref, wanted)
        if run.state != "Running":
            return Wait(1.0, "GatewayFailed", run.message or "rop-gateway does not start")
        return Done(run)

    def _gateways(self) -> Gateways:
        if self.gateways is None:
            raise PortError("NotSupported", "gateways are not run here")
        return self.gateways

    def _runtime(self) -> Runtime:
        if self.runtime is None:
            raise PortError("NotSupported", "servers are not run here")
        return self.runtime

    def _server(self) -> Server:
        if self.link.server is None:
            raise PortError("Unreachable", "the server is not connected")
        return self.link.server
