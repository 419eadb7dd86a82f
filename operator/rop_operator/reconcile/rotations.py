"""KeyRotations: what they observe and how their steps are carried out."""

from collections.abc import Sequence

from rop_operator.api.facts import Document, RotationFacts
from rop_operator.domain.operation import Situation
from rop_operator.domain.plan import Action, Done, Failed, Outcome, RotateStep
from rop_operator.domain.rotation import rotate
from rop_operator.ports import PortError
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.operations import Craft


async def _observe(_document: Document, link: Link) -> Sequence[RotationFacts]:
    if link.server is None:
        raise PortError("Unreachable", "the server is not connected")
    return await link.server.rotations()


async def _perform(_situation: Situation, action: Action, link: Link) -> Outcome:
    if not isinstance(action, RotateStep):
        return Failed("NotSupported", f"{type(action).__name__} is not for a KeyRotation")
    if link.server is None:
        raise PortError("Unreachable", "the server is not connected")
    facts = await link.server.rotate(action)
    _not_backed_up(link)
    return Done(facts)


def _not_backed_up(link: Link) -> None:
    """New keys are in no backup until the server, looked at again, says so."""
    if link.facts is not None and link.facts.backup is not None:
        stale = link.facts.backup.model_copy(update={"covered": False})
        link.facts = link.facts.model_copy(update={"backup": stale})


ROTATIONS = Craft(_observe, rotate, _perform)
