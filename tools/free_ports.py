"""Ports nobody listens on, for the demo, the tests and the measurements."""

import contextlib
import itertools
import os
import random
import socket

# Below those that the kernel gives to outgoing connections, which would take one before its server does.
FIRST, LAST = 20_000, 32_000
# A port is free until its server starts, seconds later: workers of one test run never choose from the same ones.
SHARES = 4
_SHARE = (LAST - FIRST) // SHARES
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
_START = random.randrange(_SHARE)  # noqa: S311 - not a secret
# One after the other, so that none is given out again while its server is still to start.
_NEXT = (FIRST + _WORKER * _SHARE + (_START + step) % _SHARE for step in itertools.count())


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """`count` different ports of loopback, free at this moment."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            sock = held.enter_context(socket.socket(socket.AF_INET, kind))
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", next(_NEXT)))
                found.append(sock.getsockname()[1])
    return found
