"""Firmware files by their hash in a folder: `SHA256.pak`, whole and verified or not there."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp

from rop_operator.adapters.fleet_transport import EgressResolver, check_literal
from rop_operator.ports import PortError

MAX_FILE = 1024**3
MIN_FREE = 256 * 1024**2
PIECE = 256 * 1024
# Seconds: for the whole file, and without a byte.
LONGEST, SILENCE = 3600.0, 60.0


class ImageStore:
    """A folder of this engine alone. `allow_loopback` is a decision of the program, never of a document."""

    def __init__(self, folder: Path, allow_loopback: bool = False) -> None:
        self._folder = folder
        self._allow_loopback = allow_loopback

    def find(self, sha256: str) -> Path | None:
        """The file; its hash was checked when it came."""
        path = self._folder / f"{sha256}.pak"
        return path if path.is_file() else None

    def sweep(self) -> None:
        """Remove what a killed transfer left."""
        for left in self._folder.glob(".incoming-*"):
            left.unlink(missing_ok=True)

    async def fetch(self, sha256: str, url: str) -> Path:
        """Bring it from a web server. No redirects, no address of this machine unless allowed."""
        found = self.find(sha256)
        if found is not None:
            return found
        check_literal(urlsplit(url).hostname or "", self._allow_loopback)
        limit = aiohttp.ClientTimeout(total=LONGEST, sock_connect=10.0, sock_read=SILENCE)
        connector = aiohttp.TCPConnector(resolver=EgressResolver(self._allow_loopback))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limit, trust_env=False) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise PortError("FetchFailed", f"the web server answered with status {answer.status}")
                return await self.receive(sha256, answer.content.iter_chunked(PIECE))
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise PortError("FetchFailed", f"TLS failed: {type(error).__name__}") from error
        except TimeoutError as error:
            raise PortError("FetchFailed", "the web server is silent") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise PortError("FetchFailed", f"not fetched: {type(error).__name__}") from error

    async def receive(self, sha256: str, pieces: AsyncIterator[bytes]) -> Path:
        """Keep what arrives when it has this hash. PortError `HashMismatch`, `TooLarge`, `StoreFull`."""
        try:
            return await self._receive(sha256, pieces)
        except OSError as error:
            raise PortError("StoreFull", f"{self._folder}: {error.strerror}") from error

    async def _receive(self, sha256: str, pieces: AsyncIterator[bytes]) -> Path:
        await asyncio.to_thread(self._prepare)
        handle, name = tempfile.mkstemp(prefix=".incoming-", dir=self._folder)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = await _copy(pieces, file)
                if digest != sha256:
                    raise PortError("HashMismatch", f"a file of {size} bytes has the sha256 {digest}")
                await asyncio.to_thread(_flush, file)
            return await asyncio.to_thread(temporary.replace, self._folder / f"{sha256}.pak")
        finally:
            temporary.unlink(missing_ok=True)

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < MIN_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def _copy(pieces: AsyncIterator[bytes], file: IO[bytes]) -> tuple[str, int]:
    """Hash and size of what was written."""
    digest, size = hashlib.sha256(), 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_FILE:
            raise PortError("TooLarge", f"the file is longer than {MAX_FILE} bytes")
        await asyncio.to_thread(_take, file, digest, piece)
    return digest.hexdigest(), size


def _take(file: IO[bytes], digest: hashlib._Hash, piece: bytes) -> None:
    digest.update(piece)
    file.write(piece)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
