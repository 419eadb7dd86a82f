"""The hand-over of a camera, once: a journal in `status.provision` is written before each step it announces.

Phases: SessionOpen (a code was issued, the camera may have it) -> HandedOver (the camera said that it is done) ->
Succeeded (it connected) or Failed. Pending: the camera refused and has changed nothing, so the same attempt goes
on, a few times. After HandedOver, Succeeded or Failed an attempt never runs again: `spec.provision.attempt` + 1 is
once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from rop_operator.domain.conditions import Condition, moment_of, previous, reason_of, timestamp
from rop_operator.domain.plan import HandOver
from rop_operator.domain.snapshot import CameraSnapshot

Phase = Literal["Pending", "SessionOpen", "HandedOver", "Succeeded", "Failed"]
MAX_TRIES = 3
BACKOFF = 10.0
# A code may be used until its last second; the certificate request itself takes a moment.
CODE_MARGIN = 5.0
CLAIM_WAIT = 1.0
PROOF_SECONDS = 180.0
# Symbols after which the camera is as before and the cause can pass by itself. Source: lan-setup 2.
TRANSIENT = frozenset(
    {"download_ca_failed", "download_private_key_failed", "registe_failed", "cmd_timeout", "cmd_exec_error"}
)
# Reasons of this module; any other one came from trying and stays until the next try ended.
_OWN_REASONS = frozenset({"HandingOver", "AwaitingOnline", "WaitingForClaim", "NotRequested", "Suspended"})


@dataclass(frozen=True, slots=True)
class Journal:
    """What was done of an attempt. `before` is the serial of the newest certificate when the session was opened: a
    different one later proves that the camera used its code, without comparing clocks.
    """

    attempt: int
    phase: Phase
    at: datetime
    tries: int = 0
    symbol: str | None = None
    address: str | None = None
    before: str | None = None

    def to_status(self) -> dict[str, Any]:
        """As it is kept in `status.provision`."""
        kept = {
            "attempt": self.attempt,
            "phase": self.phase,
            "at": timestamp(self.at),
            "tries": self.tries,
            "symbol": self.symbol,
            "address": self.address,
            "certificateBefore": self.before,
        }
        return {key: value for key, value in kept.items() if value is not None}


def journal_of(status: Mapping[str, Any]) -> Journal | None:
    """The journal of a status, None when there is none."""
    kept = status.get("provision")
    at = moment_of(kept.get("at")) if isinstance(kept, Mapping) else None
    if not isinstance(kept, Mapping) or at is None:
        return None
    return Journal(
        attempt=int(kept.get("attempt", 0)),
        phase=kept.get("phase", "Pending"),
        at=at,
        tries=int(kept.get("tries", 0)),
        symbol=kept.get("symbol"),
        address=kept.get("address"),
        before=kept.get("certificateBefore"),
    )


def with_journal(status: Mapping[str, Any], journal: Journal) -> dict[str, Any]:
    """The status with this journal: write it before the step it announces."""
    return {**status, "provision": journal.to_status()}


def session_opened(snapshot: CameraSnapshot, attempt: int, address: str | None) -> Journal:
    """The entry to write before the session is opened and handed to the camera at `address`."""
    before = journal_of(snapshot.status)
    tries = before.tries if before and before.attempt == attempt else 0
    return Journal(attempt, "SessionOpen", snapshot.now, tries + 1, None, address, _serial(snapshot))


def handed_over(journal: Journal, now: datetime) -> Journal:
    """The camera answered that it is set up."""
    return replace(journal, phase="HandedOver", at=now, symbol=None)


def refused(journal: Journal, symbol: str, now: datetime) -> Journal:
    """The camera answered with an error symbol: it is as it was before."""
    again = symbol in TRANSIENT and journal.tries < MAX_TRIES
    return replace(journal, phase="Pending" if again else "Failed", at=now, symbol=symbol)


def not_begun(journal: Journal, symbol: str, now: datetime) -> Journal:
    """Nothing reached the camera (the server refused a session, or it could not be connected to): not a try."""
    return replace(journal, phase="Pending", at=now, symbol=symbol, tries=journal.tries - 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What provisioning asks for now: an action, a journal to keep, a condition, and when to look again."""

    condition: Condition
    action: HandOver | None = None
    journal: Journal | None = None
    wait: float | None = None
    failed: bool = False


def _serial(snapshot: CameraSnapshot) -> str | None:
    certificate = snapshot.device.certificate if snapshot.device else None
    return certificate.serial if certificate else None


def _known(snapshot: CameraSnapshot) -> bool:
    """Whether the device has been this server's before: connected, registered or certified."""
    device = snapshot.device
    if device is None:
        return False
    return snapshot.talking or device.certificate is not None or device.registered_at is not None


def _provisioned(status: Literal["True", "False", "Unknown"], reason: str, message: str = "") -> Condition:
    return Condition("Provisioned", status, reason, message)


