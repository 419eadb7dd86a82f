"""The certificate folder: authorities made, adopted and loaded; the server certificate kept valid.

Layout as the vendor's, so that either program can go on with the other's folder. A CA appears by one rename of a
complete folder: a crash leaves the old state or the new one. Source: wire specification, pki-and-config 1 and 2.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from rop_data import atomic
from rop_data.config import Config, ConfigError
from rop_data.layout import CertDir
from rop_pki import Authority, PkiError, create_intermediate, create_root, inspect, key_matches

RENEW_DAYS = 30
_CNF = """[ ca ]
default_ca = CA_default

[ CA_default ]
dir = {directory}
certs = $dir/certs
crl_dir = $dir/crl
new_certs_dir = $dir/newcerts
database = $dir/index.txt
serial = $dir/serial
RANDFILE = $dir/.rand
private_key = $dir/key.pem
certificate = $dir/ca.pem
default_md = {digest}
default_days = {days}
preserve = no
unique_subject = no
policy = policy_any
copy_extensions = copy
x509_extensions = issued

[ policy_any ]
countryName = optional
stateOrProvinceName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
emailAddress = optional

[ req ]
distinguished_name = name
string_mask = utf8only
prompt = no

[ name ]
C = CN
O = ORG
OU = Department
CN = {common_name}

