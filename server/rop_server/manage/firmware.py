"""The operations on the firmware folder."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from rop_data.firmware import FirmwareError, FirmwareFile, FirmwareStore
from rop_server.manage.errors import ManageError
from rop_server.manage.handlers import reply
from rop_server.state.record import rfc3339


class FirmwareOperations:
    """List and delete; files come by 61009 or by hand."""

    def __init__(self, store: FirmwareStore) -> None:
        self._store = store

    async def list_firmware(self, _request: web.Request) -> web.Response:
        """Every file with its hash. A large new file takes a moment to hash."""
        return reply(await self._listed())

    async def delete_firmware(self, request: web.Request) -> web.Response:
        """Remove one file."""
        try:
            await asyncio.to_thread(self._store.delete, request.match_info["name"])
        except FirmwareError as error:
            raise ManageError(404, error.symbol, "no firmware file of this name") from None
        return reply(await self._listed())

    async def _listed(self) -> dict[str, Any]:
        return {"items": [_item(each) for each in await asyncio.to_thread(self._store.files)]}


def _item(file: FirmwareFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "size": file.size,
        "modified": rfc3339(file.modified),
        "sha256": file.sha256,
    }
