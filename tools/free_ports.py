"""Ports nobody listens on, for the demo, the tests and the measurements."""

import contextlib
import random
import socket

# Below those that the kernel gives to outgoing connections, which would take one before its server does.
FIRST, LAST = 20_000, 32_000


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """`count` different ports of loopback, free at this moment."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            sock = held.enter_context(socket.socket(socket.AF_INET, kind))
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", random.randrange(FIRST, LAST)))  # noqa: S311 - not a secret
                found.append(sock.getsockname()[1])
    return found
