"""Reconciling FirmwareImages: the file is brought once, then it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rop_operator.api.facts import Ref
from rop_operator.domain.firmware_image import ImageSnapshot, image_of, image_status, wait_of
from rop_operator.ports import Clock, Images, PortError, Store
from rop_operator.reconcile.report import put_when_different

KIND = "FirmwareImage"


class ImagesPart:
    """The engine's part for FirmwareImages. One file at a time: they are large. `changed` hears of each image
    whose file came.
    """

    def __init__(self, store: Store, clock: Clock, images: Images | None, changed: Callable[[Ref], None]) -> None:
        self._store = store
        self._clock = clock
        self._images = images
        self._changed = changed
        self._transfer = asyncio.Semaphore(1)

    async def reconcile(self, ref: Ref) -> float | None:
        """Once."""
        document = await self._store.get(ref)
        if document is None:
            return None
        spec, failure, path = image_of(document), None, None
        if spec is not None and self._images is None:
            failure = ("NotSupported", "this engine has no folder for firmware files")
        elif spec is not None and self._images is not None:
            path = self._images.find(spec.sha256)
            if path is None and spec.source.http is not None:
                await put_when_different(
                    self._store, document, image_status(ImageSnapshot(document, self._clock.now()))
                )
                document = await self._store.get(ref) or document
                try:
                    async with self._transfer:
                        path = await self._images.fetch(spec.sha256, spec.source.http.url)
                except PortError as error:
                    failure = (error.reason, error.message)
        size = path.stat().st_size if path is not None else None
        snapshot = ImageSnapshot(document, self._clock.now(), size, failure)
        if await put_when_different(self._store, document, image_status(snapshot)):
            self._changed(ref)
        return wait_of(snapshot)

    async def close(self) -> None:
        """Nothing is held."""
