"""Where pairs come from, and which one is served: a bad one never replaces a good one."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rop_gateway.config import Gateway
from rop_gateway.folder import Folder
from rop_gateway.pair import MAX_PEM, Pair, Problem, examine
from rop_gateway.server import RopServer, ServerError

log = structlog.get_logger("rop.gateway")

EXPIRING = timedelta(days=7)
# Of our own certificates; asked again after the pause when the authority does not answer.
RENEW_AT = 2 / 3
RETRY = timedelta(minutes=1)


def read_pair(chain_file: Path, key_file: Path) -> Pair | Problem:
    """The pair in two files."""
    read: list[bytes] = []
    for path in (chain_file, key_file):
        try:
            with path.open("rb") as file:
                read.append(file.read(MAX_PEM + 1))
        except OSError as error:
            return Problem("CertificateMissing", f"{path}: {error.strerror}")
    return Pair(read[0], read[1])


def new_request(host: str) -> tuple[bytes, str]:
    """A new key and a certificate request for it, both PEM. The key never leaves this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])]))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form), request.public_bytes(serialization.Encoding.PEM).decode()


def placeholder(host: str) -> Pair:
    """A pair for trying a configuration while the authority has not been asked."""
    key_pem, request_pem = new_request(host)
    request = x509.load_pem_x509_csr(request_pem.encode())
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            request.subject, request.subject, request.public_key(), x509.random_serial_number()
        )
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM), key_pem)


class Certificates:
    """The pair in use: `pair` and the folder it lies in. `problem`: what keeps a newer one from being served."""

    def __init__(self, folder: Folder, server: RopServer) -> None:
        self._folder = folder
        self._server = server
        self._seen: str | None = None
        self._asked_at: datetime | None = None
        self.pair: Pair | None = None
        self.problem: Problem | None = None

    @property
    def place(self) -> Path | None:
        """The folder with chain.pem and key.pem that nginx reads."""
        return self._folder.keep(self.pair) if self.pair is not None else None

    async def look(self, document: Gateway, now: datetime) -> None:
        """Take a newer pair when there is one and it is good."""
        if document.external:
            self.pair = self.problem = None
            return
        if self.pair is None or examine(self.pair, document.host, now) is not None:
            self._fall_back(document.host, now)
        if document.certificate.source == "Authority":
            await self._from_authority(document.host, now)
        else:
            self._from_files(document, now)

    def _fall_back(self, host: str, now: datetime) -> None:
        """A pair of before, for when the files are bad right after a start. One that ended is better than none."""
        kept = self._folder.kept()
        good = [each for each in kept if examine(each, host, now) is None]
        self.pair = next(iter(good or kept), None) if self.pair is None else next(iter(good), self.pair)

    # -- files ------------------------------------------------------------------------------------

    def _from_files(self, document: Gateway, now: datetime) -> None:
        source = document.certificate
        assert source.chain_file is not None and source.key_file is not None
        found = read_pair(source.chain_file, source.key_file)
        problem = found if isinstance(found, Problem) else examine(found, document.host, now)
        if problem is None and isinstance(found, Pair):
            self._seen = None
            self.problem = _ending(found, now)
            if self.pair is None or self.pair.serial != found.serial:
                self._take(found)
            return
        # Files are replaced one after the other: what is wrong at one look only is not told.
        mark = found.digest if isinstance(found, Pair) else str(problem)
        if mark != self._seen and self.pair is not None:
            self._seen = mark
            return
        if problem != self.problem and problem is not None:
            log.error("certificate", message="nok", reason=problem.reason, text=problem.message)
        self.problem = problem

    # -- the authority of the site ----------------------------------------------------------------

    async def _from_authority(self, host: str, now: datetime) -> None:
        due = self.pair is None or examine(self.pair, host, now) is not None or now >= _renewal(self.pair)
        if not due:
            self.problem = None
            return
        if self._asked_at is not None and self.pair is not None and now - self._asked_at < RETRY:
            return
        self._asked_at = now
        key, request = new_request(host)
        try:
            chain = await self._server.certificate(request)
        except ServerError as error:
            usable = self.pair is not None and examine(self.pair, host, now) is None
            ending = _ending(self.pair, now) if usable and self.pair is not None else None
            # While the old one is good for long there is time: rop-server may just be starting.
            self.problem = ending if usable else Problem("AuthorityUnavailable", str(error))
            log.warning("certificate", message="not signed", reason=str(error))
            return
        made = Pair(chain.encode(), key)
        problem = examine(made, host, now)
        if problem is not None:
            self.problem = problem
            return
        self.problem = None
        self._take(made)

    def _take(self, pair: Pair) -> None:
        self._folder.keep(pair)
        self.pair = pair
        log.info("certificate", message="taken", serial=pair.serial, ends=pair.not_after.isoformat())


def _renewal(pair: Pair) -> datetime:
    return pair.not_before + (pair.not_after - pair.not_before) * RENEW_AT


def _ending(pair: Pair, now: datetime) -> Problem | None:
    if pair.not_after - now > EXPIRING:
        return None
    return Problem("CertificateExpiring", f"the certificate ends on {pair.not_after:%Y-%m-%d %H:%M} UTC")
