"""RopBackups: what they observe and how an archive is asked for."""

from rop_operator.api.facts import BackupRunFacts, Document
from rop_operator.domain.backup_run import back_up
from rop_operator.domain.operation import Situation
from rop_operator.domain.plan import Action, Done, Failed, MakeArchive, Outcome
from rop_operator.ports import PortError
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.operations import Craft


async def _observe(document: Document, link: Link) -> BackupRunFacts | None:
    if link.server is None:
        raise PortError("Unreachable", "the server is not connected")
    if link.facts is None or link.facts.backup is None:
        return None
    return await link.server.backup_run(document.uid)


async def _perform(_situation: Situation, action: Action, link: Link) -> Outcome:
    if not isinstance(action, MakeArchive):
        return Failed("NotSupported", f"{type(action).__name__} is not for a RopBackup")
    if link.server is None:
        raise PortError("Unreachable", "the server is not connected")
    return Done(await link.server.make_archive(action))


BACKUP_RUNS = Craft(_observe, back_up, _perform)
