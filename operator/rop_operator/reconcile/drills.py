"""RecoveryDrills: what they observe and how they are carried out."""

from __future__ import annotations

import logging

from rop_operator.api.facts import BackupRunFacts, Document
from rop_operator.domain.backup import desired_backup
from rop_operator.domain.drill import Seen, archive_id, drill
from rop_operator.domain.operation import Situation, server_spec_of
from rop_operator.domain.plan import (
    Action,
    Done,
    EnrolDrillCamera,
    Failed,
    MakeArchive,
    Outcome,
    StartDrill,
    StopDrill,
)
from rop_operator.domain.snapshot import secret_uses
from rop_operator.ports import Drills, PortError, Secrets
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.operations import Craft

log = logging.getLogger(__name__)


def drills(secrets: Secrets, port: Drills | None) -> Craft:
    """The craft: it reads the identity, and the credentials of the target, only when a drill begins."""

    async def observe(document: Document, link: Link) -> Seen:
        if port is None or link.runtime is None:
            return Seen(possible=False)
        run = await port.run(link.ref, document.uid)
        if run is not None:
            return Seen(run=run)
        return Seen(
            camera=await port.camera(link.ref),
            archive=await _archive(document, link),
            keys=await _keys(link),
        )

    async def perform(situation: Situation, action: Action, link: Link) -> Outcome:
        if port is None:
            return Failed("NotSupported", "no drills here")
        match action:
            case EnrolDrillCamera(keys=keys):
                await port.enrol(link.ref, keys)
            case MakeArchive():
                if link.server is None:
                    raise PortError("Unreachable", "the server is not connected")
                await link.server.make_archive(action)
            case StartDrill():
                place, identity = await _inputs(secrets, situation, action)
                await port.start(link.ref, action, place, identity)
            case StopDrill(id=id_):
                await port.stop(link.ref, id_)
            case _:
                return Failed("NotSupported", f"{type(action).__name__} is not for a RecoveryDrill")
        return Done()

    return Craft(observe, drill, perform, alone=True)


async def _inputs(secrets: Secrets, situation: Situation, order: StartDrill) -> tuple[dict[str, object], bytes]:
    """The target with its credentials, and the identity. PortError."""
    spec, namespace = server_spec_of(situation), situation.document.ref.namespace
    if spec is None or spec.drill is None:
        raise PortError("DrillNotConfigured", "spec.drill of the RopServer is gone")
    found: dict[str, str] = {}
    for use in secret_uses(spec):
        if use.field.startswith("spec.backup."):
            found[use.field] = (await secrets.read(namespace, use.name, use.key)).decode("utf-8").strip()
    policy = desired_backup(spec, found)
    place = next((each for each in (policy or {}).get("targets", ()) if each["name"] == order.target), None)
    if place is None:
        raise PortError("TargetUnknown", f"spec.backup of the RopServer has no target {order.target}")
    identity = await secrets.read(namespace, spec.drill.identity_ref.name, spec.drill.identity_ref.key)
    return place, identity


async def _archive(document: Document, link: Link) -> BackupRunFacts | None:
    if link.server is None or link.facts is None or not link.facts.reachable:
        return None
    try:
        return await link.server.backup_run(archive_id(document.uid))
    except PortError as error:
        log.info("%s: %s", document.ref, error.message)
        return None


async def _keys(link: Link) -> str | None:
    """What a drill camera depends on: the root it pins, and the generation of the key that signed its code."""
    facts = link.facts
    if link.server is None or facts is None or not facts.reachable or facts.root_sha256 is None:
        return None
    try:
        rotations = await link.server.rotations()
    except PortError:
        return None
    generation = next((each.generation for each in rotations if each.item == "SignKey"), 1)
    return f"{facts.root_sha256}:{generation}"
