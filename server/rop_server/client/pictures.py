"""The snapshot. Source: ROP v1.0 wire specification, client-api 2.13; discrepancies B7, B10, C5.2."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from rop_data.config import Config
from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.exchange import Answer, Asked, Calls
from rop_server.client.ptz import channel_of
from rop_server.core.facade import CallError, Devices
from rop_wire.errors import WireError
from rop_wire.messages import STREAM_BITS

log = structlog.get_logger("rop.client")


class PictureCalls:
    """One picture of a channel."""

    def __init__(self, devices: Devices, config: Callable[[], Config]) -> None:
        self._devices = devices
        self._config = config

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {"snapshot": self.snapshot}

    async def snapshot(self, asked: Asked) -> Answer:
        """A JPEG picture. Whatever goes wrong with an online device is `snap_error`."""
        uid = validation.uid(asked.path["uid"])
        query = asked.query()
        stream_type = query.word("stream_type", STREAM_BITS)
        number = query.whole("channel", 0, validation.MAX_CHANNEL)
        if self._devices.link(uid) is None:
            raise ClientError("device_offline")
        try:
            channel = await channel_of(self._devices, uid, number)
            if not channel.offers(stream_type):
                raise ClientError("stream_type_not_support")
            limit = self._config().seconds("timeout.snap")
            picture = await self._devices.snapshot(uid, number, stream_type, limit)
        except (CallError, ClientError, WireError) as error:
            log.info("snapshot", uid=uid, message="nok", reason=str(error))
            raise ClientError("snap_error") from None
        return Answer(picture, "image/jpeg")
