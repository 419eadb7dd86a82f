"""`ropctl plan`: what the engine would do after an apply, from documents and their status alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from rop_operator.api.facts import BackupFacts, DeviceFacts, Document, GatewayRun, Ref, ServerFacts
from rop_operator.api.parse import problems_of, server_spec, transition_problems, without_nulls
from rop_operator.api.registry import kind_of
from rop_operator.documents import Parsed
from rop_operator.domain.backup_run import preview as preview_backup
from rop_operator.domain.camera import plan_camera
from rop_operator.domain.config_map import MASK, desired_members
from rop_operator.domain.departures import NOBODY, SETTLE, Departures, judge
from rop_operator.domain.drill import preview as preview_drill
from rop_operator.domain.firmware_image import preview_image
from rop_operator.domain.operation import Situation, server_of
from rop_operator.domain.plan import Plan, WriteSettings
from rop_operator.domain.profile_status import ProfileSnapshot, plan_profile
from rop_operator.domain.profiles import Profile, profile_of
from rop_operator.domain.rollout import preview as preview_rollout
from rop_operator.domain.rotation import preview as preview_rotation
from rop_operator.domain.server import plan_server
from rop_operator.domain.snapshot import CameraSnapshot, SecretUse, ServerSnapshot, secret_uses, server_ref
from rop_operator.domain.status import device_facts_of, server_facts_of
from rop_operator.errors import DocumentError

PROCEDURES: Mapping[str, Callable[[Situation], Plan]] = {
    "KeyRotation": preview_rotation,
    "FirmwareRollout": preview_rollout,
    "RopBackup": preview_backup,
    "RecoveryDrill": preview_drill,
}
Change = Literal["created", "configured", "unchanged"]


def change_of(new: Parsed, current: Document | None) -> Change:
    """What applying does to the stored document."""
    if current is None:
        return "created"
    same = _same_spec(new.ref, new.spec, current.spec)
    marks = all(current.annotations.get(k) == v for k, v in new.annotations.items()) and all(
        current.labels.get(k) == v for k, v in new.labels.items()
    )
    return "unchanged" if same and marks and current.deleting is None else "configured"


def _same_spec(ref: Ref, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two specs mean the same: an API server fills in defaults."""
    kind = kind_of(ref.kind)
    if kind is None or problems_of(kind, one) or problems_of(kind, other):
        return bool(without_nulls(one) == without_nulls(other))
    return bool(kind.model.model_validate(without_nulls(one)) == kind.model.model_validate(without_nulls(other)))


def transition_errors(new: Sequence[Parsed], current: Sequence[Document]) -> list[DocumentError]:
    """Rules over two versions that applying would break, such as a changed UID."""
    stored = {document.ref: document for document in current}
    return [
        parsed.raw.error(problem)
        for parsed in new
        if parsed.ref in stored
        for problem in transition_problems(parsed.kind, stored[parsed.ref].spec, parsed.spec)
    ]


def applied(new: Sequence[Parsed], current: Sequence[Document], now: datetime) -> dict[Ref, Document]:
    """The stored documents as they will be."""
    after = {document.ref: document for document in current}
    for parsed in new:
        before = after.get(parsed.ref)
        if before is None:
            after[parsed.ref] = Document(
                ref=parsed.ref,
                uid="",
                generation=1,
                spec=parsed.spec,
                status={},
                annotations=parsed.annotations,
                labels=parsed.labels,
                created=now,
            )
        elif change_of(parsed, before) != "unchanged":
            same = _same_spec(parsed.ref, parsed.spec, before.spec)
            after[parsed.ref] = replace(
                before,
                generation=before.generation + (0 if same else 1),
                spec=parsed.spec,
                annotations={**before.annotations, **parsed.annotations},
                labels={**before.labels, **parsed.labels},
            )
    return after


