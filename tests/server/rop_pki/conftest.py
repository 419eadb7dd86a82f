"""A hierarchy on disk, seen through the openssl program."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rop_pki import Authority, create_intermediate, create_root

NOW = datetime(2026, 3, 1, 12, 0, 30, 999_999, tzinfo=UTC)


@dataclass(frozen=True)
class Hierarchy:
    """Root, L2 CA and the signer above them, as PEM bytes."""

    root: bytes
    root_key: bytes
    e1: bytes
    e1_key: bytes
    authority: Authority


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    root_key, root = create_root(NOW)
    e1_key, e1 = create_intermediate(root_key, root, "rop.example.com", NOW)
    return Hierarchy(root, root_key, e1, e1_key, Authority(root, e1, e1_key, "rop.example.com"))


OpenSSL = Callable[..., str]


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSSL:
    """Run openssl in a folder with the given files; its standard output."""

    def run(*arguments: str, **files: bytes) -> str:
        for name, data in files.items():
            (tmp_path / f"{name}.pem").write_bytes(data)
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
