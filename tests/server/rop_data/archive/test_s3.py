"""Archives in a bucket of a real S3 server, and behind a proxy that lies."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rop_data.archive.create import deposit, make
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.policy import S3Place
from rop_data.archive.s3 import Credentials, S3Target
from rop_data.archive.shelf import shelve
from rop_data.archive.target import Listed
from rop_data.egress import permitted

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)
NAME = "rop-0badcafe-g0001-20260101T000000Z.roparchive"


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return "".join(c for c in request.node.name if c.isalnum())


@pytest.fixture
def keys(s3_module: Any) -> Credentials:
    return Credentials(*s3_module.ADDER.values())


@pytest.fixture
def bucket(s3_server: Any, keys: Credentials, prefix: str) -> S3Target:
    place = S3Place(s3_server.endpoint, "rop", f"sites/{prefix}", ca_pem=s3_server.ca_pem)
    return S3Target(place, keys, loopback=True)


def reason(work: Any) -> Reason:
    with pytest.raises(ArchiveError) as caught:
        work()
    assert "only-adds" not in str(caught.value)
    return caught.value.reason


def test_archives_go_in_and_come_out(bucket: S3Target, world: Any) -> None:
    assert bucket.names() == []
    made = make(world.directory, world.recipients, None, NOW)
    deposit(bucket, made)
    assert bucket.names() == bucket.names("rop-") == [Listed(made.name, len(made.data))]
    assert bucket.names("rop-x") == []
    assert bucket.get(made.name) == made.data
    assert [each.header for each in shelve(bucket)] == [made.header]
    large = bytes(range(256)) * 40_000
    bucket.put(NAME, large)
    assert bucket.get(NAME) == large


def test_credentials_of_the_server_only_add(bucket: S3Target, s3_server: Any, s3_module: Any, prefix: str) -> None:
    bucket.put(NAME, b"first")
    assert reason(lambda: bucket.put(NAME, b"second")) is Reason.TARGET
    assert bucket.get(NAME) == b"first"
    assert reason(lambda: bucket.remove(NAME)) is Reason.TARGET_REFUSED
    root, key = s3_server.client(), f"sites/{prefix}/{NAME}"
    version = root.stat_object(bucket_name="rop", object_name=key).version_id
    pruner = S3Target(bucket._place, Credentials(*s3_module.PRUNER.values()), loopback=True)
    pruner.remove(NAME)
    assert bucket.names() == []
    # The bucket keeps versions: what was deleted can be brought back.
    assert root.get_object(bucket_name="rop", object_name=key, version_id=version).read() == b"first"


def test_failures_say_what_to_do(bucket: S3Target, s3_server: Any, keys: Credentials) -> None:
    def target(place: S3Place, with_keys: Credentials = keys, loopback: bool = True) -> S3Target:
        return S3Target(place, with_keys, loopback, seconds=5)

    at, pem = s3_server.endpoint, s3_server.ca_pem
    good = S3Place(at, "rop", ca_pem=pem)
    assert reason(target(good, Credentials("adder", "wrong")).names) is Reason.TARGET_REFUSED
    assert reason(target(good, Credentials("nobody", "wrong")).names) is Reason.TARGET_REFUSED
    assert reason(target(S3Place(at, "another", ca_pem=pem)).names) is Reason.TARGET
    assert reason(target(S3Place(at, "rop")).names) is Reason.TARGET_UNREACHABLE  # its CA is not trusted
    assert reason(target(S3Place("http://127.0.0.1:1", "rop")).names) is Reason.TARGET_UNREACHABLE
    assert reason(target(S3Place("https://s3.invalid", "rop")).names) is Reason.TARGET_UNREACHABLE
    assert reason(target(good, loopback=False).names) is Reason.TARGET_REFUSED
    assert reason(lambda: bucket.get(NAME)) is Reason.TARGET


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("zeros", Reason.READ_BACK),
        ("empty", Reason.READ_BACK),
        ("short", Reason.READ_BACK),
        ("longer", Reason.READ_BACK),
        ("flip", Reason.READ_BACK),
        ("forget", Reason.TARGET),
        ("endless", Reason.TARGET_UNREACHABLE),
        ("hang", Reason.TARGET_UNREACHABLE),
        ("redirect", Reason.TARGET_UNREACHABLE),
        ("500", Reason.TARGET_UNREACHABLE),
        ("503", Reason.TARGET_UNREACHABLE),
        ("403", Reason.TARGET_REFUSED),
        ("507", Reason.TARGET_FULL),
    ],
)
def test_a_server_that_lies_is_found_out(
    liar: Any, keys: Credentials, prefix: str, world: Any, mode: str, expected: Reason
) -> None:
    made = make(world.directory, world.recipients, None, NOW)
    target = S3Target(S3Place(liar.endpoint, "rop", prefix), keys, loopback=True, seconds=3)
    liar.mode = mode
    assert reason(lambda: deposit(target, made)) is expected
    liar.mode = ""
    if mode in ("zeros", "empty", "short", "longer", "flip"):
        assert target.get(made.name) == made.data  # only the answers were wrong
    else:
        deposit(target, made)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("2001:db8::1", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
    ],
)
def test_addresses_that_are_never_dialled(address: str, allowed: bool) -> None:
    assert permitted(address) is allowed
