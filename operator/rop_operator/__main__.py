"""`rop-operator`: the engine on a Kubernetes cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
from aiohttp import web

from rop_operator.adapters.clock import SystemClock
from rop_operator.adapters.fleet import HttpFleet
from rop_operator.adapters.image_store import ImageStore
from rop_operator.adapters.kube_api import KubeApi, load_credentials
from rop_operator.adapters.kube_heartbeat import Heartbeat
from rop_operator.adapters.kube_lease import LeaseElection
from rop_operator.adapters.kube_names import Settings
from rop_operator.adapters.kube_runtime import MANAGE_URL, KubeRuntime
from rop_operator.adapters.kube_secrets import KubeSecrets
from rop_operator.adapters.kube_store import KubeStore
from rop_operator.adapters.lan import NetworkLan
from rop_operator.adapters.log_lines import log_as_json
from rop_operator.handlers.watch import HEARTBEAT_ANNOTATION, Sinks, Watch
from rop_operator.ports import PortError
from rop_operator.reconcile.engine import Engine

log = logging.getLogger("rop_operator")

EXIT_USAGE, EXIT_SOFTWARE, EXIT_TEMPORARY, EXIT_CONFIG = 64, 70, 75, 78
LEASE_NAME = "rop-operator"
HEARTBEAT_NAME = "rop-operator-heartbeat"
FIRMWARE = Path("/var/cache/rop-operator/firmware")
ENGINE_GRACE = 10.0
FIRST_RESYNC, RESYNC = 10.0, 300.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    namespaces: tuple[str, ...] = ()
    kubeconfig: str | None = None
    context: str | None = None
    liveness: str | None = None
    allow_loopback: bool = False
    lan_cidrs: tuple[str, ...] = ()
    discovery_address: str = "255.255.255.255"
    discovery_port: int = 2000
    server_image: str | None = None
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    server_url: str = MANAGE_URL
    firmware: Path = FIRMWARE

    def runtime(self, api: KubeApi, store: KubeStore, guard: Callable[[], bool]) -> KubeRuntime | None:
        """Where core servers run; None when the command line names no image for them."""
        if self.server_image is None:
            return None
        settings = Settings(self.server_image, self.pull_policy, self.pull_secrets)
        return KubeRuntime(api, store.get, settings, guard, self.server_url)


class Operator:
    """One process: waits for the lease, then watches and reconciles until something ends it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = SystemClock()
        self._api = KubeApi(lambda: load_credentials(options.kubeconfig, options.context))
        self._stop = asyncio.Event()
        self._heartbeat: Heartbeat | None = None

    async def run(self) -> int:
        """Until SIGTERM or SIGINT (0), a lost lease (75), a stalled watch or a failed engine (70)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        liveness = await self._serve_liveness()
        try:
            return await self._lead(await self._namespaces())
        finally:
            await self._api.close()
            if liveness is not None:
                await liveness.cleanup()

    async def _namespaces(self) -> Sequence[str]:
        credentials = await self._api.credentials()
        if self._options.namespaces:
            return self._options.namespaces
        if self._options.kubeconfig is None and credentials.namespace:
            return (credentials.namespace,)
        raise PortError("NamespaceMissing", "outside a pod, say which namespaces to serve: --namespace NAME")

    async def _lead(self, namespaces: Sequence[str]) -> int:
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        lease = LeaseElection(self._api, self._clock, namespaces[0], LEASE_NAME, identity)
        if not await lease.acquire(self._stop):
            return 0
        try:
            store = KubeStore(self._api, namespaces, lease.held)
            renewing = asyncio.create_task(lease.keep(self._stop), name="lease")
            loading = asyncio.create_task(store.load(), name="load")
            await asyncio.wait({renewing, loading}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                loading.cancel()
                return 0 if self._stop.is_set() else EXIT_TEMPORARY
            loading.result()
            return await self._reconcile(namespaces, store, lease, renewing)
        finally:
            await lease.release()

    async def _reconcile(
        self, namespaces: Sequence[str], store: KubeStore, lease: LeaseElection, renewing: asyncio.Task[bool]
    ) -> int:
        options = self._options
        secrets = KubeSecrets(self._api, store.secret_changed)
        self._heartbeat = heartbeat = Heartbeat(
            self._api, self._clock, namespaces[0], HEARTBEAT_NAME, HEARTBEAT_ANNOTATION
        )
        sinks = Sinks(store.seen, heartbeat.beat, lambda: self._api.credentials(fresh=True))
        watch = Watch(sinks, namespaces, HEARTBEAT_NAME)
        watch.start()
        fleet = HttpFleet(allow_loopback=options.allow_loopback, allow_unix=False)
        lan = NetworkLan(
            options.lan_cidrs, options.discovery_address, options.discovery_port, options.allow_loopback
        )
        runtime = options.runtime(self._api, store, lease.held)
        images = ImageStore(options.firmware, options.allow_loopback)
        images.sweep()
        engine = Engine(
            store, secrets, fleet, runtime, lan, self._clock, f"rop-operator/{lease.uid}", images=images
        )
        engine_stop = asyncio.Event()
        reconciling = asyncio.create_task(engine.run(engine_stop), name="engine")
        ends: dict[asyncio.Task[object], int] = {
            asyncio.create_task(self._stop.wait(), name="stop"): 0,
            renewing: EXIT_TEMPORARY,
            asyncio.create_task(heartbeat.run(self._stop), name="heartbeat"): EXIT_SOFTWARE,
            asyncio.create_task(watch.ended.wait(), name="watch"): EXIT_SOFTWARE,
            reconciling: EXIT_SOFTWARE,
        }
        side = [
            asyncio.create_task(secrets.watch(self._stop), name="secrets"),
            asyncio.create_task(self._resync(store), name="resync"),
        ]
        print(json.dumps({"action": "ready", "namespaces": list(namespaces), "lease": lease.uid}), flush=True)
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        code = _verdict(done, ends, self._stop.is_set())
        engine_stop.set()
        await asyncio.wait({reconciling}, timeout=ENGINE_GRACE)
        for task in (*ends, *side):
            task.cancel()
        await watch.stop()
        return code

    async def _resync(self, store: KubeStore) -> None:
        pause = FIRST_RESYNC
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
                return
            pause = RESYNC
            try:
                healed = await store.resync()
            except PortError as error:
                log.warning("no resync: %s", error.message)
            else:
                if healed:
                    log.warning("a watch had lost changes", extra={"objects": healed})

    async def _serve_liveness(self) -> web.AppRunner | None:
        """`GET` of the path: 200 while the watch lives (or while we wait for the lease), else 503."""
        if not self._options.liveness:
            return None
        url = urlsplit(self._options.liveness)
        application = web.Application()
        application.router.add_get(url.path or "/healthz", self._alive)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, url.hostname, url.port or 8080).start()
        return runner

    async def _alive(self, _: web.Request) -> web.Response:
        stalled = self._heartbeat is not None and self._heartbeat.stalled()
        return web.json_response({"stalled": stalled}, status=503 if stalled else 200)


def _verdict(done: set[asyncio.Task[object]], ends: dict[asyncio.Task[object], int], asked: bool) -> int:
    """The exit code, and a line in the log that says why."""
    if asked:
        return 0
    for task in done:
        error = task.exception()
        log.error("ended: %s", task.get_name(), exc_info=error)
        return ends[task]
    return EXIT_SOFTWARE


def run(options: Options) -> int:
    """Run until told otherwise; the exit code."""
    try:
        return asyncio.run(Operator(options).run())
    except PortError as error:
        log.error("%s: %s", error.reason, error.message)
        temporary = error.reason in ("Unreachable", "NotLeader")
        return EXIT_TEMPORARY if temporary else EXIT_CONFIG


@click.command(context_settings={"max_content_width": 110})
@click.option("--namespace", "-n", "namespaces", multiple=True, help="Namespace to serve; repeat for more.")
@click.option("--kubeconfig", help="Kubeconfig file; default: KUBECONFIG, the pod's account, ~/.kube/config.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--liveness", metavar="URL", help="Serve liveness there, such as http://0.0.0.0:8080/healthz.")
@click.option(
    "--lan-cidrs", default="", metavar="CIDR,...", help="Networks where cameras may be set up from here."
)
@click.option("--discovery-address", default="255.255.255.255", show_default=True, help="Broadcast address.")
@click.option("--discovery-port", default=2000, show_default=True, help="UDP port of LAN discovery.")
@click.option("--server-image", metavar="IMAGE", help="Run servers without spec.external in pods of this image.")
@click.option(
    "--pull-policy",
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    default="IfNotPresent",
    show_default=True,
    help="When nodes fetch that image.",
)
@click.option("--pull-secret", "pull_secrets", multiple=True, help="Secret for fetching it; repeat for more.")
@click.option(
    "--server-url",
    default=MANAGE_URL,
    show_default=True,
    help="Where the management interface of a server in a pod is reached from here.",
)
@click.option(
    "--firmware",
    type=click.Path(path_type=Path),
    default=FIRMWARE,
    show_default=True,
    help="Folder that keeps firmware files; it may be lost.",
)
@click.option("--allow-loopback", is_flag=True, help="Allow servers and cameras on loopback addresses.")
@click.option("--verbose", is_flag=True, help="Log more.")
def command(lan_cidrs: str, verbose: bool, **given: object) -> None:
    """Reconcile the RopServer and Camera objects of some namespaces of a cluster.

    The rights that it needs in each namespace: examples/cluster/operator.yaml.

    \b
    Example: rop-operator --kubeconfig ~/.kube/config --namespace video
    Exit codes: 0 stopped by a signal, 64 usage, 70 the watch stalled or the engine failed (start it again),
    75 the lease was lost or the API server is away (start it again), 78 no usable configuration.
    """
    log_as_json(logging.DEBUG if verbose else logging.INFO)
    cidrs = tuple(c.strip() for c in lan_cidrs.split(",") if c.strip())
    try:
        NetworkLan(cidrs)
    except ValueError as error:
        raise click.UsageError(f"--lan-cidrs: {error}") from None
    sys.exit(run(Options(lan_cidrs=cidrs, **given)))  # type: ignore[arg-type]


def main() -> None:
    """Entry point of `rop-operator`."""
    try:
        command.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)


if __name__ == "__main__":
    main()
