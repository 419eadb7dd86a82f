"""The mirror that this machine's apt uses, for hosts without a way out: `GET /debian/...`, kept on disk.

Run as `python3 apt_proxy.py CACHE DESCRIPTOR`: the listening socket was made in the hosts' network, this process
is outside of it. Packages and files named by their hash are fetched once; indexes always, so that they stay fresh.
"""

import contextlib
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path


def mirrors() -> dict[str, str]:
    """`debian` and `debian-security` with their addresses, as this machine's apt has them."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    addresses = set(subprocess.check_output(command, text=True).split())
    found = {address.rstrip("/").rsplit("/", 1)[1]: address.rstrip("/") for address in addresses}
    return {name: address for name, address in found.items() if name in ("debian", "debian-security")}


class Handler(http.server.BaseHTTPRequestHandler):
    """One request of apt."""

    protocol_version = "HTTP/1.1"
    cache: Path
    upstream: dict[str, str]

    def do_GET(self) -> None:
        """A file of the mirror."""
        kept = self.cache / hashlib.sha256(self.path.encode()).hexdigest()
        lasting = self.path.endswith(".deb") or "/by-hash/" in self.path
        status = 200 if lasting and kept.exists() else self._fetch(kept)
        size = kept.stat().st_size if status == 200 else 0
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if status == 200:
            with kept.open("rb") as body:
                shutil.copyfileobj(body, self.wfile)

    def _fetch(self, kept: Path) -> int:
        repository, _, path = self.path.lstrip("/").partition("/")
        if repository not in self.upstream or ".." in path:
            return 404
        part = kept.with_name(f"{kept.name}.{os.getpid()}.{id(self)}")
        try:
            address = f"{self.upstream[repository]}/{path}"
            with urllib.request.urlopen(address, timeout=60) as body, part.open("wb") as file:
                shutil.copyfileobj(body, file)
            part.rename(kept)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 502
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        return 200

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    """Serve until killed."""
    Handler.cache, Handler.upstream = Path(sys.argv[1]), mirrors()
    Handler.cache.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(sys.argv[2]))
    server.serve_forever()


if __name__ == "__main__":
    main()
