"""Envelopes of the age format: X25519 and SSH recipients. Source: age-encryption.org/v1."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyrage
from pyrage import passphrase, ssh, x25519

_Identity: TypeAlias = x25519.Identity | ssh.Identity
_AGE = b"age-encryption.org/v1"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_SSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_SSH_PEM = (_SSH, b"-----BEGIN RSA PRIVATE KEY-----")


class EnvelopeError(Exception):
    """A recipient, an identity or an envelope cannot be used; the text holds no secret."""


@dataclass(frozen=True, slots=True)
class Identities:
    """Keys that open envelopes. They never show in a repr."""

    keys: tuple[_Identity, ...] = field(repr=False)


def _recipient(text: str) -> x25519.Recipient | ssh.Recipient:
    kind = ssh.Recipient if text.startswith("ssh-") else x25519.Recipient
    try:
        return kind.from_str(text)
    except pyrage.RecipientError:
        # The text may be a private key by mistake, so it is not shown.
        raise EnvelopeError("a recipient must be age1... or a line of an SSH public key") from None


def check_recipient(text: str) -> None:
    """Raise EnvelopeError unless the text is `age1...`, `ssh-ed25519 ...` or `ssh-rsa ...`."""
    _recipient(text)


def new_identity() -> bytes:
    """A new X25519 identity, as a line of an identity file."""
    return f"{x25519.Identity.generate()}\n".encode()


def recipient_of(identity: bytes) -> str:
    """The public key of such an identity."""
    return str(x25519.Identity.from_str(identity.decode().strip()).to_public())


def seal(data: bytes, recipients: Iterable[str]) -> bytes:
    """Encrypt to every recipient. Raises EnvelopeError, also when there is none."""
    parsed = [_recipient(text) for text in recipients]
    if not parsed:
        raise EnvelopeError("an envelope needs at least one recipient")
    try:
        return bytes(pyrage.encrypt(data, parsed))
    except pyrage.EncryptError:
        raise EnvelopeError("encryption failed") from None


def open_sealed(data: bytes, identities: Identities) -> bytes:
    """Decrypt. Raises EnvelopeError when no identity fits or the bytes were changed."""
    try:
        return bytes(pyrage.decrypt(data, list(identities.keys)))
    except pyrage.DecryptError as failure:
        wrong = "matching" in str(failure).lower()
        reason = "no identity opens it" if wrong else "it is damaged or not an age file"
        raise EnvelopeError(reason) from None


def parse_identities(data: bytes, ask: Callable[[], str] | None = None) -> Identities:
    """Identities of a file: `AGE-SECRET-KEY-1...` lines, an SSH private key, or either under an age passphrase.

    `ask` gives the passphrase when one is needed. Raises EnvelopeError.
    """
    text = data.strip()
    if text.startswith((_AGE, _ARMOR)):
        text = _with_passphrase(data, ask).strip()
    if text.startswith(_SSH_PEM):
        return Identities((_ssh_identity(text + b"\n"),))
    keys = tuple(_age_identity(line) for line in _lines(text))
    if not keys:
        raise EnvelopeError("the identity file holds no identity")
    return Identities(keys)


def _with_passphrase(data: bytes, ask: Callable[[], str] | None) -> bytes:
    if ask is None:
        raise EnvelopeError("the identity file is under a passphrase")
    try:
        return bytes(passphrase.decrypt(data, ask()))
    except pyrage.DecryptError:
        raise EnvelopeError("the passphrase does not open the identity file") from None


def _lines(text: bytes) -> Sequence[bytes]:
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith(b"#")]


def _ssh_identity(data: bytes) -> ssh.Identity:
    try:
        return ssh.Identity.from_buffer(data)
    except pyrage.IdentityError:
        raise EnvelopeError("the SSH key cannot be used; it must be ed25519 or RSA without a passphrase") from None


def _age_identity(line: bytes) -> x25519.Identity:
    try:
        return x25519.Identity.from_str(line.decode("ascii", "replace"))
    except pyrage.IdentityError:
        raise EnvelopeError("a line of the identity file is not an age identity") from None
