"""Composition of the core server: data directory, state, device ports, client and management interfaces."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric

from rop_data.config import Config, ConfigError, ignored_environment
from rop_data.firmware import FirmwareStore
from rop_data.layout import DataDir
from rop_data.rotations import RotationFile
from rop_data.settings import RopSettings
from rop_data.store import Site, prepare
from rop_server import keyreport, logs
from rop_server.access.callers import Passes
from rop_server.alarms.queue import AlarmQueue
from rop_server.alarms.roster import Roster
from rop_server.alarms.sender import AlarmSender
from rop_server.audit import Audit
from rop_server.backup.service import BackupOptions
from rop_server.backupcontrol import BackupControl, assemble
from rop_server.client.app import build_client_app
from rop_server.client.listener import ClientListener
from rop_server.client.play import PlayCalls
from rop_server.client.report import ClientReport
from rop_server.client.rooms import Rooms
from rop_server.control import SiteControl, core_settings, upgrade_limits
from rop_server.core.codes import Enrolment, SignedCertificate
from rop_server.core.devices import DeviceService
from rop_server.core.hub import Clock, Hub
from rop_server.core.scans import Scans
from rop_server.core.upgrades import Upgrades
from rop_server.core.uploads import Uploads
from rop_server.core.wifi import Wifi
from rop_server.garbage import FullCollections
from rop_server.gateway.part import GatewayPart
from rop_server.looplag import LoopLag
from rop_server.manage.app import build_manage_app
from rop_server.manage.listener import ManageListener
from rop_server.manage.trust import ManagementTls
from rop_server.media.relay import Relay
from rop_server.media.report import StreamReport
from rop_server.media.sessions import PlaySessions, Wiring
from rop_server.net.inherited import Inherited
from rop_server.net.listener import open_socket, port_error
from rop_server.net.ports import DEVICE_PORTS, IPV4_ANY, DevicePorts, open_device_sockets
from rop_server.presenting import Certificates
from rop_server.rotation.assembly import assemble as assemble_rotations
from rop_server.rotation.item import Item
from rop_server.rotation.kept import KeptItem
from rop_server.rtsp.listener import RtspService
from rop_server.sinkcontrol import SinkControl
from rop_server.state.book import FactsBook
from rop_server.supervisor import Supervisor
from rop_wire.auth import ca_hash

log = structlog.get_logger("rop.server")

CLOCK = Clock(time.monotonic, time.time)
STOP_LIMIT = 10.0
CLOSE_LIMIT = 3.0
CERTIFICATE_CHECK = 3600.0


def utc_now() -> datetime:
    """The time for certificates."""
    return datetime.now(UTC)


class Server:
    """Everything that lives between start and stop of one server process."""

    def __init__(
        self,
        site: Site,
        book: FactsBook,
        bind: str | None,
        inherited: Inherited | None = None,
        backups: BackupOptions | None = None,
    ) -> None:
        config = site.config
        self.site = site
        self.book = book
        self.rotation_file = RotationFile(site.directory.rotation)
        settings = core_settings(config, site.settings, self.rotation_file)
        self.hub = Hub(settings, book, book, CLOCK)
        self.enrolment = Enrolment(settings, book, book, CLOCK, self._sign)
        self.devices = DeviceService(self.hub, self.enrolment)
        self._tell_root()
        self.certificates = Certificates(site, self._note, self._refuse_issuers)
        ports = {name: config.port(name) for name in DEVICE_PORTS}
        self._inherited = inherited or Inherited()
        sockets = open_device_sockets(bind, ports, self._inherited)
        self.relay = Relay(CLOCK.monotonic, lambda: self.control.effective.seconds("timeout.streamTimeout"))
        devices = (self.hub, self.enrolment, self.certificates.contexts)
        self.ports = DevicePorts(sockets, *devices, lambda: self._root_pem, relay=self.relay)
        wiring = Wiring(self.devices, self.relay, lambda: self.control.effective, CLOCK, self.hub.hold_awake)
        self.play = PlaySessions(wiring)
        self.rtsp = RtspService(self.play, CLOCK)
        self.control = SiteControl(site, self._apply, self._note, self.ready)
        self.roster = Roster(site.directory.root, config, site.settings.alarms)
        queue = AlarmQueue(site.directory.alarms)
        self.alarms = AlarmSender(queue, lambda: self.roster.sinks, lambda: self.roster.max_age)
        book.subscribe(self.alarms.on_event)
        self.firmware = FirmwareStore(site.directory.resolve(config.get("upgrade.filePath")))
        self.firmware.sweep()
        self.uploads = Uploads(self.firmware)
        self.upgrades = Upgrades(
            self.hub, self.devices, self.firmware, lambda: upgrade_limits(self.control.effective)
        )
        self.scans = Scans(Wifi(self.devices), CLOCK.wall)
        self.passes, self.audit = Passes(CLOCK.monotonic), Audit(site.directory.audit, CLOCK.wall)
        self.gateway = GatewayPart(site, book, self.passes, CLOCK, self._note)
        self.gateway.apply(site.settings.gateway, self.rtsp)
        book.gateway_tokens.revoked = self._end_viewers
        client_app = self._client_app()
        self.client = ClientListener(client_app)
        client_report = ClientReport(client_app, self.upgrades)
        self._client_listens = False
        self.lag = LoopLag()
        self.full_collections = FullCollections()
        self.backups, backing = assemble(
            self.control, site.directory, self._note, CLOCK, backups or BackupOptions()
        )
        self.rotations = self._assemble_rotations()
        self.manage = ManageListener(self._manage_app(backing, client_report))
        self.supervisor = Supervisor()
        self._ticker: asyncio.TimerHandle | None = None
        self._certificate_due = CLOCK.monotonic() + CERTIFICATE_CHECK

    def _assemble_rotations(self) -> dict[Item, KeptItem]:
        self.certificates.addresses_of = self.book.addresses
        self.certificates.root_changed = self._root_changed
        return assemble_rotations(
            *(self.rotation_file, self.book, lambda: self.control.effective, self.control.put_keys),
            *(self.hub.key_turns, self.certificates, self.enrolment.drain, self.hub.reconnect),
            *(CLOCK.wall, self._rotated),
        )

    def _tell_root(self) -> None:
        """What new devices are told to pin."""
        self._root_pem = self.site.root_pem.decode()
        self._ca_hash = ca_hash(self.site.root_pem)
        self.book.root_sha256 = self.site.authority.root_fingerprint

    def _root_changed(self) -> None:
        self.control.root_changed()
        self._tell_root()

    def _manage_app(self, backing: BackupControl, client_report: ClientReport) -> web.Application:
        return build_manage_app(
            *(self.devices, self.book, self.control),
            SinkControl(self.site.directory, self.alarms, self.control),
            uploads=self.uploads,
            upgrades=self.upgrades,
            scans=self.scans,
            streams=StreamReport(self.relay, self.play, self.rtsp.connections, CLOCK.monotonic),
            backups=backing,
            gateway=self.gateway,
            rotations=self.rotations,
            authority=self.certificates.document,
            audit=self.audit,
            sources=(
                self.lag.collect,
                self._connection_metrics,
                client_report.families,
                lambda: keyreport.families(self.hub),
            ),
        )

    def _client_app(self) -> web.Application:
        def effective() -> Config:
            return self.control.effective

        def raw_commands() -> tuple[int, ...]:
            return self.control.ours.signal_commands

        rooms = Rooms(self.devices, effective, self.uploads, self.upgrades, self.scans, raw_commands)
        calls = [PlayCalls(self.play).calls(), *rooms.calls()]
        given = (self.devices, effective, lambda: self._ca_hash, CLOCK.wall, calls, self.passes, self.audit)
        return build_client_app(*given)

    async def start(self, client_bind: str, gateway_sockets: Path) -> None:
        """Open the remaining ports and begin to tick. Raises `PortInUse`, and OSError for a socket's folder."""
        await self._start_management()
        await self.client.start(self._client_socket(client_bind, "clientHttp"))
        self._client_listens = True
        # As the vendor's server: 61009 listens on IPv4, 61008 on IPv6 as well (device-protocol 5).
        rtsp_bind = None if client_bind == IPV4_ANY else client_bind
        await self.rtsp.start(self._client_socket(rtsp_bind, "clientRtsp"))
        self._inherited.close()
        await self.gateway.start(gateway_sockets, self.client, self.rtsp)
        self.alarms.start()
        self.backups.start()
        self.lag.start()
        self._tick()

    def _client_socket(self, host: str | None, name: str) -> socket.socket:
        port = self.site.config.port(name)
        return self._inherited.take(port) or open_socket(host, port, f"ports.{name}")

    async def _start_management(self) -> None:
        directory = self.site.directory
        await self.manage.start_unix(directory.manage_socket)
        listen = self.site.settings.management_listen
        if listen is None:
            return
        host, _, number = listen.rpartition(":")
        host = host.strip("[]")
        self.certificates.management = tls = ManagementTls(directory.manage, host, CLOCK.wall())
        try:
            await self.manage.start_tcp(host, int(number), tls.context)
        except OSError as error:
            raise port_error(int(number), "rop.management.listen", error) from error

    def ready(self) -> Mapping[str, bool]:
        """Each port by its name in config.json, and whether it listens."""
        return {**self.ports.ready(), "clientHttp": self._client_listens, "clientRtsp": self.rtsp.listening}

    async def stop(self) -> None:
        """Accept nobody, answer what is in flight (bounded), close everything."""
        self.ports.stop_listening()
        self._client_listens = False
        self.rtsp.stop_listening()
        await self.play.close()
        self.rtsp.close()
        await asyncio.gather(self.client.stop(STOP_LIMIT), self.manage.stop(), self.gateway.stop())
        await asyncio.gather(self.upgrades.close(), self.scans.close())
        await _within(STOP_LIMIT, lambda: not self.devices.calls_in_flight)
        self.ports.close()
        await _within(CLOSE_LIMIT, lambda: not self.ports.connections and not self.rtsp.connections)
        self.ports.abort()
        self.rtsp.abort()
        if self._ticker is not None:
            self._ticker.cancel()
        self.lag.stop()
        self.full_collections.close()
        await self.alarms.close()
        await self.backups.close()
        self.audit.close()

    def _connection_metrics(self) -> Iterator[Metric]:
        """Open connections by kind."""
        family = GaugeMetricFamily("rop_connections", "Open connections by kind", labels=["kind"])
        kinds = {
            "device": len(self.hub.open),
            "unproved": self.ports.gate.open,
            "clientHttp": self.client.connections,
            "clientRtsp": len(self.rtsp.connections),
        }
        for kind, number in kinds.items():
            family.add_metric([kind], number)
        yield family

    def tell_environment(self, environment: Mapping[str, str]) -> None:
        """Say loudly which variables of the first start differ from the file: they change nothing any more."""
        for variable, member in ignored_environment(self.site.config, environment):
            log.error("environment", message="ignored: edit config.json", variable=variable, member=member)
            self._note("config.environment-ignored", {"variable": variable, "member": member})

    async def reload(self) -> None:
        """Take config.json and rop.json as they are, and say what became of it."""
        try:
            told = await self.control.reload()
        except (ConfigError, OSError) as error:
            log.error("reload", message="nok", reason=str(error))
            return
        if told.applied or told.restart:
            self._note("config.changed", {"applied": list(told.applied), "restart": list(told.restart)})
        log.info("reload", message="ok", applied=told.applied, restart=told.restart)
        if told.restart:
            log.warning("reload", message="waits for a restart", members=told.restart)

    def _tick(self) -> None:
        """The one timer of the process: once per second."""
        loop = asyncio.get_running_loop()
        self._ticker = loop.call_later(1.0, self._tick)
        duties = (
            self.supervisor.alive,
            self.ports.tick,
            self.play.tick,
            self.passes.tick,
            self.upgrades.tick,
            self.rtsp.tick,
            self.control.tick,
            self.alarms.tick,
            self._flush,
            self._check_certificate,
            lambda: self.full_collections.tick(self.ports.turns.begun),
        )
        for duty in duties:
            try:
                duty()
            except Exception:  # a full disk, say: the other duties go on, this one is tried again
                log.exception("tick", message="nok")

    def _flush(self) -> None:
        self.book.flush(CLOCK.wall())

    def _check_certificate(self) -> None:
        if CLOCK.monotonic() >= self._certificate_due:
            self._certificate_due = CLOCK.monotonic() + CERTIFICATE_CHECK
            self.certificates.keep(utc_now())

    def _apply(self, config: Config, ours: RopSettings) -> None:
        """Put the live members in force."""
        self.hub.settings = self.enrolment.settings = core_settings(config, ours, self.rotation_file)
        logs.set_levels(logs.levels_of(config.raw))
        self.roster.load(config, self.control.ours.alarms)
        self.gateway.apply(self.control.ours.gateway, self.rtsp)

    def _rotated(self, type_: str, data: dict[str, Any]) -> None:
        """A step of a rotation: the keys it made or moved are in no backup yet."""
        self.backups.keys_changed()
        self._note(type_, data)

    def _refuse_issuers(self, key_ids: frozenset[str]) -> None:
        """Certificates of these L2 CAs are accepted no more."""
        self.book.refused_issuers = key_ids
        for connection in list(self.hub.open):
            if connection.certificate is not None and connection.certificate.issuer in key_ids:
                connection.close("refused")

    def _end_viewers(self, token: str) -> None:
        """A token of the gateway was revoked: what it opened ends with it."""
        caller = f"token {token}"
        self.play.tickets.withdraw(caller)
        self.rtsp.end_viewers(caller)

    def _note(self, type_: str, data: dict[str, Any]) -> None:
        self.book.note(type_, None, data, CLOCK.wall())

    def _sign(self, uid: str, days: float) -> SignedCertificate:
        made = self.certificates.authority_for(uid).device_certificate(uid, days, utc_now())
        return SignedCertificate(
            serial=made.serial,
            issuer=made.issuer_key_id,
            not_after=made.not_after.timestamp(),
            chain_pem=made.chain_pem.decode(),
            key_pem=made.key_pem.decode(),
        )


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Look at a condition until it holds or the time is over."""
    deadline = CLOCK.monotonic() + seconds
    for _ in iter(lambda: CLOCK.monotonic() < deadline, False):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


@contextlib.asynccontextmanager
async def running(
    data_dir: Path,
    bind: str | None = None,
    client_bind: str | None = None,
    environment: Mapping[str, str] | None = None,
    inherited: Inherited | None = None,
    backups: BackupOptions | None = None,
    drill: bool = False,
    gateway_sockets: Path | None = None,
) -> AsyncIterator[Server]:
    """A server on this data directory, ready inside the `with`, stopped after it. `drill`: see `FactsBook`.
    `gateway_sockets`: folder in which it listens for a gateway, None: `run/gateway` of the data directory.

    Raises `LockedError`, `ConfigError`, `PkiError` or `PortInUse`.
    """
    directory = DataDir(data_dir)
    with directory.lock():
        site = prepare(directory, os.environ if environment is None else environment, utc_now())
        logs.set_levels(logs.levels_of(site.config.raw))
        book = FactsBook(directory.state, CLOCK.wall, drill)
        try:
            server = Server(site, book, bind, inherited, backups)
            try:
                sockets = gateway_sockets or directory.gateway_sockets
                await server.start(client_bind or site.settings.client_bind, sockets)
                yield server
            finally:
                await server.stop()
        finally:
            book.close()


async def serve(
    data_dir: Path,
    bind: str | None,
    client_bind: str | None,
    stop: asyncio.Event,
    backups: BackupOptions | None = None,
    drill: bool = False,
    gateway_sockets: Path | None = None,
) -> None:
    """Run until `stop` is set. Raises as `running` does."""
    raise_file_limit()
    asyncio.get_running_loop().set_exception_handler(_unexpected)
    inherited = Inherited.of(os.environ)
    more: dict[str, Any] = {"backups": backups, "drill": drill, "gateway_sockets": gateway_sockets}
    async with running(data_dir, bind, client_bind, inherited=inherited, **more) as server:
        ports = {name: server.site.config.port(name) for name in server.ready()}
        log.info("ready", message="ok", host=server.site.config.server_host, ports=ports)
        server.tell_environment(os.environ)
        server.supervisor = Supervisor.of(os.environ)
        server.supervisor.tell("READY=1")
        with _on_hangup(server):
            await stop.wait()
        server.supervisor.tell("STOPPING=1")
        log.info("stopping", message="ok")
    log.info("stopped", message="ok")


@contextlib.contextmanager
def _on_hangup(server: Server) -> Iterator[None]:
    """SIGHUP takes the files as they are; a file that cannot be used changes nothing."""
    loop = asyncio.get_running_loop()
    running_now: set[asyncio.Task[None]] = set()

    def hear() -> None:
        task = loop.create_task(server.reload())
        running_now.add(task)
        task.add_done_callback(running_now.discard)

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def raise_file_limit() -> None:
    """Every device is an open file: take what the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no handler caught: logged, never the end of the process."""
    error = context.get("exception")
    log.error(
        "unexpected",
        message="nok",
        reason=str(context.get("message")),
        error=type(error).__name__ if error is not None else None,
        exc_info=error if isinstance(error, BaseException) else None,
    )
