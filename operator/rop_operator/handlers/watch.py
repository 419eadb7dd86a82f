"""The kopf edge: watch streams go into the store, nothing is decided here and kopf writes nothing.

Only `@kopf.on.event` handlers: no last-handled annotations, no finalizers of kopf, no timers, daemons or indexes.
kopf runs in a thread with a loop of its own, because it takes the signals of its loop and, when it ends, cancels
every task there that it did not know before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import kopf

from rop_operator.adapters.kube_api import Credentials
from rop_operator.api.registry import GROUP, KINDS, VERSION

log = logging.getLogger(__name__)
# It warns that it gets no signals in a thread, which is what the thread is for.
logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)

# A str to kopf, which has no public name for its type.
IDENTITY: Any = "rop-operator"
HEARTBEAT_ANNOTATION = "rop.dev/heartbeat"


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where events go: `seen(type, object)` for our kinds, `beat(value)` for the heartbeat object."""

    seen: Callable[[str | None, dict[str, Any]], None]
    beat: Callable[[str], None]
    credentials: Callable[[], Awaitable[Credentials]]


def build_registry(sinks: Sinks, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
    """Handlers that hand every event to `sinks` on `loop`."""
    registry = kopf.OperatorRegistry()

    async def changed(type: str | None, event: Mapping[str, Any], **_: Any) -> None:
        loop.call_soon_threadsafe(sinks.seen, type, dict(event["object"]))

    for row in KINDS:
        kopf.on.event(GROUP, VERSION, row.plural, registry=registry)(changed)

    @kopf.on.event("", "v1", "configmaps", registry=registry)
    async def heartbeat(annotations: Mapping[str, str], **_: Any) -> None:
        loop.call_soon_threadsafe(sinks.beat, annotations.get(HEARTBEAT_ANNOTATION, ""))

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        future = asyncio.run_coroutine_threadsafe(_call(sinks.credentials), loop)
        return connection(await asyncio.wrap_future(future))

    return registry


async def _call(credentials: Callable[[], Awaitable[Credentials]]) -> Credentials:
    return await credentials()


def connection(credentials: Credentials) -> kopf.ConnectionInfo:
    """Our credentials as kopf takes them."""
    return kopf.ConnectionInfo(
        server=credentials.server,
        ca_path=credentials.ca_path,
        insecure=not credentials.verify,
        certificate_path=credentials.certificate_path,
        private_key_path=credentials.key_path,
        scheme="Bearer" if credentials.token else None,
        token=credentials.token,
        default_namespace=credentials.namespace,
        proxy_url=credentials.proxy,
    )


def build_settings(heartbeat_name: str) -> kopf.OperatorSettings:
    """kopf as an event source: quick to notice a dead connection, silent towards the cluster."""
    settings = kopf.OperatorSettings()
    settings.networking.connect_timeout = 5
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.inactivity_timeout = 75
    settings.watching.chunk_size = 500
    settings.watching.field_selectors["configmaps"] = f"metadata.name={heartbeat_name}"
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 1
    settings.process.ultimate_exiting_timeout = None
    return settings


class Watch:
    """The watch streams of some namespaces, in a thread. `ended` is set when they end, asked to or not."""

    def __init__(self, sinks: Sinks, namespaces: Sequence[str], heartbeat_name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._registry = build_registry(sinks, self._loop)
        self._settings = build_settings(heartbeat_name)
        self._namespaces = list(namespaces)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.ended = asyncio.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry,
                    settings=self._settings,
                    standalone=True,
                    # Its own guess asks for the name of the user, which an image need not have.
                    identity=IDENTITY,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                )
            )
        except BaseException as error:  # the thread's end must reach the loop, whatever it was
            self.error = error
            log.error("the watch ended: %s", error)
        finally:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ended.set)

    async def stop(self, patience: float = 5.0) -> None:
        """Ask the streams to end and wait at most `patience` seconds."""
        self._stop.set()
        try:
            await asyncio.wait_for(self.ended.wait(), patience)
        except TimeoutError:
            log.warning("the watch did not end in time")
