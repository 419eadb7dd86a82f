"""Signing with a root's key: a process of its own reads or makes it, signs one certificate, and ends.

`python -m rop_pki.ceremony` takes the order on standard input and gives the certificate on standard output. The
key of the new L2 CA does not go there, and the key of a root never leaves that process but for its file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rop_pki.authority import create_root, cross_sign, sign_intermediate
from rop_pki.confined import confine
from rop_pki.facts import PkiError

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate of an L2 CA. `root_key` is a path, `root` and `public` are PEM, `start` epoch seconds."""

    root_key: str
    root: str
    public: str
    host: str
    start: float
    generation: int

    def carry_out(self) -> bytes:
        """In the process that holds the key."""
        key, start = Path(self.root_key).read_bytes(), datetime.fromtimestamp(self.start, UTC)
        return sign_intermediate(key, self.root.encode(), self.public.encode(), self.host, start, self.generation)


@dataclass(frozen=True, slots=True)
class RootWanted:
    """A new root. Its key is written to the path `root_key`, where no file may be; `start` is epoch seconds."""

    root_key: str
    start: float
    generation: int

    def carry_out(self) -> bytes:
        """In the process that makes the key."""
        key, certificate = create_root(datetime.fromtimestamp(self.start, UTC), self.generation)
        descriptor = os.open(self.root_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return certificate


@dataclass(frozen=True, slots=True)
class CrossWanted:
    """The root `other` signed by the root whose key is at the path `root_key`. Certificates are PEM."""

    root_key: str
    root: str
    other: str

    def carry_out(self) -> bytes:
        """In the process that holds the key."""
        return cross_sign(Path(self.root_key).read_bytes(), self.root.encode(), self.other.encode())


_ORDERS = {order.__name__: order for order in (Wanted, RootWanted, CrossWanted)}


def sign_apart(wanted: Wanted | RootWanted | CrossWanted) -> bytes:
    """The certificate, PEM. Blocks. Raises PkiError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rop_pki.ceremony"],
            input=json.dumps({"order": type(wanted).__name__, **asdict(wanted)}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PkiError("the process that signs with the root's key did not end") from None
    if done.returncode:
        raise PkiError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "signing failed")
    return done.stdout.encode()


def main() -> None:
    """The process that holds the key."""
    try:
        confine()
        told = json.loads(sys.stdin.read())
        made = _ORDERS[told.pop("order")](**told).carry_out()
    except (PkiError, OSError) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
    sys.stdout.write(made.decode())


if __name__ == "__main__":
    main()
