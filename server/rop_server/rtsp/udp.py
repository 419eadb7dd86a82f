"""RTP and RTCP over UDP to one viewer and track: a pair of ports, paced, bounded.

Source: ROP v1.0 wire specification, client-api 3.4; discrepancies C4.13.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

BURST = 48
PAUSE = 0.002
BLOCKED_PAUSE = 0.005
ATTEMPTS = 64


def port_pair(host: str, family: int) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and the next one. Raises OSError when there is none."""
    for _ in range(ATTEMPTS):
        first = socket.socket(family, socket.SOCK_DGRAM)
        second = socket.socket(family, socket.SOCK_DGRAM)
        try:
            first.bind((host, 0))
            number = first.getsockname()[1]
            if number % 2 == 0 and number < 65535:
                second.bind((host, number + 1))
                first.setblocking(False)
                second.setblocking(False)
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
    raise OSError("no pair of UDP ports is free")


class UdpPair:
    """Sends one track to the client's ports. `heard` is called when the client's RTCP arrives."""

    def __init__(
        self, local: str, family: int, remote: str, ports: tuple[int, int], heard: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rtp, self._rtcp = port_pair(local, family)
        self._remote = remote
        self._ports = ports
        self._heard = heard
        self._queue: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.queued = 0
        self.ports: tuple[int, int] = (self._rtp.getsockname()[1], self._rtcp.getsockname()[1])
        for sock in (self._rtp, self._rtcp):
            self._loop.add_reader(sock.fileno(), self._receive, sock)

    def _receive(self, sock: socket.socket) -> None:
        for _ in range(16):
            try:
                _, sender = sock.recvfrom(2048)
            except OSError:
                return
            if sender[0] == self._remote:
                self._heard()

    def push(self, packets: list[bytes]) -> None:
        """Queue RTP packets; a burst goes out at once, the rest paced."""
        self._queue.extend(packets)
        self.queued += sum(map(len, packets))
        if self._timer is None:
            self._pump()

    def _pump(self) -> None:
        self._timer = None
        target = (self._remote, self._ports[0])
        pause = PAUSE
        for _ in range(min(BURST, len(self._queue))):
            packet = self._queue[0]
            try:
                self._rtp.sendto(packet, target)
            except BlockingIOError:
                pause = BLOCKED_PAUSE
                break
            except OSError:  # nobody listens there (any more): as lost on the way
                pass
            self._queue.popleft()
            self.queued -= len(packet)
        if self._queue:
            self._timer = self._loop.call_later(pause, self._pump)

    def control(self, packet: bytes) -> None:
        """Send RTCP."""
        with contextlib.suppress(OSError):
            self._rtcp.sendto(packet, (self._remote, self._ports[1]))

    def close(self) -> None:
        """Give the ports back."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.queued = 0
        for sock in (self._rtp, self._rtcp):
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()
