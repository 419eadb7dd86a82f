"""What the engine holds of one core server: the connection, the facts, the devices, and the task that observes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rop_operator.api.facts import DeviceFacts, FleetEvent, Ref, ServerFacts
from rop_operator.domain.departures import NOBODY, Departures
from rop_operator.domain.settings import as_last_seen
from rop_operator.ports import Endpoint, PortError, RuntimeState, Server

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MOST = 0.5, 10.0
OWN_EVENTS = ("config.", "manager.", "server.", "rotation.", "backup.", "gateway.", "upgrade.")


@dataclass
class Link:
    """One core server. `listed`: `devices` is the whole list and followed by events. `claimed`: UIDs that may
    enrol, None: any. `signature`: what cameras depended on when they were last told to look. `departures`:
    which deleted cameras may be revoked.
    """

    ref: Ref
    endpoint: Endpoint | None = None
    server: Server | None = None
    facts: ServerFacts | None = None
    runtime: RuntimeState | None = None
    devices: dict[str, DeviceFacts] = field(default_factory=dict)
    listed: bool = False
    claimed: frozenset[str] | None = frozenset()
    signature: tuple[object, ...] | None = None
    observer: asyncio.Task[None] | None = None
    departures: Departures = NOBODY

    async def drop(self) -> None:
        """End the observation and the connection."""
        observer, self.observer = self.observer, None
        if observer is not None:
            observer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await observer
        server, self.server = self.server, None
        if server is not None:
            await server.close()
        self.endpoint, self.listed = None, False


class Observer:
    """Follows one server: the list, then its changes; from the list again after a gap. One per server."""

    def __init__(
        self,
        link: Link,
        server: Server,
        device_changed: Callable[[Ref, str], None],
        server_changed: Callable[[Ref], None],
    ) -> None:
        self._link = link
        self._server = server
        self._device_changed = device_changed
        self._server_changed = server_changed

    async def run(self) -> None:
        """Until cancelled. Starts from the list unless `list` was called already."""
        delay = RETRY_FIRST
        while True:
            try:
                if not self._link.listed:
                    await self.list()
                delay = RETRY_FIRST
                async for event in self._server.events():
                    if event is None:
                        await self.list()
                    else:
                        self._take(event)
            except PortError as error:
                if self._link.listed:
                    log.warning("%s: %s", self._link.ref, error.message)
                self._link.listed = False
                self._server_changed(self._link.ref)
            except Exception:
                log.exception("%s: observation failed", self._link.ref)
                self._link.listed = False
            await asyncio.sleep(delay)
            delay = min(RETRY_MOST, delay * 2)

    async def list(self) -> None:
        """Take the whole list in. PortError."""
        link = self._link
        told = await self._server.devices()
        found = {device.uid: as_last_seen(link.devices.get(device.uid), device) for device in told}
        before, first = link.devices, not link.listed
        link.devices, link.listed = found, True
        changed = [uid for uid in found.keys() | before.keys() if differs(before.get(uid), found.get(uid))]
        if first:
            self._server_changed(link.ref)
        for uid in sorted(changed):
            self._device_changed(link.ref, uid)

    def _take(self, event: FleetEvent) -> None:
        link = self._link
        if event.device is not None:
            before = link.devices.get(event.device.uid)
            device = as_last_seen(before, event.device)
            link.devices[device.uid] = device
            if differs(before, device):
                self._device_changed(link.ref, device.uid)
        elif event.type.startswith(OWN_EVENTS):
            self._server_changed(link.ref)


def differs(one: DeviceFacts | None, other: DeviceFacts | None) -> bool:
    """Whether something changed that a decision or a status depends on; values that always move do not count."""
    return _lasting(one) != _lasting(other)


def _lasting(device: DeviceFacts | None) -> Mapping[str, object] | None:
    if device is None:
        return None
    return dict(device.model_copy(update={"last_seen": None, "battery": None}))
