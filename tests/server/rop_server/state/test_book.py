"""The book of facts: what is remembered, what is told, what survives."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rop_server.core.facade import Battery
from rop_server.state.book import FactsBook
from rop_server.state.database import StateTooNew
from rop_server.state.journal import Event
from rop_server.state.leadership import NotManager
from rop_wire.messages import Channel, Support

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"


def types(book: FactsBook) -> list[str]:
    events = book.journal.since(1, book.journal.epoch)
    assert events is not None
    return [event.type for event in events]


def last(book: FactsBook) -> Event:
    events = book.journal.since(1, book.journal.epoch)
    assert events
    return events[-1]


def reopen(book: FactsBook, tmp_path: Path, clock: Any) -> FactsBook:
    book.close()
    return FactsBook(tmp_path / "state.db", clock)


def test_a_device_goes_through_its_states(book: FactsBook, devices: Any, clock: Any) -> None:
    devices.connect(UID, battery=True, address="192.0.2.7")
    asleep = book.document(UID)
    assert asleep is not None
    assert (asleep["state"], asleep["family"], asleep["address"]) == ("Asleep", "battery", "192.0.2.7")
    assert asleep["battery"] == {"percent": 80, "charge": "none", "at": "2023-11-14T22:13:20.000Z"}
    clock.now += 5
    devices.drop(UID)
    offline = book.document(UID)
    assert offline is not None
    assert (offline["state"], offline["since"]) == ("Offline", "2023-11-14T22:13:25.000Z")
    assert offline["firstSeen"] == "2023-11-14T22:13:20.000Z"
    assert types(book) == ["device.asleep", "device.offline"]
    assert last(book).data == offline


def test_every_handshake_is_told(book: FactsBook, devices: Any) -> None:
    devices.connect(UID, firmware="v1")
    devices.connect(UID, firmware="v1")
    devices.connect(UID, firmware="v2")
    assert types(book) == ["device.online", "device.changed", "device.changed"]
    assert last(book).data["firmware"] == "v2"


def test_heartbeats_tell_only_changed_battery_values(book: FactsBook, devices: Any, clock: Any) -> None:
    devices.connect(UID, battery=True)
    for percent in (80, 80, 79):
        clock.now += 20
        book.heartbeat(UID, Battery(percent, "none", clock.now), clock.now)
    book.heartbeat(UID, None, clock.now)
    assert types(book) == ["device.asleep", "device.changed"]
    document = book.document(UID)
    assert document is not None and document["battery"]["percent"] == 79
    assert document["lastSeen"] == "2023-11-14T22:14:20.000Z"


def test_facts_survive_a_restart(book: FactsBook, devices: Any, tmp_path: Path, clock: Any) -> None:
    devices.connect(UID, battery=True, certificate_serial="0a", certificate_not_after=clock.now + 9)
    book.woken(UID, clock.now)
    book.learned(UID, {"displayName": "Yard", "pir.sensitivity": 40}, "Read", clock.now)
    book.registered(UID, "192.0.2.1", clock.now)
    before = book.document(UID)
    epoch = book.journal.epoch
    again = reopen(book, tmp_path, clock)
    try:
        after = again.document(UID)
        assert before is not None and after is not None
        assert after == before | {"state": "Offline", "since": before["lastSeen"]}
        assert after["pinnedRoot"] == {"sha256": "ab" * 32, "assumed": True}
        assert again.journal.epoch != epoch
        assert again.journal.since(1, epoch) is None
    finally:
        again.close()


def test_a_flush_writes_the_facts(book: FactsBook, devices: Any, tmp_path: Path, clock: Any) -> None:
    devices.connect(UID)
    with sqlite3.connect(tmp_path / "state.db") as reader:
        assert reader.execute("SELECT count(*) FROM device").fetchone() == (0,)
        book.flush(clock.now + 1)
        assert reader.execute("SELECT uid FROM device").fetchall() == [(UID,)]
    reader.close()


@pytest.mark.parametrize(("by", "assumed"), [("ShortCode", False), ("LongCode", None)])
def test_certificates(book: FactsBook, clock: Any, by: str, assumed: bool | None) -> None:
    book.certificate_issued(UID, "0b", clock.now + 100, "e1", by, "192.0.2.9", clock.now)
    document = book.document(UID)
    assert document is not None
    assert document["certificate"] == {
        "serial": "0b",
        "notAfter": "2023-11-14T22:15:00.000Z",
        "issuer": "e1",
        "issuedAt": "2023-11-14T22:13:20.000Z",
        "by": by,
        "address": "192.0.2.9",
    }
    pinned = None if assumed is None else {"sha256": "ab" * 32, "assumed": assumed}
    assert document["pinnedRoot"] == pinned
    assert document["state"] == "NeverSeen"
    assert [row["serial"] for row in book.certificates()] == ["0b"]


def test_a_shown_certificate_replaces_only_an_older_one(book: FactsBook, devices: Any, clock: Any) -> None:
    book.certificate_issued(UID, "0b", clock.now + 100, "e1", "ShortCode", None, clock.now)
    devices.connect(UID, certificate_serial="0a", certificate_not_after=clock.now + 50)
    document = book.document(UID)
    assert document is not None and document["certificate"]["serial"] == "0b"
    devices.connect(UID, certificate_serial="0c", certificate_not_after=clock.now + 500)
    document = book.document(UID)
    assert document is not None and document["certificate"]["serial"] == "0c"


def test_decisions_and_certificates_survive_sudden_death(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from rop_server.state.book import FactsBook
book = FactsBook(Path({str(tmp_path / "state.db")!r}), lambda: 1.0)
book.root_sha256 = "cd" * 32
book.certificate_issued("{UID}", "0b", 100.0, "e1", "ShortCode", None, 1.0)
book.set_access("{UID}", "Denied")
book.replace_claims("Documented", ["{OTHER}"])
book.take_management("engine", False)
print(book.tokens.create("ops", "Observe", 1.0))
os._exit(9)
"""
    path = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 9, run.stderr
    # `print` was not flushed by the sudden end, so the token is looked for by name.
    book = FactsBook(tmp_path / "state.db", lambda: 2.0)
    try:
        document = book.document(UID)
        assert document is not None
        assert document["certificate"]["serial"] == "0b"
        assert document["pinnedRoot"] == {"sha256": "cd" * 32, "assumed": False}
        assert document["access"] == "Denied"
        assert book.claims().policy == "Documented"
        assert book.claims().uids == {OTHER}
        assert (book.leadership.current.id, book.leadership.current.fence) == ("engine", 1)
        assert [token.name for token in book.tokens.tokens()] == ["ops"]
    finally:
        book.close()


