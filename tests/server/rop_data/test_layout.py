"""Paths below the data directory, atomic files."""

from pathlib import Path

import pytest

from rop_data import atomic
from rop_data.layout import DataDir


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("/data/certs", "D/certs"),
        ("/data", "D"),
        ("/data/", "D"),
        ("/data/a/b", "D/a/b"),
        ("certs", "D/certs"),
        ("./certs", "D/certs"),
        ("/database/certs", "/database/certs"),
        ("/srv/rop/certs", "/srv/rop/certs"),
    ],
)
def test_configured_paths(tmp_path: Path, configured: str, expected: str) -> None:
    wanted = Path(expected.replace("D", str(tmp_path), 1)) if expected.startswith("D") else Path(expected)
    assert DataDir(tmp_path).resolve(configured) == wanted


def test_a_directory_below_data_keeps_paths_of_its_own() -> None:
    assert DataDir(Path("/data/site")).resolve("/data/site/certs") == Path("/data/site/certs")
    assert DataDir(Path("/data")).resolve("/data/certs") == Path("/data/certs")


def test_write_replaces_with_the_mode(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("old")
    target.chmod(0o644)
    atomic.write(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write(target, b"new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
