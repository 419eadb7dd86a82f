"""`make deb`: packages without errors, the same bytes from the same sources."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def digests(packages: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in packages}


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_lintian_finds_no_error(packages: dict[str, list[Path]], suite: str) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error", *packages[suite]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_same_sources_give_the_same_packages_elsewhere(
    packages: dict[str, list[Path]], build: Callable[..., None], tmp_path: Path
) -> None:
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, names):
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "checkout" / name)
    shutil.copymode(ROOT / "packaging/debian/rules", tmp_path / "checkout/packaging/debian/rules")
    epoch = subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True).strip()
    build(tmp_path / "checkout", "--to", str(tmp_path / "made"), "--suite", "bookworm", SOURCE_DATE_EPOCH=epoch)
    assert digests(sorted((tmp_path / "made/bookworm").glob("*.deb"))) == digests(packages["bookworm"])
