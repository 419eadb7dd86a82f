"""Issuing: root, L2 CA, server and device certificates. Source: ROP v1.0 wire specification, pki-and-config 1."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from rop_pki import profiles
from rop_pki.facts import CertificateFacts, PkiError, describe, fingerprint, load_certificate, load_key

ROOT_DAYS = 365_000
INTERMEDIATE_DAYS = 182_500
# A gateway's clients have clocks that run behind a little; cameras, which run behind a lot, do not come here.
GATEWAY_SKEW = timedelta(hours=1)
MIN_CURVE_BITS = 256
ROOT_NAME = "CA ECC Root"
INTERMEDIATE_NAME = "CA ECC E1"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key and its certificate. `chain_pem` is leaf, blank line, L2 CA; `serial` upper-case hex."""

    key_pem: bytes = field(repr=False)
    cert_pem: bytes
    chain_pem: bytes
    serial: str
    not_before: datetime
    not_after: datetime
    issuer_key_id: str


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    validity: tuple[datetime, datetime],
    extensions: Iterable[profiles.Extension],
    signer: ec.EllipticCurvePrivateKey,
    digest: hashes.SHA256 | hashes.SHA384,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(issuer, subject, public, profiles.serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(signer, digest)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def chain(leaf_pem: bytes, intermediate_pem: bytes) -> bytes:
    """Leaf, blank line, L2 CA, as the vendor's chain files."""
    return leaf_pem.rstrip(b"\n") + b"\n\n" + intermediate_pem.strip(b"\n") + b"\n"


def create_root(now: datetime, generation: int = 1) -> tuple[bytes, bytes]:
    """A new root CA, valid from `now` on: (key PEM, certificate PEM). Each generation has a name of its own."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = profiles.ca_name(ROOT_NAME if generation == 1 else f"{ROOT_NAME}-{generation}")
    start = now.replace(microsecond=0)
    made = _sign(
        name,
        name,
        key.public_key(),
        (start, start + timedelta(days=ROOT_DAYS)),
        profiles.root_extensions(key.public_key()),
        key,
        hashes.SHA384(),
    )
    return _key_pem(key), _pem(made)


def cross_sign(root_key_pem: bytes, root_pem: bytes, other_pem: bytes) -> bytes:
    """The other root as a CA below this one: who trusts this root alone accepts what the other one signed.

    As long as both live. Raises PkiError.
    """
    root, root_key = _root(root_key_pem, root_pem)
    other = load_certificate(other_pem)
    public = other.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not _signed_by(other, other):
        raise PkiError("not the certificate of a root CA with an EC key")
    validity = (
        max(root.not_valid_before_utc, other.not_valid_before_utc),
        min(root.not_valid_after_utc, other.not_valid_after_utc),
    )
    extensions = profiles.cross_extensions(_subject_key_id(other), _subject_key_id(root))
    return _pem(_sign(other.subject, root.subject, public, validity, extensions, root_key, hashes.SHA384()))


def crosses(cross_pem: bytes, other_pem: bytes, root_pem: bytes) -> bool:
    """Whether this certificate is the other root, signed by `root_pem`. Raises PkiError."""
    cross, other = load_certificate(cross_pem), load_certificate(other_pem)
    same = cross.public_key() == other.public_key() and cross.subject == other.subject
    return same and _signed_by(cross, load_certificate(root_pem))


def _root(root_key_pem: bytes, root_pem: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    root, root_key = load_certificate(root_pem), load_key(root_key_pem)
    if root.public_key() != root_key.public_key():
        raise PkiError("the key of the root CA does not belong to its certificate")
    return root, root_key


def create_intermediate(root_key_pem: bytes, root_pem: bytes, host: str, now: datetime) -> tuple[bytes, bytes]:
    """A new L2 CA under the root: (key PEM, certificate PEM). PkiError when the root's key is another's."""
    root, root_key = _root(root_key_pem, root_pem)
    key = ec.generate_private_key(ec.SECP384R1())
    return _key_pem(key), _sign_intermediate(root_key, root, key.public_key(), host, now, INTERMEDIATE_NAME)


def create_issuer_key() -> tuple[bytes, bytes]:
    """The key of an L2 CA to come, and its public key: PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _key_pem(key), public


def sign_intermediate(
    root_key_pem: bytes, root_pem: bytes, public_pem: bytes, host: str, start: datetime, generation: int
) -> bytes:
    """The certificate of a further L2 CA, valid from `start` on, for its public key. Raises PkiError."""
    root, root_key = _root(root_key_pem, root_pem)
    public = load_pem_public_key(public_pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    name = f"{INTERMEDIATE_NAME}-{generation}"
    return _sign_intermediate(root_key, root, public, host, start, name)


def _sign_intermediate(
    root_key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    public: ec.EllipticCurvePublicKey,
    host: str,
    start: datetime,
    name: str,
) -> bytes:
    start = start.replace(microsecond=0)
    made = _sign(
        profiles.ca_name(name),
        root.subject,
        public,
        (start, start + timedelta(days=INTERMEDIATE_DAYS)),
        profiles.intermediate_extensions(public, _subject_key_id(root), host),
        root_key,
        hashes.SHA384(),
    )
    return _pem(made)


def _subject_key_id(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _request(csr_pem: bytes) -> x509.CertificateSigningRequest:
    """A request that holds the key it is signed with."""
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise PkiError("not a PEM certificate request") from None
    if not signed:
        raise PkiError("the certificate request is not signed by its own key")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size < MIN_CURVE_BITS:
        raise PkiError("the certificate request needs an EC key of P-256 or more")
    return request


def _requested_names(request: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName:
    try:
        return request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise PkiError("the certificate request has no subject alternative names") from None


class Authority:
    """Signs server and device certificates with the L2 CA. The root's key is not needed for that.

    Raises PkiError when the L2 CA's key does not belong to its certificate, or the root did not sign the L2 CA.
    """

    def __init__(self, root_pem: bytes, intermediate_pem: bytes, intermediate_key_pem: bytes, host: str) -> None:
        self.root_pem = root_pem
        self.intermediate_pem = intermediate_pem
        self.host = host
        self._issuer = load_certificate(intermediate_pem)
        self._key = load_key(intermediate_key_pem)
        if self._issuer.public_key() != self._key.public_key():
            raise PkiError("the key of the L2 CA does not belong to its certificate")
        if not _signed_by(self._issuer, load_certificate(root_pem)):
            raise PkiError("the root CA did not sign this L2 CA")
        self._key_id = _subject_key_id(self._issuer)
        self._intermediate_tail = b"\n" + intermediate_pem.strip(b"\n") + b"\n"

    @property
    def root_fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the root's DER."""
        return fingerprint(self.root_pem)

    @property
    def issuer_key_id(self) -> str:
        """Lower-case hex of the L2 CA's key id."""
        return self._key_id.digest.hex()

    @property
    def intermediate(self) -> CertificateFacts:
        """Facts of the L2 CA."""
        return describe(self._issuer)

    def server_certificate(self, days: int, days_before: int, now: datetime) -> Issued:
        """A server certificate for the host, back-dated for devices with slow clocks."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = profiles.server_extensions(key.public_key(), self._key_id, self.host)
        start = now.replace(microsecond=0) - timedelta(days=days_before)
        return self._issue(self.host, key, (start, now + timedelta(days=days)), extensions)

    def device_certificate(self, uid: str, days: float, now: datetime) -> Issued:
        """A device certificate for the UID, with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = profiles.device_extensions(key.public_key(), self._key_id, self.host)
        return self._issue(uid, key, (now, now + timedelta(days=days)), extensions)

    def gateway_certificate(self, csr_pem: bytes, allowed: Collection[str], days: int, now: datetime) -> bytes:
        """A chain for a gateway's certificate request, whose names must all be `allowed`; the key stays with the
        gateway. Raises PkiError.
        """
        request = _request(csr_pem)
        names = _requested_names(request)
        told = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
        strange = [name for name in told if name.lower() not in allowed]
        if strange or not told or len(told) != len(list(names)):
            raise PkiError(f"the request asks for {', '.join(strange) or 'no name'}, which is not a gateway here")
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        start = now.replace(microsecond=0) - GATEWAY_SKEW
        end = min((now + timedelta(days=days)).replace(microsecond=0), self._issuer.not_valid_after_utc)
        extensions = profiles.gateway_extensions(key, self._key_id, names)
        subject = profiles.leaf_name(told[0])
        made = _sign(subject, self._issuer.subject, key, (start, end), extensions, self._key, hashes.SHA256())
        return _pem(made) + self._intermediate_tail

    def _issue(
        self,
        common_name: str,
        key: ec.EllipticCurvePrivateKey,
        validity: tuple[datetime, datetime],
        extensions: Iterable[profiles.Extension],
    ) -> Issued:
        start, end = (moment.replace(microsecond=0) for moment in validity)
        # Nothing this L2 CA signs may outlive it.
        end = min(end, self._issuer.not_valid_after_utc)
        certificate = _sign(
            profiles.leaf_name(common_name),
            self._issuer.subject,
            key.public_key(),
            (start, end),
            extensions,
            self._key,
            hashes.SHA256(),
        )
        pem = _pem(certificate)
        return Issued(
            _key_pem(key),
            pem,
            pem + self._intermediate_tail,
            describe(certificate).serial,
            start,
            end,
            self.issuer_key_id,
        )
