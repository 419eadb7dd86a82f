"""Registry, pending requests, wake-ups, sleep, limits: no loop, time as an argument."""

from __future__ import annotations

from rop_server.core.calls import Wake, WakePhase, should_sleep
from rop_server.core.codes import ADDRESSES_REMEMBERED, GUESSES_PER_MINUTE, GuessLimiter
from rop_server.core.connection import KEEP_ALIVE, SIGNALING, Connection
from rop_server.core.facade import Battery
from rop_server.core.pending import Answer, End, Outcome, PendingTable
from rop_server.core.registry import Announcement, Registry
from rop_server.net.gate import Gate
from rop_wire.packet import Packet

UID = "95270000000TEST1"


class Line(Connection):
    """A connection that goes nowhere."""

    def __init__(self, kind: str, uid: str = UID) -> None:
        super().__init__(kind, "192.0.2.1", 0.0)
        self.uid = uid

    def send(self, packet: Packet) -> None:
        raise AssertionError("nothing is sent here")

    def proves(self, uid: str) -> bool:
        return uid == self.uid

    def close(self, reason: str) -> None:
        raise AssertionError("the caller closes")

    def abort(self) -> None:
        raise AssertionError("the caller closes")


def test_registry_keeps_order_and_refreshes() -> None:
    registry = Registry()
    other = "95270000000TEST2"
    signaling, keep = Line(SIGNALING), Line(KEEP_ALIVE)
    assert registry.attach(keep, Announcement(UID, "battery", firmware="1"), 5.0) is None
    assert registry.attach(Line(SIGNALING, other), Announcement(other), 6.0) is None
    assert registry.attach(signaling, Announcement(UID, "battery", firmware="2"), 7.0) is None
    first, second = registry.online()
    assert (first.uid, first.firmware, first.since, first.asleep) == (UID, "2", 5.0, False)
    assert second.uid == other
    revision = registry.revision
    assert registry.online() is registry.online()
    assert registry.detach(signaling)
    assert registry.revision > revision
    assert registry.online()[0].asleep
    assert registry.detach(keep) and not registry.detach(keep)
    assert [link.uid for link in registry.online()] == [other]


def test_registry_newer_replaces_older() -> None:
    registry = Registry()
    old, new = Line(SIGNALING), Line(SIGNALING)
    registry.attach(old, Announcement(UID), 1.0)
    assert registry.attach(new, Announcement(UID), 2.0) is old
    assert registry.attach(new, Announcement(UID), 3.0) is None
    assert not registry.detach(old)
    entry = registry.entry(UID)
    assert entry is not None and entry.signaling is new


def test_battery_time_alone_is_no_revision() -> None:
    registry = Registry()
    registry.attach(Line(KEEP_ALIVE), Announcement(UID), 1.0)
    registry.report_battery(UID, Battery(50, "none", 2.0))
    revision = registry.revision
    registry.report_battery(UID, Battery(50, "none", 3.0))
    assert registry.revision == revision
    assert registry.online()[0].battery == Battery(50, "none", 3.0)
    registry.report_battery("unknown", Battery(1, None, 3.0))
    assert len(registry) == 1


def test_pending_matches_connection_number_and_command() -> None:
    table, heard = PendingTable(), list[Outcome]()
    table.add("a", 1, 104, 10.0, heard.append)
    assert not table.resolve("b", 1, 104, 200, b"")
    assert not table.resolve("a", 2, 104, 200, b"")
    assert not table.resolve("a", 1, 105, 200, b"")
    assert table.resolve("a", 1, 104, 200, b"x")
    assert heard == [Answer(200, b"x")]
    assert not table.resolve("a", 1, 104, 200, b"x")
    assert len(table) == 0


def test_pending_ends() -> None:
    table, heard = PendingTable(), list[tuple[int, Outcome]]()
    for number, deadline in ((1, 5.0), (2, 6.0), (3, 7.0)):
        table.add("a", number, 104, deadline, lambda end, n=number: heard.append((n, end)))
    assert table.expire(5.0) == 1
    assert table.count("a") == 2
    assert table.drop("a") == 2
    assert heard == [(1, End.EXPIRED), (2, End.LOST), (3, End.LOST)]
    assert table.drop("a") == 0 and table.count("a") == 0
    gone = table.add("a", 9, 104, 1.0, lambda end: heard.append((9, end)))
    table.discard(gone)
    table.discard(gone)
    assert table.expire(99.0) == 0 and len(heard) == 3


