"""The nginx of this machine: what it is, and whether it takes a configuration."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 30.0
OLDEST = (1, 18)
# A bare `http2` on `listen` until then, a directive of its own since.
HTTP2_DIRECTIVE = (1, 25, 1)
_SEARCH = "/usr/sbin:/usr/local/sbin:/usr/local/nginx/sbin:/usr/bin"


class NginxError(Exception):
    """nginx is missing, too old, built without what we need, or refuses a configuration."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """`stream_module`: file to load, None: built in. `user`: what workers run as, None: whoever starts them."""

    program: Path
    version: tuple[int, ...]
    stream_module: Path | None = None
    user: str | None = None

    @property
    def version_text(self) -> str:
        """For people."""
        return ".".join(map(str, self.version))


def find_nginx() -> Nginx:
    """The nginx of this machine. Raises NginxError with what to install."""
    found = shutil.which("nginx") or shutil.which("nginx", path=_SEARCH)
    if found is None:
        raise NginxError("nginx is not installed (Debian: apt-get install nginx libnginx-mod-stream)")
    told = _run([found, "-V"]).stderr
    version = re.search(r"nginx/([0-9]+)\.([0-9]+)\.([0-9]+)", told)
    if version is None:
        raise NginxError(f"{found} -V does not say which nginx it is")
    numbers = tuple(map(int, version.groups()))
    if numbers < OLDEST:
        raise NginxError(f"nginx {'.'.join(map(str, numbers))} is too old, {'.'.join(map(str, OLDEST))} is needed")
    for option in ("http_ssl_module", "http_v2_module", "http_auth_request_module", "http_realip_module"):
        if f"--with-{option}" not in told:
            raise NginxError(f"this nginx is built without {option}")
    user = pwd.getpwuid(0).pw_name if os.geteuid() == 0 else None
    return Nginx(Path(found), numbers, _stream_module(told), user)


def _stream_module(told: str) -> Path | None:
    if re.search(r"--with-stream(?!\S)", told):
        return None
    folder = re.search(r"--modules-path=(\S+)", told)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    if not module.is_file():
        raise NginxError("nginx has no stream module (Debian: apt-get install libnginx-mod-stream)")
    return module


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the program was looked up, the arguments are ours
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env={"PATH": _SEARCH}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NginxError(f"{command[0]} cannot be run: {error}") from None


def arguments(nginx: Nginx, configuration: Path) -> list[str]:
    """The command line that serves a configuration."""
    return [str(nginx.program), "-e", "stderr", "-c", str(configuration)]


def try_out(nginx: Nginx, configuration: Path) -> None:
    """`nginx -t`. Raises NginxError with nginx's own words."""
    done = _run([*arguments(nginx, configuration), "-t"])
    if done.returncode != 0:
        raise NginxError(_words(done.stderr) or f"nginx -t ended with status {done.returncode}")


def _words(told: str) -> str:
    """The first complaint, without nginx's own decoration."""
    for line in told.splitlines():
        found = re.search(r"\[(?:emerg|error|crit|alert)\] (?:[0-9]+#[0-9]+: )?(.*)", line)
        if found is not None:
            return found[1][:500]
    return ""
