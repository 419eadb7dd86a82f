"""The operations on the firmware folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from rop_data.firmware import FirmwareError, FirmwareFile
from rop_server.core.uploads import HASH_MISMATCH, Uploads
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply
from rop_server.state.record import rfc3339

SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK = 64 * 1024
# Seconds without a byte after which an upload is given up.
SILENCE = 60.0
STATUS = {"duplicate_firmware": 409, HASH_MISMATCH: 422, "file_not_found": 404}


def sha256_of(value: object, field: str = "sha256") -> str:
    """A hash as lower-case hexadecimal digits."""
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise invalid(field, "must be 64 lower-case hexadecimal digits")
    return value


class FirmwareOperations:
    """List, put, delete."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._store = uploads.store

    async def list_firmware(self, _request: web.Request) -> web.Response:
        """Every file with its hash. A large new file takes a moment to hash."""
        return reply(await self._listed())

    async def put_firmware(self, request: web.Request) -> web.Response:
        """Store one file; the same file again is a success."""
        name, wanted = request.match_info["name"], sha256_of(request.query.get("sha256"))
        if any(each.name == name and each.sha256 == wanted for each in await self._files()):
            return reply(await self._listed())
        try:
            await self._uploads.receive(name, _body(request), wanted)
        except FirmwareError as error:
            raise ManageError(STATUS.get(error.symbol, 422), error.symbol, error.detail or error.symbol) from None
        return reply(await self._listed())

    async def delete_firmware(self, request: web.Request) -> web.Response:
        """Remove one file."""
        try:
            await asyncio.to_thread(self._store.delete, request.match_info["name"])
        except FirmwareError as error:
            raise ManageError(404, error.symbol, "no firmware file of this name") from None
        return reply(await self._listed())

    async def _files(self) -> list[FirmwareFile]:
        return await asyncio.to_thread(self._store.files)

    async def _listed(self) -> dict[str, Any]:
        return {"items": [_item(each) for each in await self._files()]}


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                chunk = await request.content.read(CHUNK)
        except (TimeoutError, web.RequestPayloadError):
            raise invalid("body", "did not arrive as a whole") from None
        if not chunk:
            return
        yield chunk


def _item(file: FirmwareFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "size": file.size,
        "modified": rfc3339(file.modified),
        "sha256": file.sha256,
    }
