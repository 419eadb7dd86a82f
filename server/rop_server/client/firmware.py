"""Firmware: upload of files, upgrade sessions.

Source: ROP v1.0 wire specification, client-api 2.3 and 2.14; discrepancies A13, A18, B16, B17, C2.9, C5.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog

from rop_data.config import Config
from rop_data.firmware import FirmwareError, FirmwareStore, Upload
from rop_server.client import validation
from rop_server.client.errors import ClientError
from rop_server.client.exchange import OK, Answer, Asked, Calls, encode, json_call
from rop_server.core.upgrades import Upgrades

log = structlog.get_logger("rop.client")

P = ParamSpec("P")
T = TypeVar("T")
# Bytes collected before they go to the disk, and uploads at a time; together they bound the memory.
BLOCK = 512 * 1024
UPLOADS = 64


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; a caller that is cancelled waits for the thread, so that nothing runs behind its back."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


class FirmwareCalls:
    """The upload and the two calls of upgrades."""

    def __init__(self, store: FirmwareStore, upgrades: Upgrades, config: Callable[[], Config]) -> None:
        self._store = store
        self._upgrades = upgrades
        self._config = config
        self._places = asyncio.Semaphore(UPLOADS)

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
            async with self._places:
                upload = await self._begin(name)
                try:
                    await _receive(asked, upload)
                    made = await in_thread(upload.finish)
                finally:
                    await in_thread(upload.close)
        except FirmwareError as error:
            raise ClientError(error.symbol, error.detail) from None
        log.info("firmware", message="ok", file=made.name, size=made.size, sha256=made.sha256)
        return Answer(OK)

    async def _begin(self, name: str) -> Upload:
        work = asyncio.ensure_future(asyncio.to_thread(self._store.begin, name))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if work.exception() is None:
                work.result().close()
            raise

    async def begin(self, path: dict[str, str], body: bytes) -> bytes:
        """Start an upgrade in the background."""
        uid = validation.uid(path["uid"])
        document = validation.json_object(body)
        name = validation.text(document.get("upgradeFile"), "upgradeFile", 1, 255)
        reset = validation.boolean(document.get("factoryReset"), "factoryReset")
        upgrade = await self._upgrades.start(uid, name, reset)
        life = int(self._config().seconds("upgrade.sessionTTL"))
        return encode({"sessionId": upgrade.id, "expiredIn": life})

    async def status(self, path: dict[str, str], _body: bytes) -> bytes:
        """What became of an upgrade."""
        uid = validation.uid(path["uid"])
        session_id = validation.text(path["session-id"], "session-id", 1, 255)
        return encode({"status": self._upgrades.status(uid, session_id)})


async def _receive(asked: Asked, upload: Upload) -> None:
    block = bytearray()
    async for chunk in asked.chunks():
        block += chunk
        if len(block) >= BLOCK:
            await in_thread(upload.write, bytes(block))
            block.clear()
    if block:
        await in_thread(upload.write, bytes(block))
