"""Signatures of a site: an Ed25519 key that says which server made an archive or a report."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from rop_pki.facts import PkiError


def create_signer() -> bytes:
    """A new signing key as PEM (PKCS #8)."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Signer:
    """Signs for a site. Raises PkiError for a PEM that is no unencrypted Ed25519 key."""

    def __init__(self, key_pem: bytes) -> None:
        try:
            key = load_pem_private_key(key_pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PkiError("the signer's key is not an unencrypted PEM private key") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise PkiError("the signer's key is not an Ed25519 key")
        self._key = key

    @property
    def name(self) -> str:
        """Lower-case hex of the public key: what people compare."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, purpose: str, data: bytes) -> bytes:
        """64 bytes; the purpose keeps a signature of one kind of document from standing for another."""
        return self._key.sign(_message(purpose, data))


def verify(name: str, purpose: str, data: bytes, signature: bytes) -> bool:
    """Whether the signer of this name signed the data for this purpose."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(name)).verify(signature, _message(purpose, data))
    except (ValueError, InvalidSignature):
        return False
    return True


def _message(purpose: str, data: bytes) -> bytes:
    return purpose.encode() + b"\0" + data
