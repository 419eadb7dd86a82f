"""`rop-agent`: the engine on a plain host. It reconciles the YAML files of a directory and runs core servers."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shlex
import signal
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import click

from rop_operator.adapters.agent_socket import AgentSocket
from rop_operator.adapters.clock import SystemClock
from rop_operator.adapters.fleet import HttpFleet
from rop_operator.adapters.host_database import HostDatabase, StateError
from rop_operator.adapters.host_secrets import HostSecrets, misplaced
from rop_operator.adapters.host_store import HostStore
from rop_operator.adapters.image_store import ImageStore
from rop_operator.adapters.lan import LIMITED_BROADCAST, NetworkLan, interfaces
from rop_operator.adapters.log_lines import log_as_json
from rop_operator.adapters.process_drills import ProcessDrills
from rop_operator.adapters.process_gateways import ProcessGateways
from rop_operator.adapters.process_runtime import ProcessRuntime
from rop_operator.adapters.server_folder import folder_of
from rop_operator.adapters.supervisor import Supervisor
from rop_operator.adapters.systemd_runtime import SystemdRuntime
from rop_operator.reconcile.engine import Engine

log = logging.getLogger("rop_agent")

EXIT_USAGE, EXIT_SOFTWARE, EXIT_TEMPORARY, EXIT_CONFIG = 64, 70, 75, 78
ENGINE_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    folder: Path
    state: Path
    servers: Path
    secrets: Path
    lan_cidrs: tuple[str, ...]
    discovery_address: str
    discovery_port: int
    allow_loopback: bool
    stop_servers: bool
    server_command: tuple[str, ...]
    runtime: str
    gateway_command: tuple[str, ...]


class Agent:
    """One process per state directory."""

    def __init__(self, options: Options) -> None:
        """ValueError for networks that are none; StateError."""
        self._options = options
        self._database = HostDatabase(options.state / "agent.db")
        self._store = HostStore(options.folder, self._database, watched=(options.secrets,))
        self._runtime = runtime_of(options)
        self._gateways = gateways_of(options)
        self._drills = drills_of(options)
        lan = NetworkLan(
            options.lan_cidrs, options.discovery_address, options.discovery_port, options.allow_loopback
        )
        self._images = ImageStore(options.state / "firmware", options.allow_loopback)
        self._images.sweep()
        self._manager_id = self._database.value("manager", f"rop-agent/{uuid.uuid4()}")
        self._engine = Engine(
            self._store,
            HostSecrets(options.secrets),
            HttpFleet(allow_loopback=options.allow_loopback),
            self._runtime,
            lan,
            SystemClock(),
            self._manager_id,
            gateways=self._gateways,
            images=self._images,
            drills=self._drills,
        )
        self._runtime.changed = self._engine.look_at
        if self._gateways is not None:
            self._gateways.changed = self._engine.look_at

    async def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._store.rescan()
        await self._stop_orphans()
        facts = {"dir": str(self._options.folder), "manager": self._manager_id}
        agent_socket = AgentSocket(self._store, self._engine, self._images, facts)
        await agent_socket.start(self._options.state / "agent.sock")
        tasks = {
            asyncio.create_task(self._engine.run(stop), name="engine"),
            asyncio.create_task(self._store.follow(stop), name="files"),
        }
        print(
            json.dumps({"action": "ready", "socket": str(self._options.state / "agent.sock"), **facts}), flush=True
        )
        supervisor = Supervisor.of(os.environ)
        supervisor.tell("READY=1")
        tasks.add(asyncio.create_task(supervisor.feed_watchdog(stop), name="watchdog"))
        try:
            return await self._until(stop, tasks)
        finally:
            supervisor.tell("STOPPING=1")
            await agent_socket.stop()
            if self._gateways is not None:
                if self._options.stop_servers:
                    await self._gateways.stop_all()
                await self._gateways.close()
            if self._options.stop_servers:
                await self._runtime.stop_all()
            await self._runtime.close()
            if self._drills is not None:
                await self._drills.close()
            self._database.close()

    async def _until(self, stop: asyncio.Event, tasks: set[asyncio.Task[None]]) -> int:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        asked = stop.is_set()
        stop.set()
        done, late = await asyncio.wait(tasks, timeout=ENGINE_GRACE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            if task.exception() is not None:
                log.error("%s ended", task.get_name(), exc_info=task.exception())
                return EXIT_SOFTWARE
        return 0 if asked else EXIT_SOFTWARE

    async def _stop_orphans(self) -> None:
        """Servers and gateways whose document went away while no agent ran."""
        for runner in [each for each in (self._gateways, self._runtime) if each is not None]:
            for ref in runner.known():
                if await self._store.get(ref) is None:
                    log.warning("stopping %s: its document is gone; its data stays", ref)
                    await runner.stop(ref)


def runtime_of(options: Options) -> ProcessRuntime | SystemdRuntime:
    """What runs the core servers; their data is in the same place either way."""
    made = SystemdRuntime if options.runtime == "systemd" else ProcessRuntime
    return made(options.servers, options.server_command)


def gateways_of(options: Options) -> ProcessGateways | None:
    """What runs the gateways beside servers that are processes; beside units of systemd they are units as well."""
    if options.runtime == "systemd":
        return None
    root = options.state / "gateways"
    return ProcessGateways(
        root, options.gateway_command, lambda ref: folder_of(options.servers, ref) / "run" / "gateway"
    )


def drills_of(options: Options) -> ProcessDrills | None:
    """What runs drills beside servers that are processes; units of systemd have units for them."""
    if options.runtime == "systemd":
        return None
    return ProcessDrills(
        options.state / "drills",
        command_of(None, "rop-drill"),
        options.server_command,
        lambda ref: folder_of(options.servers, ref),
        options.allow_loopback,
    )


def lock(state: Path) -> int:
    """Take the state directory; the descriptor holds it. StateError when another agent has it."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{state}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
        os.close(descriptor)
        raise BlockingIOError(f"{state} is used by another rop-agent (pid {holder or 'unknown'})") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def run(options: Options) -> int:
    """Run until told otherwise; the exit code."""
    try:
        held = lock(options.state)
    except BlockingIOError as error:
        log.error("%s", error)
        return EXIT_TEMPORARY
    except StateError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    try:
        return asyncio.run(_main(options))
    except (StateError, ValueError) as error:
        log.error("%s", error)
        return EXIT_CONFIG
    finally:
        with contextlib.suppress(OSError):
            os.close(held)


