"""Envelopes and signatures: only the named recipients open them, and only the signer made them."""

import subprocess
from pathlib import Path

import pyrage
import pytest

from rop_pki import PkiError, create_root
from rop_pki.envelope import EnvelopeError, check_recipient, open_sealed, parse_identities, seal
from rop_pki.signer import Signer, create_signer, verify


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_ssh_recipients(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    sealed = seal(b"content", [key.with_suffix(".pub").read_text().strip()])
    assert open_sealed(sealed, parse_identities(key.read_bytes())) == b"content"


def test_several_identities_in_one_file_and_a_stranger() -> None:
    mine, other, stranger = (pyrage.x25519.Identity.generate() for _ in range(3))
    sealed = seal(b"content", [str(mine.to_public())])
    file = f"# mine and another\n\n{other}\n{mine}\n".encode()
    assert open_sealed(sealed, parse_identities(file)) == b"content"
    with pytest.raises(EnvelopeError, match="no identity opens it"):
        open_sealed(sealed, parse_identities(str(stranger).encode()))
    for spoiled in (b"", sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"x" * 300):
        with pytest.raises(EnvelopeError, match="damaged"):
            open_sealed(spoiled, parse_identities(str(mine).encode()))


def test_an_identity_file_under_a_passphrase() -> None:
    key = pyrage.x25519.Identity.generate()
    locked = pyrage.passphrase.encrypt(f"{key}\n".encode(), "open sesame")
    sealed = seal(b"content", [str(key.to_public())])
    assert open_sealed(sealed, parse_identities(locked, lambda: "open sesame")) == b"content"
    with pytest.raises(EnvelopeError, match="passphrase does not open"):
        parse_identities(locked, lambda: "guess")
    with pytest.raises(EnvelopeError, match="under a passphrase"):
        parse_identities(locked)


@pytest.mark.parametrize("file", [b"", b"# nothing\n", b"AGE-SECRET-KEY-1NOPE", b"\xff\xfe", b"age1public"])
def test_files_that_are_no_identity(file: bytes) -> None:
    with pytest.raises(EnvelopeError) as caught:
        parse_identities(file)
    assert "NOPE" not in str(caught.value)


def test_secrets_show_in_no_error_and_no_repr() -> None:
    key = str(pyrage.x25519.Identity.generate())
    with pytest.raises(EnvelopeError) as caught:
        check_recipient(key)
    assert key not in str(caught.value)
    assert key not in repr(parse_identities(key.encode()))
    with pytest.raises(EnvelopeError):
        seal(b"content", [])


def test_a_signature_holds_for_one_signer_purpose_and_text() -> None:
    one, other = Signer(create_signer()), Signer(create_signer())
    signature = one.sign("report", b"text")
    assert verify(one.name, "report", b"text", signature)
    assert not verify(other.name, "report", b"text", signature)
    assert not verify(one.name, "archive", b"text", signature)
    assert not verify(one.name, "report", b"texts", signature)
    assert not verify("zz", "report", b"text", signature)
    assert not verify(one.name, "report", b"text", b"")


def test_only_an_ed25519_key_signs(now) -> None:
    for pem in (b"", create_root(now)[0]):
        with pytest.raises(PkiError):
            Signer(pem)
