"""The book of facts: what the core reports, kept in memory, on disk and in the event journal.

Certificates, denials, claims, manager and tokens are on disk before a call returns; other facts within a second.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rop_data.drill import reserved
from rop_server.core.facade import Battery, DeviceLink
from rop_server.state import record as records
from rop_server.state.database import open_database, transaction
from rop_server.state.gateway_tokens import GatewayTokens
from rop_server.state.journal import Event, Journal
from rop_server.state.labels import Labels
from rop_server.state.leadership import Leadership, Manager
from rop_server.state.record import Certificate, Record, Setting, bounded
from rop_server.state.tokens import TokenStore
from rop_wire.messages import Support

log = structlog.get_logger("rop.state")

DOCUMENTED, OPEN = "Documented", "Open"
# A setting read again and found unchanged is told again after this time, so that observers see it confirmed.
CONFIRM_S = 60.0
_CODE_EVENTS = {
    "Issued": "code.issued",
    "Used": "code.used",
    "UsedAgain": "code.used-again",
    "Expired": "code.expired",
    "Refused": "code.refused",
}
_STATE_EVENTS = {
    records.ONLINE: "device.online",
    records.ASLEEP: "device.asleep",
    records.OFFLINE: "device.offline",
}


@dataclass(frozen=True, slots=True)
class Claims:
    """Enrolment: under `Documented` only claimed UIDs get codes, under `Open` every UID that is not denied."""

    policy: str
    uids: frozenset[str]


class FactsBook:
    """Implements `CoreEvents` and `Admission`. One per process; every method runs on the event loop's thread.

    `drill`: this is a recovery drill, which lets the reserved UIDs in; nobody else does or shows them.
    """

    def __init__(self, path: Path, clock: Callable[[], float], drill: bool = False) -> None:
        self._clock = clock
        self._drill = drill
        self._durable = open_database(path, durable=True)
        self._quick = open_database(path, durable=False)
        self.journal = Journal()
        self.leadership = Leadership(self._durable)
        self.tokens = TokenStore(self._durable)
        self.gateway_tokens = GatewayTokens(self._durable)
        self.labels = Labels(self._durable)
        self.counts: Counter[tuple[str, ...]] = Counter()
        # SHA-256 (hex) of the root that devices are set up with now; set by whoever composes the server.
        self.root_sha256: str | None = None
        # Key ids of L2 CAs whose certificates are accepted no more; set by whoever composes the server.
        self.refused_issuers: frozenset[str] = frozenset()
        self._dirty: set[str] = set()
        self._records: dict[str, Record] = {}
        self._load()

    def _load(self) -> None:
        for uid, text in self._durable.execute("SELECT uid, facts FROM device"):
            self._records[uid] = records.from_text(uid, text)
        self._denied: dict[str, float] = dict(self._durable.execute("SELECT uid, at FROM denied"))
        self._claimed = {uid for (uid,) in self._durable.execute("SELECT uid FROM claim")}
        policy = self._durable.execute("SELECT value FROM fact WHERE name = 'policy'").fetchone()
        self._policy = OPEN if policy is None else policy[0]
        newest = (
            "SELECT uid, serial, not_after, issuer, issued_at, issued_by, address, root FROM certificate"
            " WHERE number IN (SELECT max(number) FROM certificate GROUP BY uid)"
        )
        # Facts are written a moment later than certificates: after a crash the certificate table knows more.
        for uid, serial, *rest, root in self._durable.execute(newest):
            if self._hidden(uid):
                continue
            record = self._record(uid)
            issued_at = rest[2]
            known = record.certificate
            if known is None or (known.serial != serial and (known.issued_at or 0.0) <= issued_at):
                record.certificate = Certificate(serial, *rest)
            if record.pinned_root is None and root is not None:
                record.pinned_root, record.pinned_assumed = root, False
        for uid in self._denied.keys() | self._claimed:
            if not self._hidden(uid):
                self._record(uid)

    def close(self) -> None:
        """Write what is pending, answer waiting polls, close the file."""
        self.flush(self._clock())
        self.journal.close()
        self._quick.close()
        self._durable.close()

    def flush(self, now: float) -> None:
        """Write pending facts; called by the one-second ticker. Facts that cannot be written stay pending."""
        if not self._dirty:
            return
        rows = [(uid, records.to_text(self._records[uid])) for uid in self._dirty if uid in self._records]
        try:
            with transaction(self._quick):
                self._quick.executemany("INSERT OR REPLACE INTO device VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            log.error("state-write", message="facts are not written", error=str(error), pending=len(rows))
            return
        self._dirty.clear()

    # -- reading ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._records)

    def uids(self) -> list[str]:
        """Every UID of the book."""
        return list(self._records)

    def record(self, uid: str) -> Record | None:
        """The facts of one device; not to be changed by the caller."""
        return self._records.get(uid)

    def addresses(self, uid: str) -> tuple[str | None, ...]:
        """Where a device was last, by any of its connections."""
        record = self._records.get(uid)
        known = record.certificate if record is not None else None
        return () if record is None else (record.address, known.address if known is not None else None)

    def states(self) -> Counter[str]:
        """How many devices are in each state."""
        return Counter(record.state for record in self._records.values())

    def document(self, uid: str) -> dict[str, Any] | None:
        """The Device document of the management interface, None when the UID is unknown."""
        record = self._records.get(uid)
        if record is None:
            return None
        return record.document(denied_at=self._denied.get(uid), claimed=uid in self._claimed)

    def claims(self) -> Claims:
        """The enrolment policy and the claimed UIDs."""
        return Claims(self._policy, frozenset(self._claimed))

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every later event, on the event loop; returns the function that ends it."""
        return self.journal.subscribe(callback)

    def certificates(self) -> Iterator[dict[str, Any]]:
        """Every device certificate ever issued, oldest first."""
        for row in self._durable.execute(
            "SELECT uid, serial, not_after, issuer, issued_by, address, issued_at FROM certificate ORDER BY number"
        ):
            yield dict(zip(("uid", "serial", "notAfter", "issuer", "by", "address", "issuedAt"), row, strict=True))

    def newest_certificate(self) -> int:
        """Number of the newest device certificate; they only grow, whatever the clock does. 0: none."""
        newest = self._durable.execute("SELECT max(number) FROM certificate").fetchone()[0]
        return newest or 0

    def certified_since(self, number: int) -> set[str]:
        """UIDs that were given a certificate after the one of this number."""
        rows = self._durable.execute("SELECT DISTINCT uid FROM certificate WHERE number > ?", (number,))
        return {uid for (uid,) in rows}

    # -- Admission --------------------------------------------------------------------------------

    def admit(
        self, uid: str, serial: str | None, issuer: str | None, not_after: float | None, now: float
    ) -> str | None:
        """None when the device may come in, else `Denied`, `Reserved`, `Expired` or `IssuerRetired`."""
        if uid in self._denied:
            return "Denied"
        if self._hidden(uid):
            return "Reserved"
        if not_after is not None and now > not_after:
            return "Expired"
        if issuer is not None and issuer in self.refused_issuers:
            return "IssuerRetired"
        return None

    def may_enrol(self, uid: str) -> str | None:
        """None when this UID may get and use a code, else `Denied`, `Reserved` or `NotClaimed`."""
        if uid in self._denied:
            return "Denied"
        if self._hidden(uid):
            return "Reserved"
        if self._policy == DOCUMENTED and uid not in self._claimed:
            return "NotClaimed"
        return None

    def use_approval(self, uid: str, now: float) -> bool:
        """Whether one renewal was approved and its time is not over. It is gone then, also after a crash."""
        name = (f"renewal:{uid}",)
        found = self._durable.execute("SELECT value FROM fact WHERE name = ?", name).fetchone()
        if found is None or uid in self._denied:
            return False
        self._durable.execute("DELETE FROM fact WHERE name = ?", name)
        in_time = now <= float(found[0])
        if in_time:
            self.note("renewal.approval-used", uid, {}, now)
        return in_time

    def _hidden(self, uid: str) -> bool:
        return not self._drill and reserved(uid)

    # -- CoreEvents -------------------------------------------------------------------------------

    def connected(self, link: DeviceLink, transport: str, at: float) -> None:
        """A handshake arrived on `Signaling` or `KeepAlive`."""
        record = self._record(link.uid)
        record.take_link(link, at)
        if record.first_seen is None:
            record.first_seen = at
        if record.pinned_root is None and self.root_sha256 is not None:
            record.pinned_root, record.pinned_assumed = self.root_sha256, True
        self.counts["connected", transport] += 1
        self._moved(record, link, at, True)

    def disconnected(self, uid: str, link: DeviceLink | None, transport: str, reason: str, at: float) -> None:
        """A connection ended; `link` is what remains."""
        record = self._records.get(uid)
        if record is None:
            return
        self.counts["disconnected", transport] += 1
        self._moved(record, link, at, False)

    def heartbeat(self, uid: str, battery: Battery | None, at: float) -> None:
        """A heartbeat arrived."""
        record = self._records.get(uid)
        if record is None:
            return
        record.last_seen = at
        self._dirty.add(uid)
        if battery is not None and record.take_battery(battery):
            self._tell("device.changed", record, at)

    def woken(self, uid: str, at: float) -> None:
        """We woke a battery device."""
        record = self._record(uid)
        record.wakes += 1
        record.last_wake = at
        self.counts[("woken",)] += 1
        self._tell("device.woken", record, at)

    def networked(self, uid: str, wired: bool, at: float) -> None:
        """The device told which network it uses."""
        record = self._record(uid)
        if record.wired != wired:
            record.wired = wired
            self._dirty.add(uid)
            self._tell("device.changed", record, at)

    def capable(self, uid: str, support: Support, at: float) -> None:
        """The device told what its channels can do."""
        record = self._record(uid)
        if record.take_support(support):
            self._dirty.add(uid)
            self._tell("device.changed", record, at)

    def learned(self, uid: str, settings: dict[str, object], how: str, at: float) -> None:
        """Settings of a device passed by."""
        record = self._record(uid)
        news = how == "Written"
        for name, value in settings.items():
            known = record.settings.get(name)
            news = news or known is None or known.value != bounded(value) or at - known.at >= CONFIRM_S
            record.settings[name] = Setting(bounded(value), at, how)
        self._dirty.add(uid)
        if news:
            self._tell("device.settings", record, at)

    def alarm(self, uid: str, event: dict[str, object], at: float) -> None:
        """A device raised an alarm."""
        self.counts[("alarm",)] += 1
        self.note("device.alarm", uid, {name: bounded(value) for name, value in event.items()}, at)

    def certificate_issued(
        self,
        uid: str,
        serial: str,
        not_after: float,
        issuer: str,
        by: str,
        address: str | None,
        at: float,
    ) -> None:
        """A device certificate was issued; on disk when this returns."""
        # A short-term code came out of a session that named the root of now; a renewal says nothing new.
        root = self.root_sha256 if by == "ShortCode" else None
        self._durable.execute(
            "INSERT INTO certificate (uid, serial, not_after, issuer, issued_by, address, root, issued_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (uid, serial, not_after, issuer, by, address, root, at),
        )
        record = self._record(uid)
        record.certificate = Certificate(serial, not_after, issuer, at, by, address)
        if root is not None:
            record.pinned_root, record.pinned_assumed = root, False
        self.counts["certificate", by] += 1
        self._tell("device.certificate", record, at)

    def registered(self, uid: str, address: str | None, at: float) -> None:
        """The device registered on 61002."""
        record = self._record(uid)
        record.registered_at = at
        self._tell("device.registered", record, at)

    def code(self, uid: str, what: str, address: str | None, at: float) -> None:
        """Audit of short-term codes."""
        self.counts["code", what] += 1
        self.note(_CODE_EVENTS[what], uid, {"address": address}, at)

    def refused(self, uid: str, port: str, reason: str, at: float) -> None:
        """A device was refused at a port. Counted and logged only: a denied device may knock for ever."""
        self.counts["refused", port, reason] += 1
        log.info("device-refused", uid=uid, port=port, reason=reason)

    # -- decisions of the manager -----------------------------------------------------------------

    def take_management(self, manager: str, take_over: bool) -> Manager:
        """Become the manager. Raises NotManager."""
        taken = self.leadership.take(manager, take_over)
        self.note("manager.changed", None, {"id": taken.id, "fence": taken.fence}, self._clock())
        return taken

    def set_access(self, uid: str, access: str) -> dict[str, Any]:
        """`Denied` or `Allowed`; on disk when this returns. The caller cuts the connections."""
        now = self._clock()
        deny = access == "Denied"
        if deny != (uid in self._denied):
            if deny:
                self._durable.execute("INSERT OR REPLACE INTO denied VALUES (?, ?)", (uid, now))
                self._denied[uid] = now
            else:
                self._durable.execute("DELETE FROM denied WHERE uid = ?", (uid,))
                self._denied.pop(uid, None)
            self._tell("device.access", self._record(uid), now)
        document = self._record(uid).document(denied_at=self._denied.get(uid), claimed=uid in self._claimed)
        self._forget_empty(uid)
        return document

    def approve_renewal(self, uid: str, until: float) -> None:
        """Let this device renew once although its code is by a retired signKey; on disk when this returns."""
        self._durable.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (f"renewal:{uid}", str(until)))
        self.note("renewal.approved", uid, {"until": until}, self._clock())

    def replace_claims(self, policy: str, uids: Iterable[str]) -> Claims:
        """Set the policy and the claimed UIDs; on disk when this returns."""
        wanted = set(uids)
        added, removed = wanted - self._claimed, self._claimed - wanted
        with transaction(self._durable):
            self._durable.execute("INSERT OR REPLACE INTO fact VALUES ('policy', ?)", (policy,))
            self._durable.executemany("INSERT INTO claim VALUES (?)", [(uid,) for uid in added])
            self._durable.executemany("DELETE FROM claim WHERE uid = ?", [(uid,) for uid in removed])
        self._policy, self._claimed = policy, wanted
        now = self._clock()
        for uid in sorted(added | removed):
            self._tell("device.changed", self._record(uid), now)
            self._forget_empty(uid)
        return self.claims()

    def claim(self, uid: str) -> Claims:
        """Claim one UID."""
        return self.replace_claims(self._policy, self._claimed | {uid})

    def release(self, uid: str) -> Claims:
        """End the claim of one UID."""
        return self.replace_claims(self._policy, self._claimed - {uid})

    # -- events -----------------------------------------------------------------------------------

    def note(self, type_: str, uid: str | None, data: dict[str, Any], at: float) -> None:
        """Record an event that is not about facts of a device (`config.changed`, `server.certificate`, ...)."""
        self.journal.append(type_, uid, at, json.dumps(data, separators=(",", ":")).encode())

    def _record(self, uid: str) -> Record:
        record = self._records.get(uid)
        if record is None:
            record = self._records[uid] = Record(uid)
        return record

    def _forget_empty(self, uid: str) -> None:
        """A UID about which nothing is known any more leaves the book."""
        record = self._records[uid]
        if uid not in self._claimed and uid not in self._denied and record == Record(uid):
            del self._records[uid]
            self._durable.execute("DELETE FROM device WHERE uid = ?", (uid,))

    def _moved(self, record: Record, link: DeviceLink | None, at: float, changed: bool) -> None:
        state = records.OFFLINE if link is None else records.ASLEEP if link.asleep else records.ONLINE
        record.last_seen = at
        self._dirty.add(record.uid)
        if state != record.state:
            record.state, record.since = state, at
            self._tell(_STATE_EVENTS[state], record, at)
        elif changed:
            self._tell("device.changed", record, at)

    def _tell(self, type_: str, record: Record, at: float) -> None:
        uid = record.uid
        self._dirty.add(uid)
        document = record.document(denied_at=self._denied.get(uid), claimed=uid in self._claimed)
        self.journal.append(type_, uid, at, json.dumps(document, separators=(",", ":")).encode())
