"""The self-test, as part of every test run: each sabotage turns a drill red with the right reason."""

import json
from typing import Any

import pytest

from rop_drill import drill, selftest
from rop_drill.isolation import LOOPBACK_ONLY

# What a site cannot do without, as the names of the sabotages begin.
CRITICAL = (
    "missing: certs/ECC/Root/ca.pem",
    "missing: certs/ECC/E1/ca.pem",
    "missing: certs/ECC/E1/key.pem",
    "missing: certs/ECC/E1/serial",
    "missing: authCode.signKey",
    "missing: deviceAuth.deviceKeys",
    "missing: deviceAuth.currentKeyIndex",
    "missing: config.json",
    "missing: rop.json",
    "missing: state.db",
    "missing: the table denied",
    "missing: the table token",
    "missing: the table certificate",
    "missing: archive/signer.pem",
    "missing: the address of an alarm sink",
    "missing: the key of the management listener",
    "truncated: ",
    "stale: authCode.signKey",
    "of another server: ",
    "wrong recipient",
    "flipped bit: body",
    "target unreachable: not mounted",
    "target unreachable: S3",
    "signKey that no camera knows",
    "a server that forgets the deny list",
)


def test_every_sabotage_turns_a_drill_red_with_the_right_reason(rop_drill: Any) -> None:
    ran = rop_drill("self-test", "-o", "json")
    rows = json.loads(ran.out)
    assert [row for row in rows if not row["right"]] == []
    assert ran.status == 0, ran.err
    assert [row["name"] for row in rows if row["got"] == "Passed"] == ["control: nothing is spoiled"]
    names = [row["name"] for row in rows]
    assert [each for each in CRITICAL if not any(name.startswith(each) for name in names)] == []


def test_a_real_archive_can_be_sabotaged_and_stays_whole(site: Any, rop_drill: Any) -> None:
    before = site.archive.read_bytes()
    ran = rop_drill("self-test", *site.words())
    assert ran.status == 0, ran.out + ran.err
    assert "certs/ECC/Root" in ran.out
    assert site.archive.read_bytes() == before


def row_named(name: str) -> selftest.Row:
    return next(row for row in selftest.self_test(None, LOOPBACK_ONLY) if row.name == name)


def test_a_drill_that_is_blind_for_age_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "_judge_age", lambda *_: None)
    row = row_named("stale: made two days ago")
    assert (row.right, row.expected, row.got) == (False, "ArchiveStale", "Passed")


def test_a_drill_whose_server_does_not_start_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill.RestoredServer, "start", _refuse)
    row = row_named("control: nothing is spoiled")
    assert (row.right, row.got) == (False, "ServerFailed")


async def _refuse(*_: object) -> None:
    raise drill.DrillFailed(drill.Reason.SERVER_FAILED, "no")
