"""The items of one server, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rop_data.config import Config
from rop_data.rotations import RotationFile
from rop_server.core.key_turns import KeyTurns
from rop_server.rotation.devicekey import DeviceKeyRotation
from rop_server.rotation.intermediate import IntermediateRotation, Issuing
from rop_server.rotation.item import Item
from rop_server.rotation.kept import KeptItem, Note, Put
from rop_server.rotation.root import Rooting, RootRotation
from rop_server.rotation.servercert import Presenting, ServerCertificateRotation
from rop_server.rotation.signkey import SignKeyRotation
from rop_server.state.book import FactsBook


class Certificates(Presenting, Issuing, Rooting, Protocol):
    """The certificates of a running server."""


def assemble(
    file: RotationFile,
    book: FactsBook,
    config: Callable[[], Config],
    put: Put,
    turns: KeyTurns,
    server: Certificates,
    drain: Callable[[], float],
    reconnect: Callable[[str], None],
    clock: Callable[[], float],
    note: Note,
) -> dict[Item, KeptItem]:
    """Every item, after what a crash left was finished. `config` is the one in force, `put` changes it.

    `drain` and `reconnect`: see `RootRotation`.
    """
    items: list[KeptItem] = [
        RootRotation(file, book, server, drain, reconnect, clock, note),
        DeviceKeyRotation(file, book, config, put, turns, clock, note),
        SignKeyRotation(file, book, config, put, clock, note),
        IntermediateRotation(file, book, server, clock, note),
        ServerCertificateRotation(file, server, clock, note),
    ]
    for each in items:
        each.recover()
    return {each.item: each for each in items}
