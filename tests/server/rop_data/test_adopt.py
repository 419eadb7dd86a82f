"""A directory of the vendor's server: taken over byte for byte, given back readable."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rop_data.config import ConfigError
from rop_data.layout import DataDir
from rop_data.store import prepare
from rop_pki import fingerprint, inspect, key_matches

Listing = Callable[[Path], dict[str, tuple[str, int]]]
OpenSSL = Callable[..., str]


def test_adoption_changes_no_byte_of_the_vendor(vendor: Path, listing: Listing, now: datetime) -> None:
    before = listing(vendor)
    site = prepare(DataDir(vendor), {}, now)
    after = listing(vendor)
    assert {name: digest for name, (digest, _) in after.items() if name in before} == {
        name: digest for name, (digest, _) in before.items()
    }
    assert set(after) - set(before) == {"rop.json"}
    assert site.settings.adopted
    assert (site.settings.integrity, site.settings.client_bind) == ("Report", "0.0.0.0")


def test_adopted_identity_is_the_vendors(
    vendor: Path, vendor_config: dict[str, Any], openssl: OpenSSL, now: datetime
) -> None:
    raw = (vendor / "certs/ECC/Root/ca.pem").read_bytes()
    site = prepare(DataDir(vendor), {}, now)
    assert site.root_pem == raw
    shown = openssl("x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256", cwd=vendor / "certs/ECC/Root")
    assert site.authority.root_fingerprint == shown.strip().split("=")[1].replace(":", "").lower()
    assert base64.b64encode(hashlib.sha256(site.root_pem).digest()) == base64.b64encode(
        hashlib.sha256(raw).digest()
    )
    assert site.config.sign_key == vendor_config["authCode"]["signKey"]
    assert site.config.device_keys == vendor_config["deviceAuth"]["deviceKeys"]
    assert site.config.get("cert.workDir") == "/data/certs"
    assert key_matches(site.server_chain_pem, site.server_key_pem)


def test_container_paths_lie_below_the_directory(vendor: Path, now: datetime) -> None:
    site = prepare(DataDir(vendor), {}, now)
    assert site.certs.root == vendor / "certs"
    assert json.loads((vendor / "config.json").read_text())["upgrade"]["filePath"] == "/data/firmware"


def test_device_certificates_of_an_adopted_site_verify(vendor: Path, openssl: OpenSSL, now: datetime) -> None:
    site = prepare(DataDir(vendor), {}, now)
    made = site.authority.device_certificate("95270000000000AB", 180, now)
    (vendor / "device.pem").write_bytes(made.chain_pem)
    shown = openssl(
        *("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "certs/ECC/Root/ca.pem"),
        *("-untrusted", "device.pem", "device.pem"),
        cwd=vendor,
    )
    assert shown.strip() == "device.pem: OK"


def test_vendor_server_certificate_is_renewed_when_due_and_only_then(vendor: Path, now: datetime) -> None:
    first = prepare(DataDir(vendor), {}, now).server_chain_pem
    later = now + timedelta(days=59)
    assert prepare(DataDir(vendor), {}, later).server_chain_pem == first
    due = prepare(DataDir(vendor), {}, now + timedelta(days=61))
    assert due.server_chain_pem != first
    assert inspect(due.server_chain_pem).issuer_key_id == inspect(first).issuer_key_id


def test_a_lost_root_is_never_replaced(vendor: Path, now: datetime) -> None:
    prepare(DataDir(vendor), {}, now)
    (vendor / "certs/ECC/Root").rename(vendor / "elsewhere")
    with pytest.raises(ConfigError, match="restore it from a backup"):
        prepare(DataDir(vendor), {}, now)
    assert not (vendor / "certs/ECC/Root").exists()


def test_a_swapped_root_is_refused(
    vendor: Path, tmp_path: Path, environment: dict[str, str], now: datetime
) -> None:
    prepare(DataDir(vendor), {}, now)
    other = prepare(DataDir(tmp_path / "other"), environment, now)
    (vendor / "certs").rename(vendor / "certs.old")
    (tmp_path / "other/certs").rename(vendor / "certs")
    with pytest.raises(ConfigError, match="root"):
        prepare(DataDir(vendor), {}, now)
    assert fingerprint((vendor / "certs/ECC/Root/ca.pem").read_bytes()) == other.authority.root_fingerprint


def test_half_an_l2_ca_is_refused_not_replaced(vendor: Path, listing: Listing, now: datetime) -> None:
    (vendor / "certs/ECC/E1/key.pem").unlink()
    before = listing(vendor / "certs")
    with pytest.raises(ConfigError, match=r"ECC/E1.*key\.pem"):
        prepare(DataDir(vendor), {}, now)
    assert listing(vendor / "certs") == before


def test_root_key_may_be_sealed_away(vendor: Path, now: datetime) -> None:
    (vendor / "certs/ECC/Root/key.pem").unlink()
    site = prepare(DataDir(vendor), {}, now)
    assert site.authority.device_certificate("95270000000000AB", 180, now).cert_pem


def test_keys_in_an_adopted_directory_are_not_left_readable_to_others(vendor: Path, now: datetime) -> None:
    key = vendor / "certs/ECC/E1/key.pem"
    key.chmod(0o644)
    (vendor / "config.json").chmod(0o644)
    prepare(DataDir(vendor), {}, now)
    assert key.stat().st_mode & 0o077 == 0
    assert (vendor / "config.json").stat().st_mode & 0o077 == 0


def test_a_change_keeps_unknown_members_and_their_order(
    vendor: Path, vendor_config: dict[str, Any], now: datetime
) -> None:
    prepare(DataDir(vendor), {}, now, {"timeout.socket": 50_000, "rop.integrity": "Enforce"})
    written = json.loads((vendor / "config.json").read_text())
    assert list(written) == list(vendor_config)
    assert written["futureMember"] == {"kept": [1, 2, 3]}
    assert written["timeout"].pop("socket") == 50_000
    assert written == vendor_config
    assert json.loads((vendor / "rop.json").read_text())["integrity"] == "Enforce"