def test_admission(book: FactsBook, clock: Any) -> None:
    assert book.admit(UID, "01", "e1", clock.now + 1, clock.now) is None
    assert book.admit(UID, "01", "e1", clock.now - 1, clock.now) == "Expired"
    assert book.admit(UID, None, None, None, clock.now) is None
    book.set_access(UID, "Denied")
    assert book.admit(UID, "01", "e1", clock.now + 1, clock.now) == "Denied"
    assert book.may_enrol(UID) == "Denied"
    book.set_access(UID, "Allowed")
    assert book.admit(UID, "01", "e1", clock.now + 1, clock.now) is None


def test_access_is_told_once(book: FactsBook) -> None:
    for access in ("Denied", "Denied", "Allowed"):
        assert book.set_access(UID, access)["access"] == access
    assert types(book) == ["device.access", "device.access"]


def test_enrolment_policy(book: FactsBook) -> None:
    assert book.may_enrol(UID) is None
    book.replace_claims("Documented", [OTHER])
    assert book.may_enrol(UID) == "NotClaimed"
    assert book.may_enrol(OTHER) is None
    document = book.document(OTHER)
    assert document is not None and (document["state"], document["claimed"]) == ("NeverSeen", True)
    book.claim(UID)
    assert book.may_enrol(UID) is None
    book.release(UID)
    book.replace_claims("Open", [])
    assert book.may_enrol(UID) is None
    assert book.uids() == [], "a UID that was only claimed leaves with its claim"


def test_settings_are_told_when_written_changed_or_confirmed(book: FactsBook, clock: Any) -> None:
    book.learned(UID, {"displayName": "A"}, "Read", clock.now)
    book.learned(UID, {"displayName": "A"}, "Read", clock.now + 1)
    book.learned(UID, {"displayName": "A"}, "Written", clock.now + 2)
    book.learned(UID, {"displayName": "B"}, "Read", clock.now + 3)
    book.learned(UID, {"displayName": "B"}, "Read", clock.now + 90)
    assert types(book) == ["device.settings"] * 4
    assert last(book).data["settings"] == {
        "displayName": {"value": "B", "at": "2023-11-14T22:14:50.000Z", "how": "Read"}
    }


