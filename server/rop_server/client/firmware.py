"""Firmware: upload of files, upgrade sessions.

Source: ROP v1.0 wire specification, client-api 2.3 and 2.14; discrepancies A13, A18, B16, B17, C2.9, C5.6.
"""

from __future__ import annotations

from collections.abc import Callable

from rop_data.config import Config
from rop_data.firmware import FirmwareError
from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.exchange import OK, Answer, Asked, Calls, encode, json_call
from rop_server.core.upgrades import Upgrades, Wanted
from rop_server.core.uploads import Uploads


class FirmwareCalls:
    """The upload and the two calls of upgrades."""

    def __init__(self, uploads: Uploads, upgrades: Upgrades, config: Callable[[], Config]) -> None:
        self._uploads = uploads
        self._upgrades = upgrades
        self._config = config

    def calls(self) -> Calls:
        """Every call by its operation."""
        return {
            "upload": self.upload,
            "begin_upgrade": json_call(self.begin),
            "upgrade_status": json_call(self.status),
        }

    async def upload(self, asked: Asked) -> Answer:
        """Store a file under the name as it stands in the path."""
        name = validation.text(asked.path["fileName"], "fileName", 1, 255)
        try:
            await self._uploads.receive(name, asked.chunks())
        except FirmwareError as error:
            raise ClientError(error.symbol, error.detail) from None
        return Answer(OK)

    async def begin(self, path: dict[str, str], body: bytes) -> bytes:
        """Start an upgrade in the background."""
        uid = validation.uid(path["uid"])
        document = validation.json_object(body)
        name = validation.text(document.get("upgradeFile"), "upgradeFile", 1, 255)
        reset = validation.boolean(document.get("factoryReset"), "factoryReset")
        upgrade = await self._upgrades.start(Wanted(uid, name, reset))
        life = int(self._config().seconds("upgrade.sessionTTL"))
        return encode({"sessionId": upgrade.id, "expiredIn": life})

    async def status(self, path: dict[str, str], _body: bytes) -> bytes:
        """What became of an upgrade."""
        uid = validation.uid(path["uid"])
        session_id = validation.text(path["session-id"], "session-id", 1, 255)
        return encode({"status": self._upgrades.status(uid, session_id)})
