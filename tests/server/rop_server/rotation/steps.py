"""Takes steps of a rotation in a data directory, and may kill itself in the middle:

python steps.py FOLDER LIMIT ITEM STEP ...   killed before the LIMITth fsync or rename; prints how many there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rop_data.layout import DataDir
from rop_data.rotations import RotationFile, old_sign_keys, retired_device_keys
from rop_data.store import prepare
from rop_server.control import SiteControl
from rop_server.core.key_turns import KeyTurns
from rop_server.presenting import Certificates
from rop_server.rotation.assembly import assemble
from rop_server.rotation.item import Item, Order, Step
from rop_server.state.book import FactsBook


class Opened:
    """What a start of the server makes of a directory, without its ports."""

    def __init__(self, folder: Path) -> None:
        directory = DataDir(folder)
        environment = {"ROP_HOSTNAME": "rop.example.com"}
        self.site = prepare(directory, environment, datetime.now(UTC))
        self.book = FactsBook(directory.state, time.time)
        self.file = RotationFile(directory.rotation)
        self.control = SiteControl(self.site, lambda *_: None, lambda *_: None, dict)
        turns = KeyTurns(time.monotonic, lambda: 0)
        certificates = Certificates(self.site, lambda *_: None, lambda _: None)
        self.items = assemble(
            *(self.file, self.book, lambda: self.control.effective, self.control.put_keys, turns),
            *(certificates, lambda: 0.0, lambda _: None, time.time, lambda *_: None),
        )

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.book.close()

    def take(self, item: str, steps: Sequence[str]) -> Any:
        """Steps of one rotation, at once."""
        for step in steps:
            state = asyncio.run(self.items[Item(item)].take(Order(Step(step), 2)))
        return state

    def keys(self, item: str) -> tuple[Any, set[Any]]:
        """What is in use, and all that is accepted."""
        config = self.control.effective
        if item == "SignKey":
            return config.sign_key, {config.sign_key, *old_sign_keys(self.file, config.sign_key)}
        if item == "ServerCertificate":
            return self.site.server_chain_pem, {self.site.server_chain_pem}
        if item == "Root":
            return self.site.authority.root_fingerprint, {self.site.authority.root_fingerprint}
        if item == "Intermediate":
            return self.site.authority.issuer_key_id, {self.site.authority.issuer_key_id}
        known = {**retired_device_keys(self.file), **config.device_keys}
        return known[config.current_key_index], set(known.values())


def main(folder: str, limit: str, item: str, *steps: str) -> None:
    """See the module."""
    seen = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == int(limit):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    with Opened(Path(folder)) as site:
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        Path.replace = counted(Path.replace)  # type: ignore[method-assign]
        site.take(item, steps)
    print(f"\n{seen}")


if __name__ == "__main__":
    main(*sys.argv[1:])
