"""Receivers of alarms as the management interface sees and changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rop_data import sinks as stored
from rop_data.layout import DataDir
from rop_data.sinks import SinkSettings
from rop_server.alarms.sender import AlarmSender
from rop_server.alarms.sinks import key_bytes
from rop_server.control import SiteControl
from rop_server.manage.control import ApplyResult


class SinkControl:
    """Implements `rop_server.manage.alarmops.Alarms`."""

    def __init__(self, directory: DataDir, sender: AlarmSender, control: SiteControl) -> None:
        self._directory = directory
        self._sender = sender
        self._control = control

    @property
    def counts(self) -> Mapping[str, int]:
        """Alarms by outcome, over all sinks."""
        return self._sender.counts

    @property
    def queued(self) -> int:
        """Alarms that wait, over all sinks."""
        return self._sender.queued

    @property
    def dropped(self) -> Mapping[str, int]:
        """Alarms lost to a bound, by bound."""
        return self._sender.dropped

    def status(self) -> list[dict[str, Any]]:
        """Each sink, its address masked."""
        return self._sender.status()

    def dead(self, sink: str | None, uid: str | None, limit: int) -> list[dict[str, Any]]:
        """Dead letters, newest first."""
        return [
            {
                "id": letter.row.id,
                "sink": letter.row.sink,
                "uid": letter.row.uid,
                "at": letter.row.at,
                "deadAt": letter.dead_at,
                "reason": letter.reason,
                "body": letter.row.body.decode("utf-8", "replace"),
            }
            for letter in self._sender.dead(sink, uid, limit)
        ]

    def replay(self, sink: str | None, uid: str | None, ids: list[str] | None) -> int:
        """Send dead letters again; their number."""
        return self._sender.replay(sink, uid, ids)

    async def put_sink(
        self, name: str, url: str, key: str | None, enabled: bool, wanted: Mapping[str, list[str]]
    ) -> ApplyResult:
        """Make or change a sink. Raises `rop_data.config.ConfigError` or ValueError, then nothing is changed."""
        stored.check_url(url, "url")
        if key is not None:
            key_bytes(key)
        files = (f"secrets/sink-{name}.url", f"secrets/sink-{name}.key")
        sink = SinkSettings(name, files[0], None if key is None else files[1], enabled)
        member = sink.encode() | {"filter": dict(wanted)}
        kept = [each.encode() for each in self._settings.sinks if each.name != name]
        checked = stored.decode({"sinks": [*kept, member]})
        root = self._directory.root
        stored.write_secret(root, files[0], url)
        if key is not None:
            stored.write_secret(root, files[1], key)
        return await self._apply(checked.sinks)

    async def delete_sink(self, name: str) -> ApplyResult | None:
        """Remove a sink with its secrets; its alarms become dead letters. None: there is none of that name."""
        kept = tuple(sink for sink in self._settings.sinks if sink.name != name)
        if kept == self._settings.sinks:
            return None
        result = await self._apply(kept)
        for suffix in ("url", "key"):
            (self._directory.root / f"secrets/sink-{name}.{suffix}").unlink(missing_ok=True)
        return result

    @property
    def _settings(self) -> stored.AlarmSettings:
        return self._control.ours.alarms

    async def _apply(self, sinks: tuple[SinkSettings, ...]) -> ApplyResult:
        return await self._control.apply({"rop.alarms": replace(self._settings, sinks=sinks).encode()})
