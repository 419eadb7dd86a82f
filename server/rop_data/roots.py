"""Hierarchies (a root CA and its L2 CA) beside the one in use.

One is made ready, takes its place by one rename, and is put away.

`ECC` is in use, as the vendor's server knows it; `ECC-next` is the one to come or the one of before;
`ECC-FINGERPRINT` are those put away. No key is thrown away.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from rop_data import atomic
from rop_data.authority import fill_intermediate, fill_root, load_authority
from rop_data.layout import CertDir
from rop_pki import fingerprint
from rop_pki.authority import create_issuer_key
from rop_pki.ceremony import CrossWanted, RootWanted, Wanted, sign_apart

NEXT = "ECC-next"
_NEW = f".{NEXT}.new"
# Cameras have clocks that run behind.
BACKDATED = timedelta(days=30)


def spare(certs: CertDir) -> CertDir:
    """The certificate folder as the other hierarchy sees it."""
    return replace(certs, hierarchy=NEXT)


def root_of(certs: CertDir) -> str | None:
    """Lower-case hex SHA-256 of the root of this hierarchy, None when there is none. Raises PkiError."""
    path = certs.root_ca / "ca.pem"
    return fingerprint(path.read_bytes()) if path.is_file() else None


def make_ready(certs: CertDir, spelled: str, host: str, generation: int, now: datetime) -> tuple[str, str]:
    """A new hierarchy beside the one in use: fingerprint of its root, key id of its L2 CA. Blocks.

    One that is left there from before is put away. Raises PkiError, ConfigError and OSError.
    """
    put_away(certs)
    new = replace(certs, hierarchy=_NEW)
    folder = certs.root / _NEW
    shutil.rmtree(folder, ignore_errors=True)
    atomic.make_directory(folder)
    start = (now - BACKDATED).timestamp()
    root = fill_root(
        new.root_ca, spelled, lambda key: sign_apart(RootWanted(str(key), start, generation)), generation
    )
    key, public = create_issuer_key()
    wanted = Wanted(str(new.root_ca / "key.pem"), root.decode(), public.decode(), host, start, generation)
    fill_intermediate(new.intermediate, spelled, key, sign_apart(wanted), root)
    atomic.sync_directory(folder)
    folder.rename(certs.root / NEXT)
    atomic.sync_directory(certs.root)
    made = load_authority(spare(certs), host)
    return made.root_fingerprint, made.issuer_key_id


def cross_sign(certs: CertDir) -> str:
    """Sign both roots by one another. The new one as signed by the one in use lies beside it from now on; returned
    is the one in use as signed by the new one, PEM. Blocks. Raises PkiError and OSError.
    """
    other = spare(certs)
    present, new = ((each.root_ca / "ca.pem").read_text() for each in (certs, other))
    forward = sign_apart(CrossWanted(str(certs.root_ca / "key.pem"), present, new))
    back = sign_apart(CrossWanted(str(other.root_ca / "key.pem"), new, present))
    atomic.write(other.crosses, forward + crosses(certs))
    return back.decode()


def crosses(certs: CertDir) -> bytes:
    """What is presented after the L2 CA, PEM; empty when nobody needs it."""
    return certs.crosses.read_bytes() if certs.crosses.is_file() else b""


def lead_back(certs: CertDir, back: str) -> None:
    """Give the other hierarchy its root as signed by the one in use, for the day that it is used again."""
    other = spare(certs)
    known = crosses(other)
    if back.encode() not in known:
        atomic.write(other.crosses, back.encode() + known)


def drop_crosses(certs: CertDir) -> None:
    """Nobody who trusts a former root alone is served any more."""
    certs.crosses.unlink(missing_ok=True)
    atomic.sync_directory(certs.root_ca)


def exchange(certs: CertDir) -> None:
    """The other hierarchy and the one in use change places, in one step. Raises OSError."""
    atomic.exchange(certs.root / certs.hierarchy, certs.root / NEXT)


def put_away(certs: CertDir) -> None:
    """Give the other hierarchy a name of its own."""
    folder, found = certs.root / NEXT, root_of(spare(certs))
    if found is not None:
        folder.rename(_free(certs.root / f"ECC-{found[:16]}"))
        atomic.sync_directory(certs.root)


def _free(path: Path) -> Path:
    number = 2
    while path.exists():
        path, number = path.with_name(f"{path.name.split('.')[0]}.{number}"), number + 1
    return path
