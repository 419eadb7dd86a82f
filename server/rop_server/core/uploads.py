"""Firmware files that come in by either interface: streamed to disk, hashed on the way, whole or absent.

Source: ROP v1.0 wire specification, client-api 2.3; discrepancies C2.9, C5.6, C5.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

import structlog

from rop_data.firmware import FirmwareError, FirmwareFile, FirmwareStore, Upload

log = structlog.get_logger("rop.firmware")

P = ParamSpec("P")
T = TypeVar("T")
# Bytes collected before they go to the disk, and uploads at a time; together they bound the memory.
BLOCK = 512 * 1024
UPLOADS = 64
HASH_MISMATCH = "hash_mismatch"


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; a caller that is cancelled waits for the thread, so that nothing runs behind its back."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


class Uploads:
    """Receives files into the firmware folder."""

    def __init__(self, store: FirmwareStore) -> None:
        self.store = store
        self._places = asyncio.Semaphore(UPLOADS)

    async def receive(self, name: str, chunks: AsyncIterator[bytes], sha256: str | None = None) -> FirmwareFile:
        """Store one file. Raises FirmwareError (also `hash_mismatch`), and what `chunks` raises; nothing stays."""
        async with self._places:
            upload = await self._begin(name)
            try:
                await _write(chunks, upload)
                if sha256 is not None and upload.sha256 != sha256:
                    raise FirmwareError(HASH_MISMATCH, f"what came has {upload.sha256}")
                made = await in_thread(upload.finish)
            finally:
                await in_thread(upload.close)
        log.info("firmware", message="ok", file=made.name, size=made.size, sha256=made.sha256)
        return made

    async def _begin(self, name: str) -> Upload:
        work = asyncio.ensure_future(asyncio.to_thread(self.store.begin, name))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            if work.exception() is None:
                work.result().close()
            raise


async def _write(chunks: AsyncIterator[bytes], upload: Upload) -> None:
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK:
            await in_thread(upload.write, bytes(block))
            block.clear()
    if block:
        await in_thread(upload.write, bytes(block))