def _done(journal: Journal | None, reason: str) -> Verdict:
    ended = None if journal is None else replace(journal, phase="Succeeded", symbol=None)
    return Verdict(_provisioned("True", reason), journal=ended)


def _failure(journal: Journal) -> Verdict:
    reason = reason_of(journal.symbol or "")
    message = (
        f"attempt {journal.attempt} failed ({journal.symbol}); mend the cause, then raise spec.provision.attempt"
        f" to {journal.attempt + 1}"
    )
    return Verdict(_provisioned("False", reason, message), journal=journal, failed=True)


def judge(snapshot: CameraSnapshot) -> Verdict:
    """The verdict for this moment."""
    wanted = snapshot.spec.provision
    journal = journal_of(snapshot.status)
    if wanted is None:
        return _unasked(snapshot, journal)
    if journal is None or journal.attempt < wanted.attempt:
        if snapshot.talking or (_known(snapshot) and wanted.attempt == 1):
            return _done(Journal(wanted.attempt, "Succeeded", snapshot.now), "AlreadyTalking")
        return _hand_over(snapshot, None)
    if journal.phase == "Succeeded":
        return _done(journal, "SetUp" if journal.tries else "AlreadyTalking")
    return _running(snapshot, journal)


def _unasked(snapshot: CameraSnapshot, journal: Journal | None) -> Verdict:
    if _known(snapshot):
        return Verdict(_provisioned("True", "AlreadyTalking"), journal=journal)
    message = "the server has never seen this UID; write spec.provision, or set it up with ropctl provision"
    return Verdict(_provisioned("False", "NotRequested", message), journal=journal)


def _running(snapshot: CameraSnapshot, journal: Journal) -> Verdict:
    age = (snapshot.now - journal.at).total_seconds()
    renewed = _serial(snapshot) is not None and _serial(snapshot) != journal.before
    # A server that shows no certificates proves it by the connection alone.
    if snapshot.talking and (renewed or not snapshot.managed_interface or journal.phase in ("Pending", "Failed")):
        return _done(journal, "SetUp")
    if journal.phase == "Failed":
        return _failure(journal)
    if journal.phase == "HandedOver" or (journal.phase == "SessionOpen" and renewed):
        return _proof(snapshot, journal)
    if journal.phase == "SessionOpen":
        left = snapshot.code_expiry + CODE_MARGIN - age
        if left > 0:
            message = "a hand-over was begun; its end is not known before the code has expired"
            return Verdict(_provisioned("False", "HandingOver", message), journal=journal, wait=left)
        if journal.tries >= MAX_TRIES:
            return _failure(replace(journal, phase="Failed", symbol="CameraSilent"))
        return _hand_over(snapshot, journal)
    left = BACKOFF * 3 ** max(0, journal.tries - 1) - age
    if left > 0:
        reason = reason_of(journal.symbol or "")
        message = (
            f"try {journal.tries} of {MAX_TRIES} ended with {journal.symbol}; the camera is unchanged, once more"
        )
        return Verdict(_provisioned("False", reason, message), journal=journal, wait=left)
    return _hand_over(snapshot, journal)


def _proof(snapshot: CameraSnapshot, journal: Journal) -> Verdict:
    over = journal if journal.phase == "HandedOver" else handed_over(journal, snapshot.now)
    left = PROOF_SECONDS - (snapshot.now - over.at).total_seconds()
    if left <= 0:
        return _failure(replace(over, phase="Failed", symbol="NoOnlineProof"))
    message = "the camera was handed over and has to connect"
    return Verdict(_provisioned("False", "AwaitingOnline", message), journal=over, wait=left)


def _hand_over(snapshot: CameraSnapshot, journal: Journal | None) -> Verdict:
    """Do it now, unless something has to come first."""
    wanted = snapshot.spec.provision
    if wanted is None or wanted.lan is None:
        message = "waiting for a person: ropctl provision on the camera's LAN, or ropctl qr"
        return Verdict(_provisioned("False", "NotRequested", message), journal=journal)
    if snapshot.suspended:
        return Verdict(_provisioned("False", "Suspended", "suspended before the hand-over"), journal=journal)
    if not snapshot.claimed:
        message = "the server does not let this UID enrol yet"
        return Verdict(_provisioned("False", "WaitingForClaim", message), journal=journal, wait=CLAIM_WAIT)
    before = previous(snapshot.status, "Provisioned")
    same = before.get("observedGeneration") == snapshot.document.generation and before.get("status") == "False"
    condition = _provisioned("False", "HandingOver", "the hand-over is being done")
    if same and before.get("reason") not in _OWN_REASONS:
        condition = _provisioned("False", str(before["reason"]), str(before.get("message", "")))
    action = HandOver(snapshot.uid, wanted.attempt, wanted.lan.address, wanted.lan.port)
    return Verdict(condition, action, journal)
