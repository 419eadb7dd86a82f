"""Who gets a device certificate or the keys of the encrypted transport: the decisions behind 61001 and 61002.

Source: ROP v1.0 wire specification, device-protocol 2.2 and 2.3, pki-and-config 4; discrepancies B3 to B6,
C2.1, C2.2, C3.7.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Network

from rop_server.core.facade import Admission, CallError, CoreEvents, IssuedCode
from rop_server.core.hub import Clock
from rop_server.core.settings import Settings
from rop_wire import auth, provisioning
from rop_wire.encrypted import access_key, secret_access_key, uid_hash
from rop_wire.errors import WireError
from rop_wire.symbols import SYMBOLS

GUESSES_PER_MINUTE = 20
ADDRESSES_REMEMBERED = 4096
# A camera that lost the answer asks again with the same code; nobody else may, and not for long.
RETRY_S = 15.0
RETRIES = 3
# Whoever drains asks again after a while: no code is issued in between.
DRAIN_MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A device certificate with its key; `chain_pem` is leaf and L2 CA, `not_after` epoch seconds."""

    serial: str
    issuer: str
    not_after: float
    chain_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and JSON body of an HTTPS service."""

    status: int
    body: bytes


def network_of(address: str) -> str:
    """What one party holds: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        return str(IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


@dataclass(slots=True)
class _Grant:
    """A code that gave a certificate. `used_up`: the device showed that it has it."""

    address: str
    at: float
    until: float
    issued: int = 1
    used_up: bool = False

    def again(self, address: str, now: float) -> bool:
        """Whether the same camera may have lost the answer."""
        same = not self.used_up and address == self.address
        return same and now - self.at < RETRY_S and self.issued < RETRIES


class GuessLimiter:
    """Counts failed authorization attempts by address. Bounded memory; time is an argument."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def blocked(self, address: str, now: float) -> bool:
        """True when this address has failed too often within the running minute."""
        began, count = self._failures.get(network_of(address), (now, 0))
        return count >= GUESSES_PER_MINUTE and now - began < 60

    def failed(self, address: str, now: float) -> None:
        """Count one failure."""
        address = network_of(address)
        began, count = self._failures.pop(address, (now, 0))
        if now - began >= 60:
            began, count = now, 0
        self._failures[address] = (began, count + 1)
        if len(self._failures) > ADDRESSES_REMEMBERED:
            self._failures.popitem(last=False)


class Enrolment:
    """Short-term codes, device certificates and registrations.

    `sign` makes a certificate for a UID valid for a number of days; it may raise, then nothing is answered.
    """

    def __init__(
        self,
        settings: Settings,
        events: CoreEvents,
        admission: Admission,
        clock: Clock,
        sign: Callable[[str, float], SignedCertificate],
    ) -> None:
        self.settings = settings
        self._events = events
        self._admission = admission
        self._clock = clock
        self._sign = sign
        self._codes = auth.CodeTable()
        self._guesses = GuessLimiter()
        self._grants: dict[str, dict[str, _Grant]] = {}  # by UID, by code
        self._paused_until = 0.0

    def issue_code(self, uid: str) -> IssuedCode:
        """A fresh short-term code for the UID. Raises `CallError` when it may not enrol."""
        if not auth.valid_uid(uid):
            raise CallError("invalid_parameter", "uid")
        reason = self._admission.may_enrol(uid)
        wall = self._clock.wall()
        if reason is not None:
            self._events.code(uid, "Refused", None, wall)
            raise CallError("auth_failed", reason)
        pause = self._paused_until - self._clock.monotonic()
        if pause > 0:
            raise CallError("frequent_request", f"the root changes: no session for another {pause:.0f} s")
        life = self.settings.code_life
        code = self._codes.issue(uid, self._clock.monotonic(), life)
        self._events.code(uid, "Issued", None, wall)
        return IssuedCode(uid, code, wall + life)

    def drain(self) -> float:
        """Issue no code until the last one is used up or has expired; seconds until then at most."""
        now = self._clock.monotonic()
        spent = {code for own in self._grants.values() for code, each in own.items() if each.used_up}
        left = self._codes.ends(now, spent)
        self._paused_until = now + left + DRAIN_MARGIN_S if left else 0.0
        return left

    def purge(self) -> None:
        """Forget old codes; codes never used are reported as expired."""
        now = self._clock.monotonic()
        for uid in [uid for uid, own in self._grants.items() if all(each.until <= now for each in own.values())]:
            del self._grants[uid]
        for uid in self._codes.purge(now):
            self._events.code(uid, "Expired", None, self._clock.wall())

    def certificate(self, body: bytes, address: str) -> Reply:
        """61001: a certificate for a code. Source: device-protocol 2.2."""
        try:
            asked = provisioning.CertificateRequest.decode(body)
        except WireError:
            return _refuse("invalid_parameter")
        uid, code = asked.uid, asked.code
        if uid is None or code is None or not auth.valid_uid(uid):
            return _refuse("invalid_parameter")
        now = self._clock.monotonic()
        if self._guesses.blocked(address, now):
            return _refuse("code_invalid", 200)
        short = len(code) == auth.SHORT_CODE_LENGTH
        refusal = self._short(uid, code, address) if short else self._long(uid, code)
        if refusal is not None:
            self._guesses.failed(address, now)
            return refusal
        wall = self._clock.wall()
        made = self._sign(uid, self.settings.client_cert_days)
        by = "ShortCode" if short else "LongCode"
        self._events.certificate_issued(uid, made.serial, made.not_after, made.issuer, by, address, wall)
        if short:
            self._grant(code, uid, address, now)
            self._events.code(uid, "Used", address, wall)
        renewal = auth.long_term_code(self.settings.sign_key, uid)
        reply = provisioning.CertificateReply(cert=made.chain_pem, code=renewal, key=made.key_pem)
        return Reply(200, reply.encode())

    def registration(self, body: bytes, certificate_uid: str, address: str) -> Reply:
        """61002: the keys of the encrypted transport and further ports. Source: device-protocol 2.3."""
        try:
            asked = provisioning.RegistrationRequest.decode(body)
        except WireError:
            return _refuse("invalid_parameter")
        uid, told = asked.uid, self.settings
        if uid is None or uid != certificate_uid or not auth.valid_uid(uid):
            return _refuse("invalid_parameter")
        self._events.registered(uid, address, self._clock.wall())
        for grant in self._grants.get(uid, {}).values():
            grant.used_up = True  # it came with its certificate: the answer was not lost
        index = told.current_key_index
        reply = provisioning.RegistrationReply(
            access_key=access_key(index, uid),
            secret_access_key=secret_access_key(told.device_keys[index], uid_hash(uid)),
            keep_alive_port=told.ports.keep_alive_tcp,
            signaling_port=told.ports.signaling_tls,
            heartbeat_interval_s=told.heartbeat_interval_s,
        )
        return Reply(200, reply.encode())

    def _short(self, uid: str, code: str, address: str) -> Reply | None:
        wall = self._clock.wall()
        if self._admission.may_enrol(uid) is not None:
            self._events.code(uid, "Refused", address, wall)
            return _refuse("code_invalid", 200)
        symbol = self._codes.check(code, uid, self._clock.monotonic())
        grant, now = self._grants.get(uid, {}).get(code), self._clock.monotonic()
        if symbol is None and grant is not None and not grant.again(address, now):
            self._events.code(uid, "UsedAgain", address, wall)
            return _refuse("code_invalid", 200)
        if symbol is None:
            return None
        expired = symbol == "code_expired"
        self._events.code(uid, "Expired" if expired else "Refused", address, wall)
        if expired:
            return _refuse("code_invalid")
        # An unknown code is refused with status 200, as camera firmware expects (discrepancies B5).
        return _refuse(symbol, 200 if symbol == "code_invalid" else None)

    def _grant(self, code: str, uid: str, address: str, now: float) -> None:
        own = self._grants.setdefault(uid, {})
        if code in own:
            own[code].issued += 1
        else:
            own[code] = _Grant(address, now, now + self.settings.code_life)

    def _long(self, uid: str, code: str) -> Reply | None:
        wall = self._clock.wall()
        symbol = self._verify(code, uid, wall)
        if symbol is not None:
            return _refuse(symbol, 200 if symbol == "signature_not_matched" else None)
        reason = self._admission.admit(uid, None, None, None, wall)
        if reason is None:
            return None
        self._events.refused(uid, "getCertHttps", reason, wall)
        return _refuse("code_invalid", 200)

    def _verify(self, code: str, uid: str, wall: float) -> str | None:
        """As `auth.verify_long_term`, with the signKey of now or one that is being replaced, or with a retired
        one for a device whose renewal was approved.
        """
        told = self.settings
        symbol = auth.verify_long_term(told.sign_key, code, uid, wall)
        for key in told.old_sign_keys:
            if symbol != "signature_not_matched":
                break
            symbol = auth.verify_long_term(key, code, uid, wall)
        for key in told.retired_sign_keys if symbol == "signature_not_matched" else ():
            if auth.verify_long_term(key, code, uid, wall) is None and self._admission.use_approval(uid, wall):
                return None
        return symbol


def _refuse(symbol: str, status: int | None = None) -> Reply:
    told = SYMBOLS[symbol]
    body = provisioning.Refusal(symbol, told.message).encode()
    return Reply(told.status if status is None else status, body)
