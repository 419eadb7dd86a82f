"""Where things are below the data directory. Source: ROP v1.0 wire specification, pki-and-config 2 and 8."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CONTAINER_ROOT = PurePosixPath("/data")


class LockedError(Exception):
    """Another process holds the data directory."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The data directory of one server. `config.json` and `certs/` are the vendor's, the rest is ours."""

    root: Path

    @property
    def config(self) -> Path:
        """The vendor's configuration file."""
        return self.root / "config.json"

    @property
    def rop(self) -> Path:
        """Our own settings of the site."""
        return self.root / "rop.json"

    @property
    def state(self) -> Path:
        """The state database."""
        return self.root / "state.db"

    @property
    def alarms(self) -> Path:
        """The queue of alarms."""
        return self.root / "alarms.db"

    @property
    def audit(self) -> Path:
        """Who changed what."""
        return self.root / "audit.jsonl"

    @property
    def rotation(self) -> Path:
        """Where each rotation of keys is."""
        return self.root / "rotation.json"

    @property
    def run(self) -> Path:
        """Sockets and the lock."""
        return self.root / "run"

    @property
    def manage_socket(self) -> Path:
        """The management interface's unix socket."""
        return self.run / "manage.sock"

    @property
    def gateway_sockets(self) -> Path:
        """Where we listen for a gateway on this machine, unless we are told another place."""
        return self.run / "gateway"

    @property
    def manage(self) -> Path:
        """Keys of the management interface: ca.pem, cert.pem, key.pem."""
        return self.root / "manage"

    def resolve(self, configured: str) -> Path:
        """A path of config.json: container paths (`/data/...`) and relative ones lie below the directory."""
        path = PurePosixPath(configured)
        if path.is_relative_to(self.root):
            return Path(path)
        if path.is_relative_to(CONTAINER_ROOT):
            return self.root / path.relative_to(CONTAINER_ROOT)
        return self.root / path if not path.is_absolute() else Path(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here. Raises LockedError naming the holder."""
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise LockedError(f"{self.root} is in use by process {holder}; stop it first") from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class CertDir:
    """The certificate folder (`cert.workDir`). `issuer`: folder of the L2 CA; `hierarchy`: folder of it and of its
    root. By default those in use.
    """

    root: Path
    issuer: str = "E1"
    hierarchy: str = "ECC"

    @property
    def root_ca(self) -> Path:
        """Folder of the root CA."""
        return self.root / self.hierarchy / "Root"

    @property
    def crosses(self) -> Path:
        """The root as signed by those of before, newest first: PEM, presented after the L2 CA."""
        return self.root_ca / "cross.pem"

    @property
    def intermediate(self) -> Path:
        """Folder of the L2 CA."""
        return self.root / self.hierarchy / self.issuer

    def server_key(self, host: str) -> Path:
        """The server's key."""
        return self.intermediate / "private" / f"server-{host}.key.pem"

    def server_cert(self, host: str) -> Path:
        """The server's certificate alone."""
        return self.intermediate / "newcerts" / f"server-{host}.cert.pem"

    def server_chain(self, host: str) -> Path:
        """The server's certificate and the L2 CA."""
        return self.intermediate / "newcerts" / f"server-{host}.fullchain.pem"
