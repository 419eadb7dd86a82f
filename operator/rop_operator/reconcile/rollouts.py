"""FirmwareRollouts: what they observe and how their steps are carried out."""

from __future__ import annotations

import logging

from rop_operator.api.facts import Document, Ref
from rop_operator.domain.operation import Situation
from rop_operator.domain.plan import Action, Done, Failed, HoldUpgrades, Outcome, StartUpgrade, StoreImage
from rop_operator.domain.rollout import Seen, roll
from rop_operator.ports import Images, PortError, Server, Store
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.operations import Craft
from rop_operator.reconcile.perform import PASSING

log = logging.getLogger(__name__)

# What a single camera refuses is not the rollout's failure: it is seen that nothing began.
OF_THE_SERVER = PASSING - {"DeviceAsleep"}


def rollouts(store: Store, images: Images | None) -> Craft:
    """The craft: it needs the image's document and its file."""

    async def observe(document: Document, link: Link) -> Seen:
        reference = document.spec.get("imageRef")
        name = reference.get("name") if isinstance(reference, dict) else None
        image = await store.get(Ref("FirmwareImage", document.ref.namespace, str(name)))
        return Seen(image, await _server(link).firmware())

    async def perform(_situation: Situation, action: Action, link: Link) -> Outcome:
        match action:
            case StoreImage(file, sha256):
                path = images.find(sha256) if images is not None else None
                if path is None:
                    raise PortError("ImageNotReady", "the image's file is not here")
                await _server(link).put_firmware(file, sha256, path)
            case HoldUpgrades(holder, uids, seconds):
                await _server(link).hold_upgrades(holder, uids, seconds)
            case StartUpgrade():
                return await _start(_server(link), action)
            case _:
                return Failed("NotSupported", f"{type(action).__name__} is not for a FirmwareRollout")
        return Done()

    return Craft(observe, roll, perform)


async def _start(server: Server, order: StartUpgrade) -> Outcome:
    try:
        await server.start_upgrade(order)
    except PortError as error:
        if error.reason in OF_THE_SERVER:
            raise
        log.info("upgrade not begun", extra={"camera": order.camera, "reason": error.reason})
        return Done(error.reason)
    return Done()


def _server(link: Link) -> Server:
    if link.server is None:
        raise PortError("Unreachable", "the server is not connected")
    return link.server
