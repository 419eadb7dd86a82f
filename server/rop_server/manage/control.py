"""What the management interface needs of the composed server; implemented by `rop_server.app`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rop_data.config import Config


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """Dotted members by what became of them: in force now, in force after a restart, equal before."""

    applied: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


class Control(Protocol):
    """The server as a whole. Notes for the event journal (`server.certificate`, `config.file-changed`) go to
    `FactsBook.note` by whoever implements this; `config.changed` is noted here, after `apply` and `reload`.
    """

    def config(self) -> Config:
        """The configuration in force (with members that wait for a restart as written)."""
        ...

    def own_members(self) -> Mapping[str, Any]:
        """Our own members as written, none of them secret: `rop.clientBind`, `rop.integrity`, ..."""
        ...

    async def apply(self, patch: Mapping[str, Any]) -> ApplyResult:
        """Write `{dotted member: value}` over the file's current content (None removes a member), put live ones in
        force. Raises `rop_data.config.ConfigError`, then nothing is changed.
        """
        ...

    async def reload(self) -> ApplyResult:
        """Take the hand-edited file as it is. Raises `rop_data.config.ConfigError`, then nothing is changed."""
        ...

    @property
    def file_changed(self) -> bool:
        """True when config.json was edited by somebody else since we last read or wrote it."""
        ...

    @property
    def pending_restart(self) -> Sequence[str]:
        """Members whose written value is not in force before a restart."""
        ...

    def identity(self) -> dict[str, Any]:
        """`instanceID, host, version, rootSHA256, caHash, adopted, ports{member: n},
        serverCertificate{notAfter (epoch seconds, float), serial}`.
        """
        ...

    def ready(self) -> Mapping[str, bool]:
        """Each listening port by its name in config.json, and whether it listens."""
        ...