class _Preview:
    """Snapshots of every document, from the statuses."""

    def __init__(self, after: Mapping[Ref, Document], before: Mapping[Ref, Document], now: datetime) -> None:
        self.after = after
        self.before = before
        self.now = now
        self.by_server: dict[Ref, list[Document]] = {}
        for document in after.values():
            reference = server_ref(document) if document.ref.kind == "Camera" else None
            if reference is not None:
                self.by_server.setdefault(reference, []).append(document)
        self.profiles = _profiles(after.values())
        self.departures: dict[Ref, Departures] = {}

    def plan(self, ref: Ref) -> Plan:
        document = self.after[ref]
        if ref.kind == "RopServer":
            return self._server(document)
        if ref.kind == "CameraProfile":
            return self._profile(document)
        if ref.kind == "FirmwareImage":
            return preview_image(document)
        return self._run(document) if ref.kind in PROCEDURES else self._camera(document)

    def _profile(self, document: Document) -> Plan:
        profile = profile_of(document)
        server = self.after.get(profile.server) if profile is not None else None
        cameras = self.by_server.get(profile.server, []) if profile is not None else []
        others = [p for p in self.profiles if profile is None or (p != profile and p.server == profile.server)]
        return plan_profile(ProfileSnapshot(document, self.now, profile, server, cameras, others))

    def concerned(self, profiles: Sequence[Profile]) -> list[Ref]:
        """Cameras that one of these profiles selects."""
        cameras = [d for p in profiles for d in self.by_server.get(p.server, ()) if p.selects(d)]
        return sorted({d.ref for d in cameras})

    def _run(self, document: Document) -> Plan:
        """A run, as if its server were as it was seen last."""
        reference = server_of(document)
        server = self.after.get(reference) if reference is not None else None
        siblings = self.by_server.get(reference, []) if reference is not None else []
        situation = Situation(document, self.now, server, _assumed(server), cameras=tuple(siblings))
        return PROCEDURES[document.ref.kind](situation)

    def _server(self, document: Document) -> Plan:
        facts = server_facts_of(document.status)
        spec = _valid_server(document)
        secrets = {use.field: MASK for use in secret_uses(spec)} if spec else {}
        if facts is not None and spec is not None:
            told = {
                "config_differs": self._differing(document, facts, secrets),
                "backup": self._backup(document, facts),
            }
            facts = facts.model_copy(update=told)
        cameras = tuple(self.by_server.get(document.ref, ()))
        snapshot = ServerSnapshot(
            document,
            self.now,
            facts,
            cameras,
            secrets=secrets,
            manager_id=(facts.manager_id if facts else None) or "",
            gateway_run=self._gateway(document),
        )
        return changes(plan_server(snapshot))

    def _differing(self, document: Document, facts: ServerFacts, secrets: Mapping[str, str]) -> tuple[str, ...]:
        """Members with another value than observed; a secret differs when its reference does."""
        wanted = desired_members(server_spec(without_nulls(document.spec)), secrets)
        differing = [name for name, value in wanted.items() if value != MASK and facts.config.get(name) != value]
        before = self.before.get(document.ref)
        old = _valid_server(before) if before is not None else None
        if "alarm.notificationURL" in wanted and _sinks(old) != _sinks(_valid_server(document)):
            differing.append("alarm.notificationURL")
        return tuple(dict.fromkeys(differing))

    def _backup(self, document: Document, facts: ServerFacts) -> BackupFacts | None:
        """What is known of backups; the policy differs when the document asks for another one than before."""
        if facts.backup is None:
            return None
        before = self.before.get(document.ref)
        old, new = (_valid_server(each) if each is not None else None for each in (before, document))
        asked = new.backup if new is not None else None
        same = facts.backup.configured and old is not None and old.backup == asked
        return facts.backup.model_copy(update={"differs": asked is not None and not same})

    def _departures(self, server: Document) -> Departures:
        """What the server will say to the cameras that are being deleted."""
        if server.ref not in self.departures:
            cameras = self.by_server.get(server.ref, [])
            devices = {str(d.spec.get("uid")): _device(d, (), str(d.spec.get("uid"))) for d in cameras}
            known = {uid: device for uid, device in devices.items() if device is not None}
            snapshot = ServerSnapshot(server, self.now + timedelta(seconds=SETTLE), cameras=cameras, devices=known)
            self.departures[server.ref] = judge(snapshot)
        return self.departures[server.ref]

    def _gateway(self, document: Document) -> GatewayRun | None:
        """A gateway that runs as the document said before."""
        before = self.before.get(document.ref)
        old, new = (_valid_server(each) if each is not None else None for each in (before, document))
        if new is None or new.external is not None:
            return None
        was = old.gateway if old is not None else None
        return GatewayRun(state="Running" if was is not None else "Stopped", same=was == new.gateway)

    def _camera(self, document: Document) -> Plan:
        reference = server_ref(document)
        server = self.after.get(reference) if reference is not None else None
        uid = document.spec.get("uid")
        siblings = self.by_server.get(reference, []) if reference is not None else []
        rivals = [d for d in siblings if d.ref != document.ref and d.spec.get("uid") == uid]
        departures = self._departures(server) if server is not None and document.deleting else NOBODY
        return changes(
            plan_camera(
                CameraSnapshot(
                    document,
                    self.now,
                    server_document=server,
                    server=_assumed(server),
                    device=_device(document, rivals, str(uid)),
                    rivals=tuple(rivals),
                    profiles=tuple(p for p in self.profiles if p.selects(document)),
                    departure=departures.verdict(document) if document.deleting else "Released",
                    hold=departures.message(),
                )
            )
        )


