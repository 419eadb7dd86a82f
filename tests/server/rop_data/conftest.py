"""A data directory as the vendor's server leaves it, made by openssl commands alone."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

HOST = "rop.example.com"
ROOT_CNF = """[ req ]
distinguished_name = name
string_mask = utf8only
prompt = no
x509_extensions = v3_ca
[ name ]
C = CN
O = ORG
OU = Department
CN = CA ECC Root
[ v3_ca ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
"""
CA_CNF = """[ ca ]
default_ca = CA_default
[ CA_default ]
dir = {folder}
certs = $dir/certs
crl_dir = $dir/crl
new_certs_dir = $dir/newcerts
database = $dir/index.txt
serial = $dir/serial
RANDFILE = $dir/.rand
private_key = $dir/key.pem
certificate = $dir/ca.pem
default_md = {digest}
default_days = 90
policy = any
email_in_dn = no
[ any ]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
[ v3_l2 ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
extendedKeyUsage = critical, clientAuth, serverAuth
[ v3_server ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:{host}
"""
L2_REQ = """[ req ]
distinguished_name = name
string_mask = utf8only
prompt = no
[ name ]
C = CN
O = ORG
OU = Department
CN = CA ECC E1
"""
VENDOR_CONFIG: dict[str, Any] = {
    "ports": {
        "getCAHttps": 61000,
        "getCertHttps": 61001,
        "registerHttps": 61002,
        "keepAliveTCP": 61003,
        "signalingTLS": 61005,
        "streamTLS": 61006,
        "streamTCP": 61007,
        "clientRtsp": 61008,
        "clientHttp": 61009,
    },
    "serverHost": HOST,
    "cert": {
        "workDir": "/data/certs",
        "serverCertValidDays": 90,
        "serverCertValidDaysBefore": 30,
        "clientCertValidDays": 180,
    },
    "deviceStream": {"encryptMode": "TLS"},
    "authCode": {"signKey": "aB3dE6gH9jK2mN5p", "expiredIn": 60},
    "alarm": {"enabled": True, "notificationURL": "https://hooks.example.com/s3cr3t"},
    "upgrade": {"filePath": "/data/firmware", "maxSession": 100, "sessionTTL": 3600000},
    "rtsp": {"playSessionTTL": 30000, "playURLPrefix": f"rtsp://{HOST}:61008"},
    "timeout": {"streamTimeout": 30000, "signalingExec": 10000, "signalingConnectionIdle": 30000},
    "futureMember": {"kept": [1, 2, 3]},
    "deviceAuth": {
        "deviceKeys": {"idx0123456789abc": "k" * 31 + "1"},
        "currentKeyIndex": "idx0123456789abc",
    },
    "application": {"instanceId": "553ef7e3-16d5-4ff0-82bb-099b4b1697c4"},
    "logs": {"drivers": {}, "subjects": {"default": {"enabled": True, "levels": ["info"], "driver": "console"}}},
}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def new_database(folder: Path, digest: str) -> None:
    for name in ("newcerts", "crl", "certs", "csr", "private"):
        (folder / name).mkdir(parents=True)
    (folder / "ca.cnf").write_text(CA_CNF.format(folder=folder, digest=digest, host=HOST))
    (folder / "serial").write_text(hashlib.md5(str(folder).encode()).hexdigest().upper() + "\n")
    (folder / "index.txt").write_text("")
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    (folder / ".rand").write_bytes(bytes(1024))


def make_certs(certs: Path) -> None:
    root, e1 = certs / "ECC/Root", certs / "ECC/E1"
    new_database(root, "sha384")
    new_database(e1, "sha256")
    (root / "ca.csr.cnf").write_text(ROOT_CNF)
    (e1 / "ca.csr.cnf").write_text(L2_REQ)
    # With the curve's parameters before the key, as older openssl commands write it.
    run("openssl", "ecparam", "-name", "secp384r1", "-genkey", "-out", "key.pem", cwd=root)
    run(
        *("openssl", "req", "-new", "-x509", "-sha384", "-days", "365000"),
        *("-config", "ca.csr.cnf", "-key", "key.pem", "-out", "ca.pem"),
        cwd=root,
    )
    run("openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "key.pem", cwd=e1)
    run("openssl", "req", "-new", *("-config", "ca.csr.cnf", "-key", "key.pem", "-out", "ca.csr.pem"), cwd=e1)
    sign = "openssl ca -batch -notext -config ca.cnf -extensions v3_l2 -days 182500 -in ../E1/ca.csr.pem"
    run(*sign.split(), "-out", str(e1 / "ca.pem"), cwd=root)
    (e1 / "ca.fullchain.pem").write_text((e1 / "ca.pem").read_text() + "\n" + (root / "ca.pem").read_text())
    key, csr, cert = (f"private/server-{HOST}.key.pem", "csr/server.csr.pem", f"newcerts/server-{HOST}.cert.pem")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key, cwd=e1)
    run("openssl", "req", "-new", "-utf8", "-key", key, "-subj", f"/CN={HOST}", "-out", csr, cwd=e1)
    serve = f"openssl ca -batch -notext -config ca.cnf -extensions v3_server -in {csr} -out {cert}"
    run(*serve.split(), cwd=e1)
    chain = (e1 / cert).read_text() + "\n" + (e1 / "ca.pem").read_text() + "\n"
    (e1 / f"newcerts/server-{HOST}.fullchain.pem").write_text(chain)
    for private in (root / "key.pem", e1 / "key.pem", e1 / key):
        private.chmod(0o600)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vendor")
    (folder / "config.json").write_text(json.dumps(VENDOR_CONFIG, indent=4))
    (folder / "firmware").mkdir()
    make_certs(folder / "certs")
    return folder


@pytest.fixture
def vendor(golden: Path, tmp_path: Path) -> Path:
    """A copy of the vendor's directory, for one test."""
    folder = tmp_path / "data"
    run("cp", "-a", str(golden), str(folder), cwd=tmp_path)
    return folder


Listing = dict[str, tuple[str, int]]


@pytest.fixture
def listing() -> Callable[[Path], Listing]:
    """Every file below a folder: relative name -> (digest, mode)."""

    def read(folder: Path) -> Listing:
        return {
            str(path.relative_to(folder)): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mode & 0o777,
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture
def openssl() -> Callable[..., str]:
    return lambda *arguments, cwd: run("openssl", *arguments, cwd=cwd)


@pytest.fixture
def environment() -> dict[str, str]:
    return {
        "ROP_HOSTNAME": HOST,
        "RTSP_PLAY_URL_PREFIX": f"rtsp://{HOST}:61008",
        "ROP_ALARM_WEBHOOK": "https://hooks.example.com/s3cr3t",
    }


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def vendor_config() -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(VENDOR_CONFIG))
    return copied
