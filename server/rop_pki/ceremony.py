"""Signing with the root's key: a process of its own reads it, signs one certificate, and ends.

`python -m rop_pki.ceremony` takes the order on standard input and gives the certificate on standard output. The
key of the new L2 CA does not go there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rop_pki.authority import sign_intermediate
from rop_pki.confined import confine
from rop_pki.facts import PkiError

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate of an L2 CA. `root` and `public` are PEM, `start` epoch seconds."""

    root_key: str
    root: str
    public: str
    host: str
    start: float
    generation: int


def sign_apart(wanted: Wanted) -> bytes:
    """The certificate, PEM. Blocks. Raises PkiError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rop_pki.ceremony"],
            input=json.dumps(asdict(wanted)),
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
        wanted = Wanted(**json.loads(sys.stdin.read()))
        start = datetime.fromtimestamp(wanted.start, UTC)
        key = Path(wanted.root_key).read_bytes()
        root, public = wanted.root.encode(), wanted.public.encode()
        made = sign_intermediate(key, root, public, wanted.host, start, wanted.generation)
    except (PkiError, OSError) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
    sys.stdout.write(made.decode())


if __name__ == "__main__":
    main()