def _profiles(documents: Iterable[Document]) -> list[Profile]:
    """The valid profiles among them."""
    found = [profile_of(d) for d in documents if d.ref.kind == "CameraProfile"]
    return [profile for profile in found if profile is not None]


def _sinks(spec: Any) -> tuple[SecretUse, ...]:
    return tuple(use for use in secret_uses(spec) if "sinks" in use.field) if spec is not None else ()


def _valid_server(document: Document) -> Any:
    kind = kind_of("RopServer")
    if kind is None or problems_of(kind, document.spec):
        return None
    return server_spec(document.spec)


def _device(document: Document, rivals: Sequence[Document], uid: str) -> DeviceFacts | None:
    """The device as this status remembers it, or that of another Camera with the UID."""
    for known in (document, *rivals):
        facts = device_facts_of(known.status, uid)
        if facts is not None:
            return facts
    return None


def _assumed(server: Document | None) -> ServerFacts | None:
    """The server's facts; one that does not run yet is taken to come up, so that the plan shows what follows."""
    if server is None:
        return None
    facts = server_facts_of(server.status)
    if facts is not None and facts.reachable:
        return facts
    external = server.spec.get("external")
    interface = external.get("interface", "Management") if isinstance(external, Mapping) else "Management"
    return ServerFacts(interface=interface, reachable=True, ready=True, fence=0)


def changes(plan: Plan) -> Plan:
    """The plan without what is no change: reads of settings."""
    kept = tuple(a for a in plan.actions if not (isinstance(a, WriteSettings) and not a.write))
    return replace(plan, actions=kept)


def plan_for(new: Sequence[Parsed], current: Sequence[Document], now: datetime) -> list[tuple[Ref, Plan]]:
    """The plans of the documents applied, of RopServers that change with them, and of other Cameras for which a
    CameraProfile among them makes a difference. No actions: nothing happens.
    """
    before = {document.ref: document for document in current}
    after = applied(new, current, now)
    preview = _Preview(after, before, now)
    refs = list(dict.fromkeys(_servers_first([parsed.ref for parsed in new], after)))
    plans = [(ref, preview.plan(ref)) for ref in refs]
    changed = [parsed.ref for parsed in new if before.get(parsed.ref) != after[parsed.ref]]
    return plans + _followers(preview, changed, frozenset(refs))


def _followers(preview: _Preview, changed: Iterable[Ref], told: frozenset[Ref]) -> list[tuple[Ref, Plan]]:
    """Cameras that a changed profile selects, or did before, when something would be done for them."""
    refs = [ref for ref in changed if ref.kind == "CameraProfile"]
    versions = [book[ref] for book in (preview.before, preview.after) for ref in refs if ref in book]
    plans = [(ref, preview.plan(ref)) for ref in preview.concerned(_profiles(versions)) if ref not in told]
    return [(ref, plan) for ref, plan in plans if plan.actions or plan.later or plan.findings]


def _servers_first(refs: Sequence[Ref], after: Mapping[Ref, Document]) -> list[Ref]:
    named = [server_ref(after[ref]) for ref in refs if ref.kind == "Camera"]
    servers = [ref for ref in refs if ref.kind == "RopServer"]
    servers += [ref for ref in named if ref is not None and ref in after]
    return [*servers, *(ref for ref in refs if ref.kind != "RopServer")]


def plan_delete(refs: Sequence[Ref], current: Sequence[Document], now: datetime) -> list[tuple[Ref, Plan]]:
    """The plans when these documents are deleted."""
    before = {document.ref: document for document in current}
    after = {
        ref: replace(d, deleting=now) if ref in refs and d.deleting is None else d for ref, d in before.items()
    }
    preview = _Preview(after, before, now)
    known = [ref for ref in refs if ref in after]
    return [(ref, preview.plan(ref)) for ref in dict.fromkeys(_servers_first(known, after))]
