"""The configuration of a running server: what is in force, what is written, what waits for a restart.

Source: ROP v1.0 wire specification, pki-and-config 6.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rop_data import config as configs
from rop_data import settings as rop_settings
from rop_data.config import Config
from rop_data.members import BY_NAME, MEMBERS, Apply, get, has
from rop_data.rotations import RotationFile, old_sign_keys, retired_device_keys, retired_sign_keys
from rop_data.settings import RopSettings
from rop_data.store import Site
from rop_pki import inspect
from rop_server.core.settings import Ports, Settings
from rop_server.core.upgrades import UpgradeLimits
from rop_server.manage.control import ApplyResult
from rop_wire.auth import ca_hash
from rop_wire.encrypted import Policy

ROP_MEMBERS = {
    "rop.clientBind": "client_bind",
    "rop.integrity": "integrity",
    "rop.management.listen": "management_listen",
    "rop.signalCommands": "signal_commands",
    "rop.alarms": "alarms",
    "rop.backup": "backup",
    "rop.gateway": "gateway",
}
_ROP_LIVE = frozenset({"rop.integrity", "rop.signalCommands", "rop.alarms", "rop.backup", "rop.gateway"})
_ABSENT = object()


def program_version() -> str:
    """The version of this program."""
    try:
        return version("rop-operator")
    except PackageNotFoundError:
        return "0"


def core_settings(config: Config, ours: RopSettings, rotations: RotationFile) -> Settings:
    """The members the core works with, in seconds, and the keys of rotations."""
    return Settings(
        ports=Ports(
            get_ca_https=config.port("getCAHttps"),
            get_cert_https=config.port("getCertHttps"),
            register_https=config.port("registerHttps"),
            keep_alive_tcp=config.port("keepAliveTCP"),
            signaling_tls=config.port("signalingTLS"),
            stream_tls=config.port("streamTLS"),
            stream_tcp=config.port("streamTCP"),
        ),
        sign_key=config.sign_key,
        device_keys={**retired_device_keys(rotations), **config.device_keys},
        current_key_index=config.current_key_index,
        old_sign_keys=old_sign_keys(rotations, config.sign_key),
        retired_sign_keys=retired_sign_keys(rotations),
        integrity=Policy(ours.integrity),
        code_life=float(config.get("authCode.expiredIn")),
        client_cert_days=float(config.get("cert.clientCertValidDays")),
        socket_timeout=config.seconds("timeout.socket"),
        call_timeout=config.seconds("timeout.signalingExec"),
        wake_answer_timeout=config.seconds("timeout.wakeupDevice"),
        wake_connect_timeout=config.seconds("timeout.wakeupExec"),
        signaling_idle=config.seconds("timeout.signalingConnectionIdle"),
        heartbeat_interval_s=int(config.get("heartBeatInterval")),
    )


def upgrade_limits(config: Config) -> UpgradeLimits:
    """The members that bound upgrades, in seconds."""
    return UpgradeLimits(
        sessions=int(config.get("upgrade.maxSession")),
        life=config.seconds("upgrade.sessionTTL"),
        slice_timeout=config.seconds("timeout.upgradeSignaling"),
    )


def in_force(boot: Config, written: Config) -> Config:
    """What the process works with: as at its start, with the live members as written now."""
    raw = copy.deepcopy(boot.raw)
    for member in MEMBERS:
        if member.apply is Apply.LIVE:
            if has(written.raw, member.name):
                configs.put(raw, member.name, get(written.raw, member.name))
            else:
                _remove(raw, member.name)
    return Config(raw)


def _remove(raw: dict[str, Any], name: str) -> None:
    *parents, last = name.split(".")
    node: Any = get(raw, ".".join(parents)) if parents else raw
    if isinstance(node, dict):
        node.pop(last, None)


class SiteControl:
    """Implements `rop_server.manage.control.Control`. `on_change` hears the configuration in force.

    `note(type, data)` records an event; `ports` tells which ports listen.
    """

    def __init__(
        self,
        site: Site,
        on_change: Callable[[Config, RopSettings], None],
        note: Callable[[str, dict[str, Any]], None],
        ports: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._site = site
        self._boot = self._written = self.effective = site.config
        self._boot_ours = self.ours = site.settings
        self._on_change = on_change
        self._note = note
        self._ports = ports
        self._seen = self._stat()
        self._digest = self._hash()
        self._file_changed = False

    # -- what it tells ----------------------------------------------------------------------------

    def config(self) -> Config:
        """The configuration as written, members that wait for a restart included."""
        return self._written

    def own_members(self) -> Mapping[str, Any]:
        """Members of rop.json as written."""
        told = {name: getattr(self.ours, attribute) for name, attribute in ROP_MEMBERS.items()}
        told["rop.alarms"] = self.ours.alarms.encode()
        told["rop.gateway"] = self.ours.gateway.encode()
        told["rop.backup"] = self.ours.backup.encode() if self.ours.backup else None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

    @property
    def file_changed(self) -> bool:
        """True when somebody else edited config.json since we last read or wrote it."""
        return self._file_changed

    @property
    def pending_restart(self) -> Sequence[str]:
        """Members whose written value waits for a restart."""
        waiting = [
            member.name
            for member in MEMBERS
            if member.apply is Apply.RESTART
            and get(self._boot.raw, member.name, _ABSENT) != get(self._written.raw, member.name, _ABSENT)
        ]
        return waiting + [
            name
            for name, attribute in ROP_MEMBERS.items()
            if name not in _ROP_LIVE and getattr(self.ours, attribute) != getattr(self._boot_ours, attribute)
        ]

    def identity(self) -> dict[str, Any]:
        """Who this server is; see `Control.identity`."""
        certificate = inspect(self._site.server_chain_pem)
        return {
            "instanceID": self._boot_ours.instance_id,
            "host": self.effective.server_host,
            "version": program_version(),
            "rootSHA256": self._site.authority.root_fingerprint,
            "caHash": ca_hash(self._site.root_pem),
            "adopted": self._boot_ours.adopted,
            "ports": {name: self.effective.port(name) for name in self._ports()},
            "serverCertificate": {
                "notAfter": certificate.not_after.timestamp(),
                "serial": certificate.serial,
            },
        }

    def ready(self) -> Mapping[str, bool]:
        """Each port by its name in config.json, and whether it listens."""
        return self._ports()

    # -- what it does -----------------------------------------------------------------------------

    async def apply(self, patch: Mapping[str, Any]) -> ApplyResult:
        """Write members over the file's present content, put the live ones in force. Raises ConfigError."""
        ours = {name: value for name, value in patch.items() if name.startswith("rop.")}
        vendor = {name: value for name, value in patch.items() if name not in ours}
        current = configs.load(self._site.directory.config)
        changed = Config(configs.patch(current.raw, vendor))
        settings = rop_settings.patch(self.ours, ours)
        result = self._compare(current, changed, settings, list(patch))
        if settings != self.ours:
            rop_settings.save(self._site.directory.rop, settings)
        if changed.raw != current.raw:
            configs.save(self._site.directory.config, changed)
        self._take(changed, settings)
        return result

    def put_keys(self, members: Mapping[str, Any]) -> None:
        """Write keys over the file's present content and put them in force, those too that a patch would leave to
        the next start. Raises ConfigError, then nothing is changed.
        """
        current = configs.load(self._site.directory.config)
        changed = Config(configs.patch(current.raw, members))
        boot = Config(configs.patch(self._boot.raw, members))
        if changed.raw != current.raw:
            configs.save(self._site.directory.config, changed)
        self._boot = boot
        self._take(changed, self.ours)

    def root_changed(self) -> None:
        """The site has another root now: it starts under no other one. Raises OSError."""
        now = self._site.authority.root_fingerprint
        self.ours = replace(self.ours, root_sha256=now)
        self._boot_ours = replace(self._boot_ours, root_sha256=now)
        rop_settings.save(self._site.directory.rop, self.ours)

    async def reload(self) -> ApplyResult:
        """Take config.json and rop.json as they are. Raises ConfigError, then nothing is changed."""
        current = configs.load(self._site.directory.config)
        told = rop_settings.load(self._site.directory.rop) or self.ours
        # Who this site is does not change while it runs.
        same = {name: getattr(self.ours, name) for name in ("instance_id", "adopted", "root_sha256")}
        settings = replace(told, **same)
        result = self._compare(self._written, current, settings, [*BY_NAME, *ROP_MEMBERS])
        self._take(current, settings)
        return result

    def tick(self) -> None:
        """Once per second: look whether somebody else edited the file."""
        seen = self._stat()
        if seen == self._seen:
            return
        self._seen = seen
        changed = self._hash() != self._digest
        if changed and not self._file_changed:
            self._note("config.file-changed", {})
        self._file_changed = changed

    def _compare(self, before: Config, after: Config, settings: RopSettings, names: list[str]) -> ApplyResult:
        applied: list[str] = []
        restart: list[str] = []
        unchanged: list[str] = []
        for name in names:
            if name in ROP_MEMBERS:
                attribute = ROP_MEMBERS[name]
                same = getattr(self.ours, attribute) == getattr(settings, attribute)
                live = name in _ROP_LIVE
            else:
                same = get(before.raw, name, _ABSENT) == get(after.raw, name, _ABSENT)
                live = BY_NAME[name].apply is Apply.LIVE
            (unchanged if same else applied if live else restart).append(name)
        return ApplyResult(tuple(applied), tuple(restart), tuple(unchanged))

    def _take(self, written: Config, settings: RopSettings) -> None:
        self._written = written
        self.ours = settings
        self.effective = in_force(self._boot, written)
        self._seen = self._stat()
        self._digest = self._hash()
        self._file_changed = False
        self._on_change(self.effective, replace(self._boot_ours, integrity=settings.integrity))

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            told = self._site.directory.config.stat()
        except OSError:
            return None
        return told.st_mtime_ns, told.st_size, told.st_ino

    def _hash(self) -> bytes:
        try:
            return hashlib.sha256(self._site.directory.config.read_bytes()).digest()
        except OSError:
            return b""
