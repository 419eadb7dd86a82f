"""Keys, certificates and chains of a ROP site, in process."""

from rop_pki.authority import Authority, Issued, create_intermediate, create_root
from rop_pki.facts import CertificateFacts, PkiError, fingerprint, inspect, key_matches

__all__ = [
    "Authority",
    "CertificateFacts",
    "Issued",
    "PkiError",
    "create_intermediate",
    "create_root",
    "fingerprint",
    "inspect",
    "key_matches",
]
