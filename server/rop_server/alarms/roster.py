"""The receivers of now, out of config.json, rop.json and the files these name."""

from __future__ import annotations

from pathlib import Path

import structlog

from rop_data import sinks as stored
from rop_data.config import Config, ConfigError
from rop_data.sinks import AlarmSettings, SinkSettings
from rop_server.alarms.sinks import WEBHOOK, Filter, Sink, key_bytes, new_key

log = structlog.get_logger("rop.alarms")

KEY_FILE = "secrets/alarm-signing.key"


class Roster:
    """Reads the secret files when told to, never in between. `root` is the data directory."""

    def __init__(self, root: Path, config: Config, alarms: AlarmSettings) -> None:
        self._root = root
        if not (root / KEY_FILE).exists():
            stored.write_secret(root, KEY_FILE, new_key())
        self.sinks: dict[str, Sink] = {}
        self.max_age = float(alarms.max_age_s)
        self.load(config, alarms)

    def load(self, config: Config, alarms: AlarmSettings) -> None:
        """Take a configuration into force. A sink whose files cannot be read keeps its alarms waiting."""
        self.max_age = float(alarms.max_age_s)
        site_key = self._key(KEY_FILE, WEBHOOK)
        found: dict[str, Sink] = {}
        if config.alarm_url:
            found[WEBHOOK] = Sink(WEBHOOK, config.alarm_url, site_key)
        for sink in alarms.sinks:
            if sink.enabled:
                found[sink.name] = self._sink(sink, site_key)
        self.sinks = found

    def _sink(self, told: SinkSettings, site_key: bytes | None) -> Sink:
        wanted = Filter(frozenset(told.uids), frozenset(told.statuses), frozenset(told.types))
        key = site_key if told.key_file is None else self._key(told.key_file, told.name)
        try:
            url = stored.read_secret(self._root, told.url_file, told.name)
            stored.check_url(url, told.name)
        except ConfigError as error:
            log.error("alarm-sink", sink=told.name, message="nok", reason=str(error))
            url = ""
        return Sink(told.name, url, key, wanted)

    def _key(self, name: str, sink: str) -> bytes | None:
        try:
            return key_bytes(stored.read_secret(self._root, name, sink))
        except (ConfigError, ValueError) as error:
            log.error("alarm-sink", sink=sink, message="not signed", reason=str(error))
            return None