def test_codes_alarms_and_refusals(book: FactsBook, clock: Any) -> None:
    for what in ("Issued", "Used", "UsedAgain", "Expired", "Refused"):
        book.code(UID, what, "192.0.2.3", clock.now)
    book.alarm(UID, {"channelId": "0", "status": "MD"}, clock.now)
    book.refused(UID, "signalingTLS", "Denied", clock.now)
    names = ["issued", "used", "used-again", "expired", "refused"]
    assert types(book) == [f"code.{name}" for name in names] + ["device.alarm"]
    assert last(book).data == {"channelId": "0", "status": "MD"}
    assert book.counts["refused", "signalingTLS", "Denied"] == 1
    assert book.uids() == [], "asking for codes of any UID must not fill the book"


def test_the_manager_and_its_fence(book: FactsBook, tmp_path: Path, clock: Any) -> None:
    book.leadership.check(None, None)
    assert book.take_management("a", False).fence == 1
    assert book.take_management("a", False).fence == 2
    for manager, fence, symbol in [("b", 2, "managed_elsewhere"), ("a", 1, "fenced"), ("a", None, "fenced")]:
        with pytest.raises(NotManager) as refused:
            book.leadership.check(manager, fence)
        assert refused.value.symbol == symbol
    with pytest.raises(NotManager):
        book.take_management("b", False)
    assert book.take_management("b", True).fence == 3
    book.leadership.check("b", 7)
    again = reopen(book, tmp_path, clock)
    try:
        assert (again.leadership.current.id, again.leadership.current.fence) == ("b", 7)
    finally:
        again.close()


def test_texts_of_devices_are_bounded(book: FactsBook, devices: Any, clock: Any) -> None:
    devices.connect(UID, model="m" * 60_000)
    book.learned(UID, {"displayName": "n" * 60_000}, "Read", clock.now)
    book.alarm(UID, {"status": "s" * 60_000}, clock.now)
    events = book.journal.since(1, book.journal.epoch)
    assert events is not None and max(len(event.body) for event in events) < 2000


def test_a_full_disk_loses_no_facts(book: FactsBook, devices: Any, tmp_path: Path, log_lines: Any) -> None:
    devices.connect(UID)
    pages = book._quick.execute("PRAGMA page_count").fetchone()[0]
    book._quick.execute(f"PRAGMA max_page_count={pages}")
    for number in range(300):
        devices.connect(f"9527{number:012d}", model="m" * 200)
    book.flush(0)
    assert '"action":"state-write"' in log_lines()
    book._quick.execute("PRAGMA max_page_count=1000000")
    book.flush(1)
    with sqlite3.connect(tmp_path / "state.db") as reader:
        assert reader.execute("SELECT count(*) FROM device").fetchone() == (301,)
    reader.close()


def test_the_file_is_private_and_its_format_guarded(book: FactsBook, tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "state.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state.db-wal").stat().st_mode) == 0o600
    with sqlite3.connect(path) as writer:
        writer.execute("PRAGMA user_version=99")
    writer.close()
    with pytest.raises(StateTooNew, match="format 99"):
        FactsBook(path, clock)


def test_what_a_device_can_do_is_kept_and_told_once(book: FactsBook, tmp_path: Path, clock: Any) -> None:
    book.capable(UID, Support((Channel(0, 3, 5, 2, 1), Channel(1, 1))), 1.0)
    book.capable(UID, Support((Channel(0, 3, 5, 2, 1), Channel(1, 1))), 2.0)
    assert types(book) == ["device.changed"]
    again = reopen(book, tmp_path, clock)
    document = again.document(UID)
    assert document is not None
    first, second = document["capability"]["channels"]
    assert first == {
        "channel": 0,
        "streams": ["mainStream", "subStream"],
        "rotates": True,
        "diagonals": False,
        "zooms": True,
        "focuses": True,
        "wifi": True,
    }
    assert (second["streams"], second["rotates"], second["wifi"]) == (["mainStream"], False, False)
    again.close()
