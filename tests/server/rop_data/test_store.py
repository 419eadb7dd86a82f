"""A new data directory: made whole, opened again unchanged, readable by the vendor's tools."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_data.config import ConfigError
from rop_data.layout import DataDir, LockedError
from rop_data.store import prepare
from rop_pki import inspect

Listing = Callable[[Path], dict[str, tuple[str, int]]]
OpenSSL = Callable[..., str]
VENDOR_FILES = (
    "ECC/Root/ca.pem",
    "ECC/Root/key.pem",
    "ECC/Root/ca.cnf",
    "ECC/Root/ca.csr.cnf",
    "ECC/Root/serial",
    "ECC/Root/index.txt",
    "ECC/Root/index.txt.attr",
    "ECC/Root/newcerts",
    "ECC/Root/crl",
    "ECC/E1/ca.pem",
    "ECC/E1/key.pem",
    "ECC/E1/ca.fullchain.pem",
    "ECC/E1/ca.cnf",
    "ECC/E1/ca.csr.cnf",
    "ECC/E1/serial",
    "ECC/E1/crlnumber",
    "ECC/E1/index.txt",
    "ECC/E1/index.txt.attr",
    "ECC/E1/certs",
    "ECC/E1/crl",
    "ECC/E1/csr",
    "ECC/E1/newcerts",
    "ECC/E1/private",
    "ECC/E1/private/server-rop.example.com.key.pem",
    "ECC/E1/newcerts/server-rop.example.com.cert.pem",
    "ECC/E1/newcerts/server-rop.example.com.fullchain.pem",
)


def test_a_new_directory_has_the_vendors_layout(
    tmp_path: Path, environment: dict[str, str], now: datetime
) -> None:
    site = prepare(DataDir(tmp_path / "d"), environment, now)
    missing = [name for name in VENDOR_FILES if not (tmp_path / "d/certs" / name).exists()]
    assert missing == []
    assert (tmp_path / "d/firmware").is_dir()
    assert not site.settings.adopted
    assert (site.settings.integrity, site.settings.client_bind) == ("Enforce", "127.0.0.1")
    assert not list((tmp_path / "d").rglob("*.new"))


def test_nothing_is_readable_to_others(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    prepare(DataDir(tmp_path / "d"), environment, now)
    for path in [tmp_path / "d", *(tmp_path / "d").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def test_opening_again_changes_nothing(
    tmp_path: Path, environment: dict[str, str], now: datetime, listing: Listing
) -> None:
    prepare(DataDir(tmp_path), environment, now)
    before = listing(tmp_path)
    other = {"ROP_HOSTNAME": "other.example.com", "RTSP_PLAY_URL_PREFIX": "rtsp://other"}
    site = prepare(DataDir(tmp_path), other, now + timedelta(days=1))
    assert listing(tmp_path) == before
    assert site.config.server_host == "rop.example.com"


def test_two_sites_share_no_secret(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    one, two = (prepare(DataDir(tmp_path / name), environment, now) for name in "ab")
    assert one.config.sign_key != two.config.sign_key
    assert len(one.config.sign_key) == 32
    assert not set(one.config.device_keys) & set(two.config.device_keys)
    assert one.authority.root_fingerprint != two.authority.root_fingerprint
    assert one.settings.instance_id != two.settings.instance_id


def test_secrets_do_not_show(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    site = prepare(DataDir(tmp_path), environment, now)
    shown = repr(site) + repr(site.config) + repr(site.authority)
    for secret in (site.config.sign_key, *site.config.device_keys.values(), "s3cr3t", "PRIVATE KEY"):
        assert secret not in shown


def test_openssl_reads_and_goes_on_with_our_ca(
    tmp_path: Path, environment: dict[str, str], now: datetime, openssl: OpenSSL
) -> None:
    """As the vendor's program does: a request signed by `openssl ca` with the configuration in the folder."""
    certs = tmp_path / "d/certs"
    prepare(DataDir(tmp_path / "d"), environment, now, {"cert.workDir": str(certs)})
    e1 = certs / "ECC/E1"
    for _ in range(2):
        openssl(*["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "private/k.pem"], cwd=e1)
        subject = ("-subj", "/CN=95270000000000AB")
        openssl("req", "-new", "-key", "private/k.pem", *subject, "-out", "csr/c.pem", cwd=e1)
        # From elsewhere: the configuration names its folder as config.json spells it.
        openssl(
            *("ca", "-batch", "-notext", "-config", str(e1 / "ca.cnf"), "-days", "180"),
            *("-in", str(e1 / "csr/c.pem"), "-out", str(e1 / "newcerts/client.cert.pem")),
            cwd=tmp_path,
        )
    assert len((e1 / "index.txt").read_text().splitlines()) == 2
    shown = openssl(
        *("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "../Root/ca.pem"),
        *("-untrusted", "ca.pem", "newcerts/client.cert.pem"),
        cwd=e1,
    )
    assert shown.strip().endswith("OK")
    again = prepare(DataDir(tmp_path / "d"), {}, now)
    assert again.authority.issuer_key_id == inspect((e1 / "newcerts/client.cert.pem").read_bytes()).issuer_key_id


def test_configuration_names_container_paths(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    prepare(DataDir(tmp_path), environment, now)
    assert "dir = /data/certs/ECC/E1\n" in (tmp_path / "certs/ECC/E1/ca.cnf").read_text()
    assert "dir = /data/certs/ECC/Root\n" in (tmp_path / "certs/ECC/Root/ca.cnf").read_text()


def test_server_certificate_follows_the_host(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    first = prepare(DataDir(tmp_path), environment, now)
    moved = prepare(DataDir(tmp_path), {}, now, {"serverHost": "192.0.2.9"})
    assert inspect(moved.server_chain_pem).subject_cn == "192.0.2.9"
    assert moved.authority.root_fingerprint == first.authority.root_fingerprint


@pytest.mark.parametrize(
    ("days", "lives", "due"), [(90, 59.9, False), (90, 60.1, True), (9, 5.9, False), (9, 6.1, True)]
)
def test_renewal_margin(
    tmp_path: Path, environment: dict[str, str], now: datetime, days: int, lives: float, due: bool
) -> None:
    site = prepare(DataDir(tmp_path), environment, now, {"cert.serverCertValidDays": days})
    assert site.renew_server_certificate(now + timedelta(days=lives)) is due
    assert site.renew_server_certificate(now + timedelta(days=lives)) is False


@pytest.mark.parametrize("damage", ["key", "chain", "other key", "garbage"])
def test_damaged_server_certificate_is_made_again(
    tmp_path: Path, environment: dict[str, str], now: datetime, damage: str
) -> None:
    site = prepare(DataDir(tmp_path), environment, now)
    e1 = tmp_path / "certs/ECC/E1"
    key = e1 / "private/server-rop.example.com.key.pem"
    chain = e1 / "newcerts/server-rop.example.com.fullchain.pem"
    if damage == "key":
        key.unlink()
    elif damage == "chain":
        chain.unlink()
    elif damage == "other key":
        key.write_bytes(site.authority.device_certificate("95270000000000AB", 1, now).key_pem)
    else:
        chain.write_bytes(b"\xff\x00")
    again = prepare(DataDir(tmp_path), {}, now)
    assert inspect(again.server_chain_pem).subject_cn == "rop.example.com"
    assert again.renew_server_certificate(now) is False


@pytest.mark.parametrize(
    ("name", "rule"),
    [("ROP_HOSTNAME", "ROP_HOSTNAME"), ("long", "62 bytes"), ("path", "host name")],
)
def test_first_start_needs_a_usable_host(tmp_path: Path, now: datetime, name: str, rule: str) -> None:
    host = {"ROP_HOSTNAME": "", "long": "a" * 63, "path": "../etc"}[name]
    with pytest.raises(ConfigError, match=rule):
        prepare(DataDir(tmp_path / "d"), {"ROP_HOSTNAME": host}, now)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout.socket": "soon"},
        {"no.such": 1},
        {"rop.integrity": "Maybe"},
        {"timeout.socket": 50_000, "rop.management.listen": "nowhere"},
        {"ports.signalingTLS": 61009},
    ],
)
def test_a_refused_change_changes_nothing(
    tmp_path: Path, environment: dict[str, str], now: datetime, listing: Listing, changes: dict[str, Any]
) -> None:
    prepare(DataDir(tmp_path), environment, now)
    before = listing(tmp_path)
    with pytest.raises(ConfigError):
        prepare(DataDir(tmp_path), {}, now, changes)
    assert listing(tmp_path) == before


def test_data_of_a_newer_program_is_refused(tmp_path: Path, environment: dict[str, str], now: datetime) -> None:
    prepare(DataDir(tmp_path), environment, now)
    document = json.loads((tmp_path / "rop.json").read_text())
    (tmp_path / "rop.json").write_text(json.dumps(document | {"formatVersion": 2}))
    with pytest.raises(ConfigError, match="formatVersion"):
        prepare(DataDir(tmp_path), {}, now)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from rop_data.layout import DataDir\n"
        "with DataDir(Path(sys.argv[1])).lock():\n print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(LockedError, match=str(holder.pid)), DataDir(tmp_path).lock():
            raise AssertionError("two processes hold the lock")
    finally:
        holder.communicate()
    with DataDir(tmp_path).lock():
        assert (tmp_path / "run/lock").read_text().strip().isdigit()
