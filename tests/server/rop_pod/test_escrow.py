"""What a Secret keeps of a server's keys: enough to go on with, in the middle of a rotation too."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rop_data import atomic, roots
from rop_data.config import Config, patch, save
from rop_data.layout import CertDir, DataDir
from rop_data.rotations import Progress, RotationFile, old_sign_keys
from rop_data.store import Site, prepare
from rop_pki import key_matches
from rop_pod.escrow import files_of, fingerprint

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


def opened(folder: Path) -> Site:
    directory = DataDir(folder)
    with directory.lock():
        return prepare(directory, {"ROP_HOSTNAME": "rop.example.net"}, NOW)


def brought_back(files: dict[str, bytes], folder: Path) -> Site:
    for name, data in files.items():
        atomic.make_directory((folder / name).parent)
        atomic.write(folder / name, data)
    return opened(folder)


def test_a_lost_volume_in_the_middle_of_a_rotation_loses_no_key(tmp_path: Path) -> None:
    site = opened(tmp_path / "site")
    before = fingerprint(files_of(site.directory))
    first = site.config.sign_key
    epochs = [{"key": first, "mark": 0}, {"key": "new" * 10, "mark": 7}]
    RotationFile(site.directory.rotation).put("SignKey", Progress(1, 2, "Rolling", 1.0, {"epochs": epochs}))
    save(site.directory.config, Config(patch(site.config.raw, {"authCode.signKey": "new" * 10})))
    roots.make_ready(CertDir(site.certs.root), "/data/certs", site.config.server_host, 2, NOW)
    files = files_of(site.directory)
    assert fingerprint(files) != before

    back = brought_back(files, tmp_path / "back")
    assert back.authority.root_fingerprint == site.authority.root_fingerprint
    assert old_sign_keys(RotationFile(back.directory.rotation), "new" * 10) == (first,)
    other = roots.spare(back.certs).root_ca
    assert key_matches((other / "ca.pem").read_bytes(), (other / "key.pem").read_bytes())


def test_a_setting_makes_no_new_generation_but_a_step_of_a_rotation_does(tmp_path: Path) -> None:
    site = opened(tmp_path / "site")
    before = fingerprint(files_of(site.directory))
    save(site.directory.config, Config(patch(site.config.raw, {"timeout.streamTimeout": 11})))
    assert fingerprint(files_of(site.directory)) == before
    RotationFile(site.directory.rotation).put("DeviceKey", Progress(1, 2, "Prepared", 1.0, {"next": "k"}))
    assert fingerprint(files_of(site.directory)) != before
