"""How long the server's loop was busy, seen from a process that does nothing else: `probe.py PORT`.

Asks the client port for a path that does not exist, every 10 ms, until its input ends; prints the seconds as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

REQUEST = b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(port: int) -> float:
    """Seconds until a connection is taken and its request answered."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(REQUEST)
        if not sock.recv(4096):
            raise ConnectionError("no answer")
    return time.perf_counter() - start


def main() -> None:
    """Until the input ends."""
    found = []
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        found.append(ask(int(sys.argv[1])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
