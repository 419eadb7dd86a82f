"""Listening sockets with an own accept loop: limits come first, and a peer costs next to nothing until it speaks.

On every port the device speaks first. A connection on which nothing was said is a socket and an entry here; only
then it gets a transport, TLS and a protocol. The TLS context is asked for at every connection, so a fresh one
takes effect at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rop_server.net.gate import Gate, Ticket
from rop_server.net.tls import HANDSHAKING
from rop_server.net.turns import Turn, Turns

log = structlog.get_logger("rop.net")

BACKLOG = 4096
# Few, so that a turn of the event loop stays short when thousands come back at once: the others wait in the
# kernel's queue, and the answers of those let in are spread over later turns (docs/performance.md).
ACCEPTS_PER_TURN = 4
SILENCE_LIMIT = 10.0
"""Seconds until a connection must have said something."""
TLS_HANDSHAKE_LIMIT = 10.0
TLS_SHUTDOWN_LIMIT = 5.0

ProtocolFactory = Callable[[str, Ticket], asyncio.BaseProtocol]


class PortInUse(Exception):
    """A port cannot be opened; the message names port, config member and, if known, who has it."""


def open_socket(host: str | None, port: int, member: str) -> socket.socket:
    """A listening TCP socket; `host` None: every address, IPv6 included. Raises `PortInUse`."""
    sock = _stream_socket(host)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        any_address = "::" if sock.family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
        sock.bind((host or any_address, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise port_error(port, member, error) from error
    return sock


def port_error(port: int, member: str, error: OSError) -> PortInUse:
    """The error for a port that cannot be opened; `member` is its dotted name in config.json."""
    if error.errno != errno.EADDRINUSE:
        return PortInUse(f"port {port} ({member}) cannot be opened: {error.strerror}")
    pid = _holder(port)
    whom = f" by process {pid}" if pid is not None else ""
    return PortInUse(f"port {port} ({member}) is in use{whom}")


def _stream_socket(host: str | None) -> socket.socket:
    if host is not None and ":" not in host:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if host is None:
        try:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            with contextlib.closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM)) as trial:
                trial.bind(("::", 0))
        except OSError:  # IPv6 is built in, but switched off
            sock.close()
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    return sock


def _holder(port: int) -> int | None:
    """The process that listens on a TCP port, as far as /proc shows it to us."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                for handle in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(handle.readlink()) in inodes:
                            return int(process.name)
    return None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection on which nothing was said yet; `at` is monotonic seconds."""

    sock: socket.socket
    address: str
    ticket: Ticket
    at: float

    def drop(self) -> None:
        """Forget it."""
        self.sock.close()
        self.ticket.release()


@dataclass(frozen=True, slots=True)
class Tls:
    """`context` yields the TLS context for a connection from this address; `turns` are shared by all ports."""

    context: Callable[[str], ssl.SSLContext]
    turns: Turns


class Listener:
    """One listening port. `tls` None: plain TCP."""

    def __init__(
        self,
        sock: socket.socket,
        factory: ProtocolFactory,
        gate: Gate,
        now: Callable[[], float],
        tls: Tls | None = None,
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._gate = gate
        self._now = now
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._silent: dict[int, Arrival] = {}
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port number."""
        number: int = self._sock.getsockname()[1]
        return number

    @property
    def listening(self) -> bool:
        """False after `close`."""
        return self._sock.fileno() >= 0

    def resume(self) -> None:
        """Accept (again): at start, when there is room, and after a failure by the ticker."""
        if not self._accepting and self.listening and not self._gate.full:
            self._loop.add_reader(self._sock.fileno(), self._accept)
            self._accepting = True

    def _pause(self) -> None:
        if self._accepting:
            self._loop.remove_reader(self._sock.fileno())
            self._accepting = False

    def tick(self) -> None:
        """Once per second: drop who said nothing for too long."""
        now = self._now()
        for handle, arrival in list(self._silent.items()):
            if now - arrival.at < SILENCE_LIMIT:
                break  # in order of arrival
            self._heard(handle).drop()
        self.resume()

    def close(self) -> None:
        """Stop listening and drop connections that said nothing or whose TLS handshake is not over."""
        self._pause()
        self._sock.close()
        for handle in list(self._silent):
            self._heard(handle).drop()
        for task in self._handshakes:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._gate.full:
                self._pause()  # the rest waits in the kernel's queue
                return
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors or memory: breathe until the next tick
                log.warning("accept", message="nok", port=self.port, reason=error.strerror)
                self._pause()
                return
            self._welcome(sock, str(peer[0]).removeprefix("::ffff:"))

    def _welcome(self, sock: socket.socket, address: str) -> None:
        ticket = self._gate.enter(address)
        if ticket is None:
            sock.close()
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._listen_to(Arrival(sock, address, ticket, self._now()))

    def _listen_to(self, arrival: Arrival) -> None:
        """Let it in when it speaks, drop it when it ended, else wait for one or the other."""
        try:
            ended = not arrival.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            handle = arrival.sock.fileno()
            self._silent[handle] = arrival
            self._loop.add_reader(handle, self._speaks, handle)
            return
        except OSError:
            ended = True
        if ended:
            arrival.drop()
            return
        if self._tls is None:
            self._begin(self._connect(arrival))
        else:
            tls = self._tls
            tls.turns.ask(arrival.address, lambda turn: self._shake_hands(tls, arrival, turn))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _shake_hands(self, tls: Tls, arrival: Arrival, turn: Turn) -> bool:
        if not self.listening:
            arrival.drop()
            return False
        self._begin(self._secure(tls, arrival, turn))
        return True

    def _heard(self, handle: int) -> Arrival:
        self._loop.remove_reader(handle)
        return self._silent.pop(handle)

    def _speaks(self, handle: int) -> None:
        self._listen_to(self._heard(handle))

    async def _secure(self, tls: Tls, arrival: Arrival, turn: Turn) -> None:
        """Lives only until the TLS handshake is over."""
        timer = self._loop.call_later(tls.turns.seconds, turn.end)
        HANDSHAKING.set(arrival.sock)
        try:
            await self._connect(
                arrival,
                ssl=tls.context(arrival.address),
                ssl_handshake_timeout=TLS_HANDSHAKE_LIMIT,
                ssl_shutdown_timeout=TLS_SHUTDOWN_LIMIT,
            )
        finally:
            timer.cancel()
            turn.release()

    async def _connect(self, arrival: Arrival, **tls: Any) -> None:
        def factory() -> asyncio.BaseProtocol:
            return self._factory(arrival.address, arrival.ticket)

        try:
            await self._loop.connect_accepted_socket(factory, arrival.sock, **tls)
        except asyncio.CancelledError:
            arrival.drop()
            raise
        except (TimeoutError, OSError) as error:
            arrival.drop()
            reason = type(error).__name__
            log.debug("handshake", message="nok", port=self.port, address=arrival.address, reason=reason)
