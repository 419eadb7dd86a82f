"""Passwords: bcrypt files, remembered answers, pacing."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import bcrypt
import pytest

from rop_gateway import passwords
from rop_gateway.config import ConfigError
from rop_gateway.passwords import Passwords, Throttled, entry, parse_htpasswd

ADDRESS = "192.0.2.7"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def line(user: str, password: str) -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alice(clock: Clock) -> Passwords:
    made = Passwords(clock)
    made.take(parse_htpasswd(line("alice", "right")))
    return made


async def test_right_and_wrong(alice: Passwords) -> None:
    assert await alice.check("alice", b"right", ADDRESS)
    assert not await alice.check("alice", b"wrong", ADDRESS)
    assert not await alice.check("bob", b"right", ADDRESS)
    assert not await alice.check("alice", b"right" + b"x" * 80, ADDRESS)
    assert not await alice.check("alice", b"right\0", ADDRESS)


async def test_tries_are_paced_for_each_address(alice: Passwords, clock: Clock) -> None:
    for _ in range(10):
        assert not await alice.check("alice", b"wrong", ADDRESS)
    with pytest.raises(Throttled):
        await alice.check("alice", b"right", ADDRESS)
    assert await alice.check("alice", b"right", "192.0.2.8")
    clock.now += 2
    assert await alice.check("alice", b"right", ADDRESS)


async def test_an_ipv6_household_is_one_address(alice: Passwords) -> None:
    for number in range(10):
        assert not await alice.check("alice", b"wrong", f"2001:db8::{number:x}")
    with pytest.raises(Throttled):
        await alice.check("alice", b"wrong", "2001:db8::ffff")
    assert not await alice.check("alice", b"wrong", "2001:db8:0:1::1")


async def test_a_right_password_is_remembered_and_costs_no_try(
    alice: Passwords, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await alice.check("alice", b"right", ADDRESS)
    asked: list[bytes] = []
    monkeypatch.setattr(passwords.bcrypt, "checkpw", lambda given, _: bool(asked.append(given)))
    for _ in range(100):
        assert await alice.check("alice", b"right", ADDRESS)
    assert asked == []
    clock.now += passwords.REMEMBERED_S + 1
    assert not await alice.check("alice", b"right", ADDRESS)
    assert asked == [b"right"]


async def test_a_changed_password_is_not_remembered(alice: Passwords) -> None:
    assert await alice.check("alice", b"right", ADDRESS)
    alice.take(parse_htpasswd(line("alice", "new")))
    assert not await alice.check("alice", b"right", ADDRESS)
    alice.take({})
    assert not await alice.check("alice", b"right", ADDRESS)


async def test_many_at_once_wait_or_are_sent_away(alice: Passwords) -> None:
    """A hundred addresses at once: no more threads than places, and the rest is told to come later."""
    answers = await asyncio.gather(
        *(alice.check("alice", b"wrong", f"198.51.100.{number}") for number in range(100)), return_exceptions=True
    )
    sent_away = [each for each in answers if isinstance(each, Throttled)]
    assert len(sent_away) == 100 - passwords.WAITING


def test_files(tmp_path: object) -> None:
    told = parse_htpasswd(f"# ours\n\n{line('alice', 'a')}\n{line('bob@example.net', 'b')}\n")
    assert list(told) == ["alice", "bob@example.net"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice:$apr1$x$y", "line 1: must be USER:HASH with a bcrypt hash"),
        ("alice:secret", "line 1"),
        ("\nalice", "line 2"),
        ("alice:$2y$17$" + "a" * 53, "line 1: has cost 17"),
        ("alice:$2y$10$" + "a" * 53 + "\nalice:$2y$10$" + "b" * 53, "line 2: names alice a second time"),
    ],
)
def test_a_bad_file_names_the_line_and_no_hash(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse_htpasswd(text)
    assert "secret" not in str(refused.value)
    assert "$" not in str(refused.value)


async def test_our_own_lines_and_those_of_apache(clock: Clock) -> None:
    lines = [entry("ours", b"pass word")]
    program = shutil.which("htpasswd")
    assert program is not None, "apt-get install apache2-utils"
    done = subprocess.run(
        [program, "-niB", "theirs"], input="pass word", capture_output=True, text=True, check=True
    )
    lines.append(done.stdout.strip())
    known = Passwords(clock)
    known.take(parse_htpasswd("\n".join(lines)))
    assert await known.check("ours", b"pass word", ADDRESS)
    assert await known.check("theirs", b"pass word", ADDRESS)
    for user, password in (("", b"x"), ("a:b", b"x"), ("alice", b""), ("alice", b"x" * 73)):
        with pytest.raises(ConfigError):
            entry(user, password)
