"""L2 CAs beside the one in use: one is made ready, takes its place by one rename, and is put away.

`ECC/E1` is in use, as the vendor's server knows it; `ECC/E1-next` is the one to come or the one of before;
`ECC/E1-KEYID` are those put away. No key is thrown away.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rop_data import atomic
from rop_data.authority import fill_intermediate, load_authority
from rop_data.layout import CertDir
from rop_pki.authority import create_issuer_key
from rop_pki.ceremony import Wanted, sign_apart

SPARE = "E1-next"
# Cameras have clocks that run behind.
BACKDATED = timedelta(days=30)


def spare(certs: CertDir) -> CertDir:
    """The certificate folder as the other L2 CA sees it."""
    return replace(certs, issuer=SPARE)


def key_id(certs: CertDir, host: str) -> str | None:
    """Key id of the L2 CA of this folder, None when there is none. Raises ConfigError."""
    return load_authority(certs, host).issuer_key_id if certs.intermediate.is_dir() else None


def make_ready(certs: CertDir, spelled: str, host: str, generation: int, now: datetime) -> str:
    """A new L2 CA beside the one in use; its key id. Blocks. Raises PkiError and ConfigError.

    One that is left there from before is put away.
    """
    put_away(certs, host)
    root = (certs.root_ca / "ca.pem").read_bytes()
    key, public = create_issuer_key()
    start = (now - BACKDATED).timestamp()
    wanted = Wanted(str(certs.root_ca / "key.pem"), root.decode(), public.decode(), host, start, generation)
    fill_intermediate(spare(certs).intermediate, spelled, key, sign_apart(wanted), root)
    return load_authority(spare(certs), host).issuer_key_id


def put_away(certs: CertDir, host: str) -> None:
    """Give the other L2 CA a name of its own."""
    folder = spare(certs).intermediate
    found = key_id(spare(certs), host)
    if found is not None:
        folder.rename(folder.with_name(f"E1-{found[:16]}"))
        atomic.sync_directory(folder.parent)


def exchange(certs: CertDir) -> None:
    """The other L2 CA and the one in use change places, in one step. Raises OSError."""
    atomic.exchange(certs.intermediate, spare(certs).intermediate)
