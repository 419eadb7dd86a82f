"""What the gateway keeps below its directory: pairs that were tested, the configuration, the status."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from rop_gateway.pair import Pair

TEMPORARY = ("body", "proxy", "fastcgi", "uwsgi", "scgi")


class Folder:
    """The directory, mode 0700. Every file appears by one rename, so a reader sees the old or the new one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        """Create what is missing and remove what a killed process left."""
        for path in (self.root, self.pairs, self.root / "temp"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in TEMPORARY:
            (self.root / "temp" / name).mkdir(mode=0o700, exist_ok=True)
        for left in (*self.root.glob(".*.new"), *self.pairs.glob(".*.new")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    @property
    def pairs(self) -> Path:
        """One folder for each pair that was taken."""
        return self.root / "tls"

    @property
    def configuration(self) -> Path:
        """What nginx serves."""
        return self.root / "nginx.conf"

    @property
    def candidate(self) -> Path:
        """What is tested before it becomes the configuration."""
        return self.root / "candidate.conf"

    @property
    def pid(self) -> Path:
        """Written by nginx."""
        return self.root / "nginx.pid"

    @property
    def start_log(self) -> Path:
        """What nginx says before its configuration is read."""
        return self.root / "nginx.log"

    @property
    def authenticator(self) -> Path:
        """Where nginx asks who calls."""
        return self.root / "auth.sock"

    @property
    def log(self) -> Path:
        """Where nginx logs to."""
        return self.root / "log.sock"

    @property
    def lock(self) -> Path:
        """One process for each directory."""
        return self.root / "lock"

    @property
    def status(self) -> Path:
        """The gateway's own account of itself."""
        return self.root / "status.json"

    def write(self, path: Path, data: bytes) -> None:
        """Replace a file at once, mode 0600."""
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise

    def keep(self, pair: Pair) -> Path:
        """The folder of a pair, written whole by one rename."""
        target = self.pairs / f"{pair.serial}-{pair.digest[:8]}"
        if not target.is_dir():
            made = Path(tempfile.mkdtemp(dir=self.pairs, prefix=".pair.", suffix=".new"))
            self.write(made / "chain.pem", pair.chain_pem)
            self.write(made / "key.pem", pair.key_pem)
            made.replace(target)
        return target

    def kept(self) -> list[Pair]:
        """Pairs that were taken, newest certificate first."""
        found = []
        for path in self.pairs.iterdir():
            with suppress(OSError, ValueError):
                pair = Pair((path / "chain.pem").read_bytes(), (path / "key.pem").read_bytes())
                found.append((pair.not_before, pair.not_after, pair))
        return [pair for *_, pair in sorted(found, key=lambda each: each[:2], reverse=True)]

    def forget_others(self, *wanted: Path) -> None:
        """Remove pairs that nothing refers to any more."""
        for path in self.pairs.iterdir():
            if path not in wanted:
                shutil.rmtree(path, ignore_errors=True)
