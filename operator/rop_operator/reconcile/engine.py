"""The engine: one queue, a few workers, one observer per server. Every pass starts from what is."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rop_operator.api.facts import DeviceFacts, Found, Ref, Session
from rop_operator.api.questions import Question
from rop_operator.ports import (
    Clock,
    Drills,
    Fleet,
    Gateways,
    Images,
    Lan,
    PortError,
    Runtime,
    Secrets,
    Server,
    Store,
)
from rop_operator.reconcile.backup_runs import BACKUP_RUNS
from rop_operator.reconcile.cameras import Cameras
from rop_operator.reconcile.drills import drills
from rop_operator.reconcile.images import ImagesPart
from rop_operator.reconcile.operations import Craft, Operations
from rop_operator.reconcile.profiles import Profiles
from rop_operator.reconcile.rollouts import rollouts
from rop_operator.reconcile.roster import Roster, Runs
from rop_operator.reconcile.rotations import ROTATIONS
from rop_operator.reconcile.servers import Servers
from rop_operator.reconcile.workqueue import WorkQueue

log = logging.getLogger(__name__)

WORKERS = 8
# Changes of devices reach the server's status together.
GATHER_SECONDS = 0.2


def crafts(
    store: Store, images: Images | None, secrets: Secrets, drills_port: Drills | None
) -> Mapping[str, Craft]:
    """Every kind of run with what it brings."""
    return {
        "KeyRotation": ROTATIONS,
        "RopBackup": BACKUP_RUNS,
        "RecoveryDrill": drills(secrets, drills_port),
        "FirmwareRollout": rollouts(store, images),
    }


class Part(Protocol):
    """What reconciles one kind."""

    async def reconcile(self, ref: Ref) -> float | None:
        """Once; seconds after which to look again, None for only on change. PortError is tried again."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class Engine:
    """Reconciles documents, each kind by its part. `runtime` None: servers are not run here, `gateways` None:
    gateways neither, `images` None: no firmware is kept here, `drills` None: none are made here. `manager_id` is
    how this engine calls itself to servers; it stays the same over restarts.
    """

    def __init__(
        self,
        store: Store,
        secrets: Secrets,
        fleet: Fleet,
        runtime: Runtime | None,
        lan: Lan,
        clock: Clock,
        manager_id: str,
        gateways: Gateways | None = None,
        images: Images | None = None,
        drills: Drills | None = None,
    ) -> None:
        self._store = store
        self._lan = lan
        self._queue = WorkQueue()
        self._roster = Roster()
        self._runs = Runs()
        self._servers = Servers(
            store,
            secrets,
            fleet,
            runtime,
            gateways,
            clock,
            manager_id,
            self._roster,
            camera_due=self.look_at,
            server_due=self._queue_server,
        )
        link_of = self._servers.links.get
        self._profiles = Profiles(store, clock, self._roster, self._queue_soon)
        cameras = Cameras(store, lan, clock, self._roster, self._profiles, link_of, self._queue_server)
        self._parts: dict[str, Part] = {
            "RopServer": self._servers,
            "Camera": cameras,
            "CameraProfile": self._profiles,
            "FirmwareImage": ImagesPart(store, clock, images, self._image_changed),
        }
        self._crafts = crafts(store, images, secrets, drills)
        for kind, craft in self._crafts.items():
            part = Operations(store, clock, self._roster, craft, link_of, self._queue_server)
            self._parts[kind] = part

    def _image_changed(self, image: Ref) -> None:
        """Rollouts of its namespace look again."""
        for run in self._runs.of_kind("FirmwareRollout"):
            if run.namespace == image.namespace:
                self._queue_soon(run)

    def _queue_server(self, ref: Ref) -> None:
        """The server, and the runs about it: they wait for what it tells."""
        for each in (ref, *self._runs.of_server(ref)):
            self._queue_soon(each)

    def _queue_soon(self, ref: Ref) -> None:
        self._queue.add_after(ref, GATHER_SECONDS)

    def look_at(self, ref: Ref) -> None:
        """Reconcile this document soon."""
        self._queue.add(ref)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises what the store's stream of changes raises."""
        await self._profiles.load()
        feeder = asyncio.create_task(self._feed(), name="changes")
        workers = [asyncio.create_task(self._work(), name=f"worker {n}") for n in range(WORKERS)]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({feeder, stopping, *workers}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
                raise RuntimeError(f"{task.get_name()} ended")
        finally:
            tasks = (feeder, stopping, *workers)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._queue.close()
            for part in reversed(self._parts.values()):
                await part.close()

    async def _feed(self) -> None:
        async for ref in self._store.changes():
            if ref.kind == "Camera":
                await self._camera_changed(ref)
            elif ref.kind == "RopServer":
                self._queue_server(ref)
                self._profiles.server_changed(ref)
            elif ref.kind == "CameraProfile":
                await self._profiles.changed(ref)
            elif ref.kind in self._crafts:
                self._runs.update(ref, await self._store.get(ref))
            self._queue.add(ref)

    async def _camera_changed(self, ref: Ref) -> None:
        """Its server's claims and its rivals may be concerned."""
        for entry in self._roster.update(ref, await self._store.get(ref)):
            self._queue_server(entry.server)
            self._profiles.server_changed(entry.server)
            for rival in self._roster.of_uid(entry.server, entry.uid):
                self._queue.add(rival)

    async def _work(self) -> None:
        while True:
            ref = await self._queue.get()
            try:
                await self._reconcile(ref)
            finally:
                self._queue.done(ref)

    async def _reconcile(self, ref: Ref) -> None:
        try:
            wait = await self._parts[ref.kind].reconcile(ref)
        except PortError as error:
            delay = self._queue.retry(ref)
            log.warning("%s: %s; again in %.0f s", ref, error.message, delay)
        except Exception:
            delay = self._queue.retry(ref)
            log.exception("%s: reconciling failed; again in %.0f s", ref, delay)
        else:
            self._queue.succeeded(ref)
            if wait is not None:
                self._queue.add_after(ref, wait)

    async def session(self, server: Ref, uid: str) -> Session:
        """An initialization session of a server, for a hand-over from elsewhere. PortError."""
        return await self._connected(server).initialization_session(uid)

    async def pki(self, server: Ref) -> Mapping[str, Any]:
        """The authority and the census of a server. PortError."""
        return await self._connected(server).pki()

    async def approve_renewal(self, server: Ref, uid: str, seconds: float) -> Mapping[str, Any]:
        """Let a device renew once within this time. PortError."""
        return await self._connected(server).approve_renewal(uid, seconds)

    def _connected(self, server: Ref) -> Server:
        link = self._servers.links.get(server)
        if link is None or link.server is None:
            raise PortError("ServerNotReady", f"{server} is not connected; see its conditions")
        return link.server

    async def ask(self, server: Ref, question: Question) -> Mapping[str, Any]:
        """What a person asks of a server. PortError."""
        link = self._servers.links.get(server)
        if link is None or link.server is None:
            raise PortError("ServerNotReady", f"{server} is not connected; see its conditions")
        return await link.server.ask(question)

    def devices(self, server: Ref) -> Sequence[DeviceFacts]:
        """Every device that a server has ever seen, without asking it again. PortError."""
        link = self._servers.links.get(server)
        if link is None or not link.listed:
            raise PortError("ServerNotReady", f"{server} is not connected; see its conditions")
        return list(link.devices.values())

    async def discover(self, seconds: float) -> Sequence[Found]:
        """What answers on the LAN. PortError."""
        return await self._lan.discover(seconds)