async def _main(options: Options) -> int:
    return await Agent(options).run()


def own_networks() -> tuple[str, ...]:
    """The networks this machine is in, for hand-overs when none are named."""
    return tuple(str(network) for network, _ in interfaces())


def command_of(told: str | None, program: str) -> tuple[str, ...]:
    """How to start a program: as told, or the one installed beside this one, or the one of PATH."""
    if told:
        return tuple(shlex.split(told))
    own = Path(sys.executable).with_name(program)
    return (str(own),) if own.exists() else (program,)


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--dir", "folder", required=True, type=click.Path(path_type=Path), help="Directory of YAML documents."
)
@click.option(
    "--state", required=True, type=click.Path(path_type=Path), help="Directory of the agent's own state."
)
@click.option(
    "--servers",
    type=click.Path(path_type=Path),
    help="Directory of the data of core servers, as NAMESPACE/NAME.  [default: servers below --state]",
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path),
    default=Path("/etc/rop/secrets"),
    show_default=True,
    help="Secrets as files NAMESPACE/NAME/KEY of mode 0600.",
)
@click.option(
    "--lan-cidrs",
    metavar="CIDR,...",
    help="Networks where cameras may be set up from here.  [default: those of this machine's interfaces]",
)
@click.option("--discovery-address", default=LIMITED_BROADCAST, show_default=True, help="Broadcast address.")
@click.option("--discovery-port", default=2000, show_default=True, help="UDP port of LAN discovery.")
@click.option("--allow-loopback", is_flag=True, help="Allow servers and cameras on loopback addresses.")
@click.option("--stop-servers", is_flag=True, help="Stop the core servers too when the agent stops.")
@click.option(
    "--runtime",
    type=click.Choice(["process", "systemd"]),
    default="process",
    show_default=True,
    help="Run core servers as processes, or as instances of the unit rop-server@.",
)
@click.option("--server-command", metavar="CMD", help="How to start a core server.  [default: rop-server]")
@click.option("--gateway-command", metavar="CMD", help="How to start a gateway.  [default: rop-gateway]")
@click.option("--verbose", is_flag=True, help="Log more.")
def command(
    folder: Path,
    state: Path,
    secrets: Path,
    lan_cidrs: str | None,
    server_command: str | None,
    servers: Path | None,
    runtime: str,
    gateway_command: str | None,
    verbose: bool,
    discovery_address: str,
    discovery_port: int,
    allow_loopback: bool,
    stop_servers: bool,
) -> None:
    """Reconcile the RopServer and Camera documents of a directory on this host.

    Core servers outlive the agent, unless --stop-servers is given.

    \b
    Example: rop-agent --dir /etc/rop/fleet --state /var/lib/rop/agent
    Exit codes: 0 stopped by a signal, 64 usage, 70 the engine failed (start it again), 75 another agent uses the
    state directory, 78 no usable configuration.
    """
    log_as_json(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    wrong = misplaced(secrets.absolute(), folder.absolute())
    if wrong is not None:
        log.error("--secrets: %s", wrong)
        sys.exit(EXIT_CONFIG)
    cidrs = own_networks() if lan_cidrs is None else tuple(c.strip() for c in lan_cidrs.split(",") if c.strip())
    options = Options(
        folder=folder.absolute(),
        state=state.absolute(),
        servers=(servers or state / "servers").absolute(),
        secrets=secrets.absolute(),
        lan_cidrs=cidrs,
        discovery_address=discovery_address,
        discovery_port=discovery_port,
        allow_loopback=allow_loopback,
        stop_servers=stop_servers,
        runtime=runtime,
        server_command=command_of(server_command, "rop-server"),
        gateway_command=command_of(gateway_command, "rop-gateway"),
    )
    sys.exit(run(options))


def main() -> None:
    """Entry point of `rop-agent`."""
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)


if __name__ == "__main__":
    main()