def test_wake_dialogue() -> None:
    line, heard = Line(SIGNALING), list[Connection | str]()
    wake = Wake(0.0, 10.0, 10.0)
    wake.listen(heard.append)
    assert not wake.tick(9.9)
    wake.answered(9.0)
    wake.answered(15.0)  # a second answer moves nothing
    assert wake.phase is WakePhase.ANSWERED and wake.deadline == 19.0
    wake.connected(line)
    wake.failed("late")
    assert heard == [line] and wake.tick(99.0)


def test_wake_time_outs_name_the_step() -> None:
    for answered, symbol in ((False, "cmd_timeout"), (True, "wake_up_timeout")):
        heard = list[Connection | str]()
        wake = Wake(0.0, 10.0, 10.0)
        wake.listen(heard.append)
        if answered:
            wake.answered(1.0)
        assert wake.tick(11.0)
        assert heard == [symbol]


def test_sleep_rule() -> None:
    assert should_sleep(now=30, active_at=0, keep_before=0, waiting=0, idle=30)
    assert not should_sleep(now=29, active_at=0, keep_before=0, waiting=0, idle=30)
    assert not should_sleep(now=30, active_at=0, keep_before=31, waiting=0, idle=30)
    assert not should_sleep(now=30, active_at=0, keep_before=0, waiting=1, idle=30)


def test_request_numbers_wrap() -> None:
    line = Line(SIGNALING)
    assert 0 <= line.next_id < 100_000
    line.next_id = 0xFFFFFFFF
    assert (line.allot(), line.allot()) == (0xFFFFFFFF, 0)


def test_guess_limiter_forgets_and_is_bounded() -> None:
    limiter = GuessLimiter()
    for _ in range(GUESSES_PER_MINUTE):
        limiter.failed("2001:db8::1", 0.0)
    assert limiter.blocked("2001:db8::ffff", 1.0) and not limiter.blocked("2001:db8:0:1::1", 1.0)
    for _ in range(GUESSES_PER_MINUTE):
        assert not limiter.blocked("a", 1.0)
        limiter.failed("a", 1.0)
    assert limiter.blocked("a", 60.0) and not limiter.blocked("a", 61.0)
    assert not limiter.blocked("b", 1.0)
    limiter.failed("a", 61.0)
    assert not limiter.blocked("a", 62.0)
    for number in range(ADDRESSES_REMEMBERED + 10):
        limiter.failed(str(number), 70.0)
    assert len(limiter._failures) == ADDRESSES_REMEMBERED


def test_gate_counts_by_address_and_in_all() -> None:
    heard: list[int] = []
    gate = Gate(total=6, by_address=2)
    gate.room.append(lambda: heard.append(gate.open))
    first, second = gate.enter("a"), gate.enter("a")
    assert first is not None and second is not None and gate.enter("a") is None
    others = [gate.enter(each) for each in ("b", "c", "d", "e")]
    assert all(others) and gate.full and gate.enter("f") is None
    first.release()
    first.release()
    assert gate.open == 5 and heard == [5]
    second.release()
    assert gate.enter("a") is not None and heard == [5]


def test_gate_keeps_places_for_those_who_come_late() -> None:
    gate = Gate(total=4096, by_address=1024)
    for number in range(20_000):
        gate.enter(f"10.0.0.{number % 20}")
    assert 19 * 195 <= gate.open <= 20 * 196
    assert all(gate.enter("10.0.1.1") for _ in range(90))


def test_gate_takes_an_ipv6_network_for_one_address() -> None:
    gate = Gate(total=100, by_address=2)
    assert gate.enter("2001:db8::1") and gate.enter("2001:db8:0:0:ffff::1%eth0")
    assert gate.enter("2001:db8::2") is None
    assert gate.enter("2001:db8:0:1::1") and gate.enter("192.0.2.1")
