"""After a change of the key index the fleet registers again in turns. 5,000 devices speak the wire's hello."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from rop_server.core.key_turns import KeyTurns
from rop_wire.encrypted import DeviceChannel, ServerChannel, access_key, secret_access_key, uid_hash

OLD, NEW, NEWER = "OLDINDEX00000000", "NEWINDEX00000000", "NEWERINDEX000000"
KEYS = {OLD: "o" * 32, NEW: "n" * 32, NEWER: "m" * 32}
FLEET, RATE, BURST = 5000, 5.0, 10
BEAT = 20
NONCE = b"n" * 32


class Time:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def hello(uid: str, index: str, stale: Callable[[str, str], bool] | None) -> int | None:
    """What the server's side answers to the device's."""
    server = ServerChannel(KEYS, NEW, NONCE, stale=stale)
    secret = secret_access_key(KEYS[index], uid_hash(uid))
    device = DeviceChannel(access_key(index, uid), secret, b"d" * 32)
    server.feed(device.hello())
    device.feed(server.outgoing())
    return device.status


def registrations(time: Time, stale: Callable[[str, str], bool] | None, seconds: int) -> Counter[int]:
    """Every device of an old index connects again every `BEAT` seconds; how many register in which second."""
    uids = {f"9527000000A{number:05}": OLD for number in range(FLEET)}
    told: Counter[int] = Counter()
    for second in range(seconds):
        time.now = 100.0 + second
        for number, (uid, index) in enumerate(uids.items()):
            if index == OLD and number % BEAT == second % BEAT and hello(uid, index, stale) == 400:
                uids[uid] = NEW
                told[second] += 1
    assert hello("9527000000A00000", NEW, stale) == 200
    return told


def test_registrations_of_5000_devices_are_bounded_and_each_device_moves_once(time: Time) -> None:
    turns = KeyTurns(time, lambda: FLEET, RATE, BURST)
    told = registrations(time, lambda index, device: turns.due(index, device, NEW), int(FLEET / RATE * 1.3))
    assert sum(told.values()) == FLEET
    assert max(told.values()) <= RATE + BURST


def test_a_given_pace_bounds_registrations(time: Time) -> None:
    turns = KeyTurns(time, lambda: FLEET, RATE, BURST)
    turns.pace(2.0)
    seconds = 400
    told = registrations(time, lambda index, device: turns.due(index, device, NEW), seconds)
    assert max(told.values()) <= 2 + 2
    assert 1.5 * seconds < sum(told.values()) <= 2 * seconds + 1
    turns.pace(None)
    time.now += FLEET
    assert turns.due(OLD, uid_hash("latecomer"), NEW)


def test_without_turns_all_come_within_one_beat(time: Time) -> None:
    told = registrations(time, None, BEAT)
    assert sum(told.values()) == FLEET
    assert max(told.values()) > 10 * (RATE + BURST)


def test_a_small_fleet_does_not_wait(time: Time) -> None:
    turns = KeyTurns(time, lambda: BURST, RATE, BURST)
    assert all(turns.due(OLD, uid_hash(str(number)), NEW) for number in range(BURST))
    assert not turns.due(OLD, uid_hash("one more"), NEW)


def test_a_turn_is_kept_and_costs_once(time: Time) -> None:
    turns = KeyTurns(time, lambda: 0, RATE, 1)
    assert [turns.due(OLD, "00", NEW) for _ in range(3)] == [True, True, True]
    assert not turns.due(OLD, "01", NEW)
    time.now += 1 / RATE
    assert turns.due(OLD, "01", NEW)


def test_the_current_index_is_never_due(time: Time) -> None:
    assert not KeyTurns(time, lambda: 0).due(NEW, "00", NEW)


def test_turns_go_by_the_hash(time: Time) -> None:
    turns = KeyTurns(time, lambda: 1000, RATE, BURST)
    early, late = "1" + "0" * 15, "f" * 16
    assert not turns.due(OLD, early, NEW)
    time.now += 1000 / RATE / 2
    assert turns.due(OLD, early, NEW)
    assert not turns.due(OLD, late, NEW)


def test_another_change_begins_anew_without_a_second_burst(time: Time) -> None:
    turns = KeyTurns(time, lambda: 0, RATE, 1)
    assert turns.due(OLD, "00", NEW)
    assert not turns.due(NEW, "00", NEWER)
    time.now += 1 / RATE
    assert turns.due(NEW, "00", NEWER)


def test_a_hash_that_is_none_has_no_claim_to_wait(time: Time) -> None:
    assert KeyTurns(time, lambda: 1000).due(OLD, "not a hash", NEW)