[ issued ]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
{issued}
"""
# What each CA signs, so that `openssl ca` with these files makes the same kind of certificate as we do.
_ROOT_ISSUES = """basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
extendedKeyUsage = critical, clientAuth, serverAuth"""
_E1_ISSUES = """basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment
extendedKeyUsage = clientAuth"""


def _fill(folder: Path, final: str, **cnf_values: str) -> None:
    """The files of an OpenSSL CA beside ca.pem and key.pem; `final` is the folder as config.json spells it."""
    cnf = _CNF.format(directory=final, **cnf_values)
    for name in ("newcerts", "crl", "certs", "csr", "private"):
        (folder / name).mkdir(mode=0o700)
    files = {
        "ca.csr.cnf": cnf,
        "serial": f"{secrets.randbits(127) | 1 << 126:032X}\n",
        "index.txt": "",
        "index.txt.attr": "unique_subject = no\n",
        "crlnumber": "01\n",
        "ca.cnf": cnf,
    }
    for name, text in files.items():
        atomic.write(folder / name, text.encode())


def _appear(temporary: Path, final: Path) -> None:
    """Give a complete folder its name, durably."""
    atomic.sync_directory(temporary)
    os.rename(temporary, final)  # noqa: PTH104 - must fail on a non-empty target
    atomic.sync_directory(final.parent)


def _fresh(folder: Path) -> Path:
    """A new empty folder beside the final one; leftovers of a crash go."""
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    atomic.make_directory(temporary)
    return temporary


def _whole(folder: Path) -> bool:
    return (folder / "ca.pem").is_file() and (folder / "key.pem").is_file()


def ensure_root(certs: CertDir, spelled: str, may_create: bool, now: datetime) -> None:
    """See that the root CA is there. An existing one is never touched; a lost one is never replaced."""
    folder = certs.root_ca
    if (folder / "ca.pem").is_file():
        return
    if not may_create:
        raise ConfigError(str(folder), "the root CA of this site; it is missing: restore it from a backup")
    if folder.exists():
        raise ConfigError(str(folder), "a whole root CA or absent (ca.pem is missing)")

    def make(path: Path) -> bytes:
        key, certificate = create_root(now)
        atomic.write(path, key)
        return certificate

    fill_root(folder, spelled, make)


def fill_root(folder: Path, spelled: str, make: Callable[[Path], bytes], generation: int = 1) -> bytes:
    """The folder of a root CA, which appears whole; its certificate, PEM. `make` writes the key to a path."""
    temporary = _fresh(folder)
    certificate = make(temporary / "key.pem")
    atomic.write(temporary / "ca.pem", certificate)
    final, name = f"{spelled}/ECC/Root", "CA ECC Root" if generation == 1 else f"CA ECC Root-{generation}"
    _fill(temporary, final, common_name=name, digest="sha384", days="182500", issued=_ROOT_ISSUES)
    _appear(temporary, folder)
    return certificate


def ensure_intermediate(certs: CertDir, spelled: str, host: str, now: datetime) -> None:
    """See that the L2 CA is there."""
    folder = certs.intermediate
    if _whole(folder):
        return
    if folder.exists():
        raise ConfigError(str(folder), "a whole L2 CA or absent (ca.pem or key.pem is missing)")
    root_key = certs.root_ca / "key.pem"
    if not root_key.is_file():
        raise ConfigError(str(root_key), "present to make the L2 CA")
    root = (certs.root_ca / "ca.pem").read_bytes()
    key, certificate = create_intermediate(root_key.read_bytes(), root, host, now)
    fill_intermediate(folder, spelled, key, certificate, root)


def fill_intermediate(folder: Path, spelled: str, key: bytes, certificate: bytes, root: bytes) -> None:
    """The folder of an L2 CA, which appears whole. `spelled`: `cert.workDir` as config.json has it."""
    temporary = _fresh(folder)
    atomic.write(temporary / "key.pem", key)
    atomic.write(temporary / "ca.pem", certificate)
    chained = certificate.rstrip(b"\n") + b"\n\n" + root.strip(b"\n") + b"\n"
    atomic.write(temporary / "ca.fullchain.pem", chained)
    final = f"{spelled}/ECC/E1"
    _fill(temporary, final, common_name="CA ECC E1", digest="sha256", days="180", issued=_E1_ISSUES)
    _appear(temporary, folder)


def tighten(certs: CertDir) -> None:
    """Take the keys of an adopted folder away from other users; their content stays."""
    folders = (certs.root_ca, certs.intermediate)
    for key in (*(folder / "key.pem" for folder in folders), *(certs.intermediate / "private").glob("*.key.pem")):
        atomic.restrict(key)


def load_authority(certs: CertDir, host: str) -> Authority:
    """The signer of this folder. Raises ConfigError naming the file."""
    folder = certs.intermediate
    try:
        return Authority(
            (certs.root_ca / "ca.pem").read_bytes(),
            (folder / "ca.pem").read_bytes(),
            (folder / "key.pem").read_bytes(),
            host,
        )
    except (OSError, PkiError) as failure:
        raise ConfigError(str(folder), f"a usable L2 CA ({failure})") from None


@dataclass(frozen=True, slots=True)
class ServerLeaf:
    """A server certificate: its key, itself, and the chain that is presented, as PEM."""

    key: bytes = field(repr=False)
    certificate: bytes
    chain: bytes

    def fits(self, authority: Authority, now: datetime, renew: timedelta) -> bool:
        """Whether it is of this authority and host, and does not end within `renew`."""
        try:
            facts = inspect(self.chain)
            whole = key_matches(self.chain, self.key)
        except PkiError:
            return False
        ours = facts.subject_cn == authority.host[:64] and facts.issuer_key_id == authority.issuer_key_id
        return whole and ours and facts.not_before <= now < facts.not_after - renew


def server_leaf(certs: CertDir, host: str) -> ServerLeaf:
    """The one in use. Raises OSError."""
    paths = (certs.server_key(host), certs.server_cert(host), certs.server_chain(host))
    return ServerLeaf(*(path.read_bytes() for path in paths))


def issue_server_leaf(authority: Authority, config: Config, now: datetime) -> ServerLeaf:
    """A new one, not written anywhere."""
    days, before = config.get("cert.serverCertValidDays"), config.get("cert.serverCertValidDaysBefore")
    issued = authority.server_certificate(days, before, now)
    return ServerLeaf(issued.key_pem, issued.cert_pem, issued.chain_pem)


def install_server_leaf(certs: CertDir, host: str, leaf: ServerLeaf) -> None:
    """Put it into use. Cut short it leaves a pair that does not fit, which the next start replaces."""
    for path, data in (
        (certs.server_key(host), leaf.key),
        (certs.server_cert(host), leaf.certificate),
        (certs.server_chain(host), leaf.chain),
    ):
        atomic.make_directory(path.parent)
        atomic.write(path, data)


def renew_margin(config: Config) -> timedelta:
    """How long before its end a server certificate is renewed: 30 days, a third of short lives."""
    return timedelta(days=min(RENEW_DAYS, config.get("cert.serverCertValidDays") / 3))


def needs_server_certificate(certs: CertDir, authority: Authority, config: Config, now: datetime) -> bool:
    """Whether there is no server certificate that fits, or it ends soon."""
    try:
        return not server_leaf(certs, authority.host).fits(authority, now, renew_margin(config))
    except OSError:
        return True


def ensure_server_certificate(certs: CertDir, authority: Authority, config: Config, now: datetime) -> bool:
    """Issue a server certificate when there is none that fits, or it ends soon. True when a new one was made."""
    if not needs_server_certificate(certs, authority, config, now):
        return False
    install_server_leaf(certs, authority.host, issue_server_leaf(authority, config, now))
    return True
