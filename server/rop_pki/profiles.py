"""Extensions of the four kinds of certificates. Source: ROP v1.0 wire specification, pki-and-config 1."""

import contextlib
import ipaddress
import secrets

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_DOMAIN_VALIDATED = ObjectIdentifier("2.23.140.1.2.1")
_LOCAL_POLICY = ObjectIdentifier("1.3.6.1.4.1.44947.1.2.3.4.5.6.7.8")
COMMON_NAME_LIMIT = 64
Extension = tuple[x509.ExtensionType, bool]


def serial_number() -> int:
    """159 random bits: at most 20 octets of DER."""
    return secrets.randbits(159) | 1


def ca_name(common_name: str) -> x509.Name:
    """Subject of an authority."""
    parts = (
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "ORG"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Department"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def leaf_name(common_name: str) -> x509.Name:
    """Subject of a server or device. X.520 allows 64 characters; a longer host is whole in the SAN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:COMMON_NAME_LIMIT])])


def _usage(**bits: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


def _authority_information(host: str) -> x509.AuthorityInformationAccess:
    location = x509.UniformResourceIdentifier(f"http://{host}/ca.html")
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)]
    )


def _policies(host: str | None) -> x509.CertificatePolicies:
    statement = None if host is None else [f"http://cps.{host}/"]
    return x509.CertificatePolicies(
        [
            x509.PolicyInformation(_DOMAIN_VALIDATED, None),
            x509.PolicyInformation(_LOCAL_POLICY, statement),
        ]
    )


def subject_names(host: str) -> x509.SubjectAlternativeName:
    """DNS name, and for an address the IP too (discrepancies B28)."""
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    with contextlib.suppress(ValueError):
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    return x509.SubjectAlternativeName(names)


def root_extensions(key: ec.EllipticCurvePublicKey) -> list[Extension]:
    """Root CA."""
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    return [
        (own, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage(key_cert_sign=True, crl_sign=True), True),
    ]


def cross_extensions(own: x509.SubjectKeyIdentifier, issuer: x509.SubjectKeyIdentifier) -> list[Extension]:
    """A root CA signed by another root: what it signed is found by its key id, whoever is trusted."""
    return [
        (own, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage(key_cert_sign=True, crl_sign=True), True),
    ]


def intermediate_extensions(
    key: ec.EllipticCurvePublicKey, issuer: x509.SubjectKeyIdentifier, host: str
) -> list[Extension]:
    """L2 CA."""
    crl = x509.DistributionPoint([x509.UniformResourceIdentifier(f"http://{host}/ca.crl")], None, None, None)
    return [
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(digital_signature=True, key_cert_sign=True, crl_sign=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), True),
        (_authority_information(host), False),
        (x509.CRLDistributionPoints([crl]), False),
        (_policies(None), False),
    ]


def _leaf_extensions(key: ec.EllipticCurvePublicKey, issuer: x509.SubjectKeyIdentifier) -> list[Extension]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
    ]


def server_extensions(
    key: ec.EllipticCurvePublicKey, issuer: x509.SubjectKeyIdentifier, host: str
) -> list[Extension]:
    """Server certificate."""
    return [
        *_leaf_extensions(key, issuer),
        (_usage(digital_signature=True, key_encipherment=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (subject_names(host), False),
        (_authority_information(host), False),
        (_policies(host), False),
    ]


def gateway_extensions(
    key: CertificatePublicKeyTypes, issuer: x509.SubjectKeyIdentifier, names: x509.SubjectAlternativeName
) -> list[Extension]:
    """Certificate of a gateway, for its clients: it can be no client itself."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False),
        (_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (names, False),
    ]


def device_extensions(
    key: ec.EllipticCurvePublicKey, issuer: x509.SubjectKeyIdentifier, host: str
) -> list[Extension]:
    """Device certificate."""
    return [
        *_leaf_extensions(key, issuer),
        (_usage(digital_signature=True, content_commitment=True, key_encipherment=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (_authority_information(host), False),
        (_policies(host), False),
    ]
