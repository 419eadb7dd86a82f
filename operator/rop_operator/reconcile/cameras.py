"""Reconciling Cameras: snapshot, plan, perform, status."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from rop_operator.api.facts import Document, Ref, WriteResult
from rop_operator.domain.camera import plan_camera
from rop_operator.domain.describe import describe
from rop_operator.domain.plan import Action as Step
from rop_operator.domain.plan import Failed, HandOver, Outcome, Plan, SetAccess, SetFinalizer, Wait, WriteSettings
from rop_operator.domain.snapshot import CameraSnapshot, server_ref
from rop_operator.domain.status import camera_status
from rop_operator.ports import Clock, Lan, Store
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.pace import Pace
from rop_operator.reconcile.perform import CameraHands, Discovery, Unperformed
from rop_operator.reconcile.profiles import Profiles
from rop_operator.reconcile.report import put_when_different
from rop_operator.reconcile.roster import Roster

log = logging.getLogger(__name__)

ROUNDS = 6
STUCK, UNMANAGED, SOON, BUSY = 60.0, 30.0, 1.0, 0.5
# Calls that a silent camera can hold up; some workers are always left for everything else.
SLOW_AT_ONCE = 5
TOLD = (HandOver, SetAccess, WriteSettings)


@dataclass
class Run:
    """What came of one pass over a Camera."""

    snapshot: CameraSnapshot
    plan: Plan
    outcomes: list[tuple[Step, Outcome]]
    wait: float | None = None


class Cameras:
    """The engine's part for Cameras."""

    def __init__(
        self,
        store: Store,
        lan: Lan,
        clock: Clock,
        roster: Roster,
        profiles: Profiles,
        link_of: Callable[[Ref], Link | None],
        server_due: Callable[[Ref], None],
    ) -> None:
        self._store = store
        self._lan = lan
        self._clock = clock
        self._roster = roster
        self._profiles = profiles
        self._link_of = link_of
        self._server_due = server_due
        self._discovery = Discovery(lan, clock)
        self._slow = 0
        self._paces: dict[Ref, Pace] = {}

    async def reconcile(self, ref: Ref) -> float | None:
        """Once; seconds after which to look again, None for only on change."""
        document = await self._store.get(ref)
        if document is None:
            return None
        link = await self._link(document)
        if link is None:
            return None
        run = await self._run(ref, document, link)
        stored = await self._store.get(ref)
        if run is None or stored is None:
            return None
        snapshot = await self._snapshot(stored, link)
        await put_when_different(self._store, stored, camera_status(snapshot, run.plan, run.outcomes))
        return run.wait

    async def _link(self, document: Document) -> Link | None:
        """Its server's link; None when the server has to be looked at first (it tells its cameras then)."""
        server = server_ref(document)
        if server is None or await self._store.get(server) is None:
            return Link(server or Ref("RopServer", document.ref.namespace, ""))
        link = self._link_of(server)
        if link is None or link.signature is None:
            self._server_due(server)
            return None
        if link.facts is not None and link.facts.reachable and not link.listed:
            return None
        return link

    async def _snapshot(self, document: Document, link: Link) -> CameraSnapshot:
        uid = str(document.spec.get("uid"))
        others = [r for r in self._roster.of_uid(link.ref, uid) if r != document.ref]
        rivals = [d for d in [await self._store.get(r) for r in others] if d is not None]
        return CameraSnapshot(
            document,
            self._clock.now(),
            server_document=await self._store.get(link.ref),
            server=link.facts,
            device=link.devices.get(uid),
            rivals=tuple(rivals),
            claimed=link.claimed is None or uid in link.claimed,
            profiles=self._profiles.selecting(document, link.ref),
            departure="Released" if document.deleting is None else link.departures.verdict(document),
            hold=link.departures.message() if document.deleting is not None else "",
        )

    async def _run(self, ref: Ref, document: Document, link: Link) -> Run | None:
        """Plan and perform until nothing is left to do now; None when the document is gone."""
        outcomes: list[tuple[Step, Outcome]] = []
        before: tuple[Step, ...] = ()
        for _ in range(ROUNDS):
            snapshot = await self._snapshot(document, link)
            plan = plan_camera(snapshot)
            run = Run(snapshot, plan, outcomes, plan.wait)
            if not plan.actions:
                return run
            if plan.actions == before:
                run.wait = STUCK
                return run
            held = self._held_back(run, link)
            if held is not None:
                run.wait = held
                return run
            before = plan.actions
            wait = await self._perform(run, link)
            found = await self._store.get(ref)
            if found is None:
                return None
            if wait is not None:
                run.wait = wait
                return run
            document = found
        return run

    def _pace(self, server: Ref, rate: int) -> Pace:
        """Of this server's cameras; a changed rate counts at once."""
        pace = self._paces.get(server)
        if pace is None or pace.rate != rate:
            pace = self._paces[server] = Pace(rate, rate)
        return pace

    def _held_back(self, run: Run, link: Link) -> float | None:
        """Seconds to wait before performing, None to go on: without the server's management nothing is written,
        reading settings is paced, and slow cameras do not take all the workers.
        """
        facts, plan = link.facts, run.plan
        if all(isinstance(action, SetFinalizer) for action in plan.actions):
            return None
        if facts is not None and facts.interface == "Management" and facts.fence is None:
            return UNMANAGED
        if self._slow >= SLOW_AT_ONCE and any(isinstance(a, HandOver | WriteSettings) for a in plan.actions):
            return BUSY
        if all(
            isinstance(a, SetFinalizer) or (isinstance(a, WriteSettings) and not a.write) for a in plan.actions
        ):
            return self._pace(link.ref, run.snapshot.reads_per_second).take(self._clock.monotonic())
        return None

    async def _perform(self, run: Run, link: Link) -> float | None:
        """Every action in order until one is not done; then the seconds to wait."""
        hands = CameraHands(self._store, self._clock, self._lan, self._discovery, link)
        ref = run.snapshot.document.ref
        for action in run.plan.actions:
            if isinstance(action, TOLD) and not (isinstance(action, WriteSettings) and not action.write):
                await self._store.record_event(ref, "Normal", type(action).__name__, describe(action))
            self._slow += isinstance(action, HandOver | WriteSettings)
            try:
                outcome = await hands.perform(run.snapshot, action)
            except Unperformed as passing:
                log.info("%s: %s", ref, passing.message)
                if passing.reason in ("Unreachable", "Fenced", "ManagedElsewhere"):
                    self._server_due(link.ref)
                return passing.after
            finally:
                self._slow -= isinstance(action, HandOver | WriteSettings)
            run.outcomes.append((action, outcome))
            if isinstance(outcome, Wait):
                return outcome.after
            if isinstance(outcome, Failed):
                return STUCK
            if isinstance(outcome.value, WriteResult) and outcome.value.errors:
                return SOON
        return None

    async def close(self) -> None:
        """End a running discovery."""
        await self._discovery.close()
