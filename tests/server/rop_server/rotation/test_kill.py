"""kill -9 at every write of a rotation: it is where it was or a step further, and can be gone on with."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from rop_data import roots
from rop_pki import inspect, key_matches

PATHS = {"to-the-end": ("Prepare", "Roll", "Retire"), "back": ("Prepare", "Roll", "Abort")}
MORE = {"Intermediate": ("Observe",)}
ROOT = {
    "to-the-end": ("Prepare", "CrossSign", "Canary", "Roll", "Observe", "Retire"),
    "back": ("Prepare", "CrossSign", "Canary", "Roll", "Abort"),
}
STRIDE = 9
STEPS = Path(__file__).with_name("steps.py")


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    """The module that takes steps."""
    spec = importlib.util.spec_from_file_location("rop_server_rotation_steps", STEPS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(folder: Path, limit: int, item: str, path: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(STEPS), str(folder), str(limit), item, *path],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("item", ["SignKey", "DeviceKey"])
def test_killed_at_every_write_point(tmp_path: Path, steps: ModuleType, item: str, path: str) -> None:
    template = tmp_path / "template"
    with steps.Opened(template) as site:
        first, _ = site.keys(item)
    whole = tmp_path / "whole"
    shutil.copytree(template, whole)
    done = run(whole, 0, item, PATHS[path])
    assert done.returncode == 0, done.stderr
    points = int(done.stdout.split()[-1])
    assert points >= 12
    for point in range(1, points + 1, 2):
        folder = tmp_path / str(point)
        shutil.copytree(template, folder)
        assert run(folder, point, item, PATHS[path]).returncode == -signal.SIGKILL
        with steps.Opened(folder) as site:
            state = site.items[item].state()
            current, accepted = site.keys(item)
            assert (state.phase, state.generation) in {("Idle", 1), ("Prepared", 1), ("Rolling", 1), ("Idle", 2)}
            assert current in accepted
            assert (current == first) == (state.generation == 1 and state.phase != "Rolling"), point
            assert first in accepted or (item == "SignKey" and state.generation == 2), point
        with steps.Opened(folder) as site:
            assert site.keys(item) == (current, accepted), "a second start finds the same"
            left = PATHS["to-the-end"] if state.generation == 1 else ()
            if left:
                assert site.take(item, left).generation == 2
            assert site.keys(item)[0] != first


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("item", ["Intermediate", "ServerCertificate"])
def test_certificates_always_fit_their_keys(tmp_path: Path, steps: ModuleType, item: str, path: str) -> None:
    known = {name: (*steps_[:2], *MORE.get(item, ()), *steps_[2:]) for name, steps_ in PATHS.items()}
    template, whole = tmp_path / "template", tmp_path / "whole"
    with steps.Opened(template) as site:
        first, _ = site.keys(item)
    shutil.copytree(template, whole)
    points = int(run(whole, 0, item, known[path]).stdout.split()[-1])
    for point in range(1, points + 1, 2):
        folder = tmp_path / str(point)
        shutil.copytree(template, folder)
        assert run(folder, point, item, known[path]).returncode == -signal.SIGKILL
        with steps.Opened(folder) as site:
            assert key_matches(site.site.server_chain_pem, site.site.server_key_pem)
            assert inspect(site.site.server_chain_pem).issuer_key_id == site.site.authority.issuer_key_id
            if site.items[item].state().generation == 1:
                assert site.take(item, known["to-the-end"]).generation == 2
            assert site.keys(item)[0] != first


@pytest.mark.parametrize("path", list(ROOT))
def test_a_site_always_has_one_whole_hierarchy_and_starts(tmp_path: Path, steps: ModuleType, path: str) -> None:
    template, whole = tmp_path / "template", tmp_path / "whole"
    with steps.Opened(template) as site:
        first, _ = site.keys("Root")
    shutil.copytree(template, whole)
    points = int(run(whole, 0, "Root", ROOT[path]).stdout.split()[-1])
    for point in sorted({*range(1, points + 1, STRIDE), points}):
        folder = tmp_path / str(point)
        shutil.copytree(template, folder)
        assert run(folder, point, "Root", ROOT[path]).returncode == -signal.SIGKILL
        with steps.Opened(folder) as site:
            assert key_matches(site.site.server_chain_pem, site.site.server_key_pem)
            assert inspect(site.site.server_chain_pem).issuer_key_id == site.site.authority.issuer_key_id
            state, (root, _) = site.items["Root"].state(), site.keys("Root")
            rolled = state.phase in ("Rolling", "Observing") or state.generation == 2
            assert (root != first) == rolled, point
            assert site.site.settings.root_sha256 == root
            assert trusts(tmp_path, (template / "certs/ECC/Root/ca.pem").read_bytes(), site.site.presented_pem)
            if state.generation == 1:
                assert site.take("Root", ROOT["to-the-end"]).generation == 2
            root, _ = site.keys("Root")
        with steps.Opened(folder) as site:
            assert site.keys("Root")[0] == root != first
            left = {each.name for each in (folder / "certs").iterdir()}
            assert f"ECC-{first[:16]}" in left and "ECC-next" not in left


def test_killed_between_the_exchange_and_the_note_of_the_new_root(tmp_path: Path, steps: ModuleType) -> None:
    with steps.Opened(tmp_path / "site") as site:
        first, _ = site.keys("Root")
        site.take("Root", ("Prepare", "CrossSign", "Canary"))
        data = site.file.get("Root").data
        site.file.put(
            "Root", replace(site.file.get("Root"), phase="Rolling", data={**data, "wanted": data["new"]})
        )
        roots.exchange(site.site.certs)
    with steps.Opened(tmp_path / "site") as site:
        assert site.keys("Root")[0] == site.site.settings.root_sha256 != first
        assert site.take("Root", ("Observe", "Retire")).generation == 2


def trusts(tmp_path: Path, root: bytes, chain: bytes) -> bool:
    """Whether a camera that pins this root accepts this chain, as OpenSSL verifies it strictly."""
    leaf, rest = chain.split(b"\n\n", 1)
    for name, data in (("root.pem", root), ("leaf.pem", leaf + b"\n"), ("rest.pem", rest)):
        (tmp_path / name).write_bytes(data)
    how = ("-x509_strict", "-purpose", "sslserver", "-no-CApath", "-no-CAstore")
    done = subprocess.run(
        ["openssl", "verify", *how, "-CAfile", "root.pem", "-untrusted", "rest.pem", "leaf.pem"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
