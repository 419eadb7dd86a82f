"""Reconciling RopServers: connect, observe, plan, perform, status; and observing their devices."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rop_operator.api.facts import Document, GatewayRun, Ref, ServerFacts
from rop_operator.domain.backup import desired_backup
from rop_operator.domain.config_map import desired_members
from rop_operator.domain.departures import judge
from rop_operator.domain.gateway import desired_gateway
from rop_operator.domain.operation import server_of
from rop_operator.domain.plan import (
    Action,
    EnsureRuntime,
    Failed,
    Outcome,
    Plan,
    RestartRuntime,
    StopRuntime,
    Wait,
)
from rop_operator.domain.server import applied_digest, claims_digest, claims_of, enrolment_policy, plan_server
from rop_operator.domain.server_status import server_status
from rop_operator.domain.snapshot import SecretProblem, ServerSnapshot, secret_uses
from rop_operator.ports import Clock, Endpoint, Fleet, Gateways, PortError, Runtime, Secrets, Store
from rop_operator.reconcile.link import Link, Observer
from rop_operator.reconcile.perform import ServerHands, Unperformed
from rop_operator.reconcile.report import put_when_different
from rop_operator.reconcile.roster import Roster

log = logging.getLogger(__name__)

ROUNDS = 6
LOOK_AGAIN = 30.0
MAX_PEM = 64 * 1024


class Servers:
    """The engine's part for RopServers. `camera_due` and `server_due` put a reference into the queue."""

    def __init__(
        self,
        store: Store,
        secrets: Secrets,
        fleet: Fleet,
        runtime: Runtime | None,
        gateways: Gateways | None,
        clock: Clock,
        manager_id: str,
        roster: Roster,
        camera_due: Callable[[Ref], None],
        server_due: Callable[[Ref], None],
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._fleet = fleet
        self._runtime = runtime
        self._gateways = gateways
        self._clock = clock
        self._manager_id = manager_id
        self._roster = roster
        self._camera_due = camera_due
        self._server_due = server_due
        self.links: dict[Ref, Link] = {}

    async def reconcile(self, ref: Ref) -> float | None:
        """Once; seconds after which to look again, None for only on change."""
        document = await self._store.get(ref)
        if document is None:
            await self._gone(ref)
            return None
        link = self.links.setdefault(ref, Link(ref))
        plan, wait = Plan(), None
        outcomes: list[tuple[Action, Outcome]] = []
        for _ in range(ROUNDS):
            snapshot = await self._snapshot(document, link)
            plan = plan_server(snapshot)
            if not plan.actions:
                break
            step, wait = await self._perform(plan, link)
            outcomes += step
            if wait is not None or not _progress(plan, link):
                snapshot = await self._snapshot(document, link)
                break
            document = replace(document, status=_carried(document, server_status(snapshot, plan, outcomes)))
        stored = await self._store.get(ref)
        if stored is not None:
            # The status is judged against what is stored; the rounds' own version only carried it along.
            snapshot = replace(snapshot, document=replace(stored, status=document.status))
            await put_when_different(self._store, stored, server_status(snapshot, plan, outcomes))
        self._note_claims(snapshot, link)
        settle = self._note_departures(snapshot, link)
        self._tell_cameras(stored or document, link)
        return min(x for x in (wait, plan.wait, settle, LOOK_AGAIN) if x is not None)

    async def _perform(self, plan: Plan, link: Link) -> tuple[list[tuple[Action, Outcome]], float | None]:
        """Every action in order until one is not done; then the seconds to wait."""
        hands = ServerHands(self._runtime, self._gateways, self._manager_id, link)
        outcomes: list[tuple[Action, Outcome]] = []
        for action in plan.actions:
            try:
                outcome = await hands.perform(action)
            except Unperformed as passing:
                log.info("%s: %s", link.ref, passing.message)
                return outcomes, passing.after
            outcomes.append((action, outcome))
            if isinstance(outcome, Wait):
                return outcomes, outcome.after
            if isinstance(outcome, Failed):
                return outcomes, LOOK_AGAIN
            if isinstance(action, RestartRuntime):
                link.listed = False
        return outcomes, None

    async def _snapshot(self, document: Document, link: Link) -> ServerSnapshot:
        """Secrets first, then the connection, then what the server says of itself."""
        cameras = [d for d in [await self._store.get(r) for r in self._roster.of_server(document.ref)] if d]
        plain = ServerSnapshot(
            document,
            self._clock.now(),
            cameras=cameras,
            manager_id=self._manager_id,
            has_runtime=self._runtime is not None,
        )
        if plain.parsed is None or document.deleting is not None:
            return plain
        secrets = await self._read_secrets(plain)
        plain = replace(plain, secrets=secrets)
        facts = await self._connect_and_observe(plain, link)
        rivals = await self._rivals(document, facts)
        gateway = await self._gateway_run(plain)
        return replace(
            plain,
            facts=facts,
            devices=dict(link.devices) if link.listed else {},
            rivals=rivals,
            gateway_run=gateway,
            drills=await self._drills(plain),
        )

    async def _drills(self, snapshot: ServerSnapshot) -> list[Document]:
        """RecoveryDrills of this server."""
        if snapshot.spec.drill is None:
            return []
        server = snapshot.document.ref
        found = await self._store.list("RecoveryDrill", server.namespace)
        return [document for document in found if server_of(document) == server]

    async def _gateway_run(self, snapshot: ServerSnapshot) -> GatewayRun | None:
        """The gateway's process; beside a server that runs elsewhere none is run here."""
        if self._gateways is None or not snapshot.managed:
            return None
        return await self._gateways.observe(snapshot.document.ref, desired_gateway(snapshot))

    async def _read_secrets(self, snapshot: ServerSnapshot) -> dict[str, str | SecretProblem]:
        found: dict[str, str | SecretProblem] = {}
        for use in secret_uses(snapshot.spec):
            try:
                value = await self._secrets.read(snapshot.document.ref.namespace, use.name, use.key)
                found[use.field] = (
                    value.decode("utf-8").strip("\r\n \t") if len(value) <= MAX_PEM else _too_long(use.key)
                )
            except UnicodeDecodeError:
                found[use.field] = SecretProblem(
                    "SecretInvalid", f"key {use.key} of secret {use.name} is not text"
                )
            except PortError as error:
                found[use.field] = SecretProblem(error.reason, error.message)
        return found

    def _endpoint(self, snapshot: ServerSnapshot, link: Link) -> Endpoint | None:
        external = snapshot.spec.external
        if external is None:
            return link.runtime.endpoint if link.runtime is not None else None
        values = {name: snapshot.secrets.get(f"spec.external.{name}") for name in ("caRef", "tokenRef")}
        if any(isinstance(value, SecretProblem) for value in values.values()):
            return None
        authority, token = values["caRef"], values["tokenRef"]
        return Endpoint(
            external.url,
            external.interface,
            authority.encode() if isinstance(authority, str) else None,
            token if isinstance(token, str) else None,
        )

    async def _connect_and_observe(self, snapshot: ServerSnapshot, link: Link) -> ServerFacts | None:
        endpoint = self._endpoint(snapshot, link)
        if endpoint is None:
            await link.drop()
            link.facts = self._unreachable(snapshot, link)
            return link.facts
        try:
            if endpoint != link.endpoint:
                await link.drop()
                link.server, link.endpoint = self._fleet.connect(endpoint), endpoint
            assert link.server is not None
            spec, secrets = snapshot.spec, snapshot.secrets
            facts = await link.server.observe(desired_members(spec, secrets), desired_backup(spec, secrets))
        except PortError as error:
            interface = snapshot.spec.external.interface if snapshot.spec.external else "Management"
            facts = ServerFacts(interface=interface, error=error.message, error_reason=error.reason)
        if snapshot.managed and link.runtime is not None:
            facts = facts.model_copy(update=await self._surroundings(link, facts))
        link.facts = facts
        await self._follow(link)
        return facts

    @staticmethod
    def _unreachable(snapshot: ServerSnapshot, link: Link) -> ServerFacts | None:
        """A server that is run here and cannot be reached yet: what its runtime says. None: nothing is known."""
        if not snapshot.managed or link.runtime is None:
            return None
        return ServerFacts(runtime=link.runtime.state, runtime_message=link.runtime.message)

    async def _surroundings(self, link: Link, facts: ServerFacts) -> dict[str, Any]:
        """Facts of the runtime. What cannot be read now is read at the next look."""
        assert link.runtime is not None
        found: dict[str, Any] = {"runtime_message": link.runtime.message}
        found["runtime"] = "Running" if facts.reachable else link.runtime.state
        if facts.reachable and self._runtime is not None:
            try:
                drift = await self._runtime.drift(link.ref)
            except PortError as error:
                log.warning("%s: %s", link.ref, error.message)
            else:
                found |= {"runtime_drift": drift.parts, "runtime_outdated": drift.outdated}
        return found

    async def _follow(self, link: Link) -> None:
        """One observer per connection, once the server answered; the first list is awaited."""
        if link.server is None or link.facts is None or not link.facts.reachable:
            return
        if link.observer is None or link.observer.done():
            observer = Observer(link, link.server, self._device_changed, self._server_due)
            with contextlib.suppress(PortError):
                await observer.list()
            link.observer = asyncio.create_task(observer.run(), name=f"observer {link.ref}")

    def _device_changed(self, server: Ref, uid: str) -> None:
        for camera in self._roster.of_uid(server, uid):
            self._camera_due(camera)
        self._server_due(server)

    async def _rivals(self, document: Document, facts: ServerFacts | None) -> tuple[Document, ...]:
        """Older RopServers that reached the same instance."""
        if facts is None or facts.instance_id is None:
            return ()
        same = [
            ref
            for ref, link in self.links.items()
            if ref != document.ref and link.facts is not None and link.facts.instance_id == facts.instance_id
        ]
        found = [d for d in [await self._store.get(ref) for ref in sorted(same)] if d is not None]
        mine = (str(document.created), document.uid)
        return tuple(d for d in found if d.deleting is None and (str(d.created), d.uid) < mine)

    def _note_claims(self, snapshot: ServerSnapshot, link: Link) -> None:
        """Which UIDs may enrol, for the cameras' snapshots."""
        facts = snapshot.facts
        if snapshot.parsed is None or facts is None or facts.interface != "Management":
            link.claimed = None
            return
        policy, uids = enrolment_policy(snapshot), claims_of(snapshot.cameras, judge(snapshot))
        if applied_digest(snapshot.status) == claims_digest(policy, uids, facts.instance_id):
            link.claimed = None if policy == "Open" else frozenset(uids)

    def _note_departures(self, snapshot: ServerSnapshot, link: Link) -> float | None:
        """Which deleted cameras may be revoked: those concerned look again. Seconds until more can be said."""
        if not link.listed:
            return None
        before, link.departures = link.departures, judge(snapshot)
        for camera in snapshot.cameras:
            if camera.deleting and before.verdict(camera) != link.departures.verdict(camera):
                self._camera_due(camera.ref)
        return link.departures.settle

    def _tell_cameras(self, document: Document, link: Link) -> None:
        """Cameras look again when something of their server changed that concerns them."""
        facts = link.facts
        signature = (
            document.uid,
            document.generation,
            document.deleting,
            link.listed,
            link.claimed,
            facts and (facts.reachable, facts.interface, facts.instance_id, facts.fence is not None),
        )
        if signature != link.signature:
            link.signature = signature
            for camera in self._roster.of_server(link.ref):
                self._camera_due(camera)

    async def _gone(self, ref: Ref) -> None:
        """The document is gone: let go of the server, stop one that was run here."""
        link = self.links.pop(ref, None)
        if link is not None:
            await link.drop()
            if link.runtime is not None and self._runtime is not None:
                await self._runtime.stop(ref)
        if self._gateways is not None:
            await self._gateways.stop(ref)
        for camera in self._roster.of_server(ref):
            self._camera_due(camera)

    async def close(self) -> None:
        """Let go of every server; they run on."""
        await asyncio.gather(*(link.drop() for link in self.links.values()))


def _too_long(key: str) -> SecretProblem:
    return SecretProblem("SecretInvalid", f"key {key} is longer than {MAX_PEM} bytes")


def _carried(document: Document, status: Mapping[str, Any]) -> dict[str, Any]:
    """What the next round has to know of this one. Conditions on the way are none of the status's business."""
    kept = {name: status[name] for name in ("enrolment", "gateway") if name in status}
    return {**document.status, **kept}


def _progress(plan: Plan, link: Link) -> bool:
    """Whether looking again at once makes sense: a server that is only starting needs time."""
    starting = any(isinstance(action, EnsureRuntime | RestartRuntime | StopRuntime) for action in plan.actions)
    return not starting or (link.server is None and link.runtime is not None and link.runtime.endpoint is not None)
