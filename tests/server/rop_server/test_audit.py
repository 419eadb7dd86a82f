"""Who changed what, on disk."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rop_server import logs
from rop_server.audit import Audit

UID = "95270000000TEST1"
OTHER = "95270000000TEST2"


def operations(audit: Audit, limit: int = 100, uid: str | None = None) -> list[str]:
    return [each["operation"] for each in audit.page(limit, uid)]


def test_lines_outlive_the_process_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    first = Audit(path, lambda: 1_800_000_000.0)
    first.note("Management", "set_access", "token engine", 200, UID)
    first.close()
    second = Audit(path, lambda: 1_800_000_001.0)
    second.note("ClientAPI", "PUT /v1.0/devices/{uid}/alarm", "address 10.0.0.9", 400, OTHER)
    assert second.page(10)[0] == {
        "at": "2027-01-15T08:00:00.000Z",
        "interface": "Management",
        "operation": "set_access",
        "caller": "token engine",
        "status": 200,
        "uid": UID,
    }
    assert [each["uid"] for each in second.page(10)] == [UID, OTHER]
    assert operations(second, uid=UID) == ["set_access"]
    assert [each["uid"] for each in second.page(1)] == [OTHER]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", lambda: 0.0, limit=2_000)
    for number in range(200):
        audit.note("Management", f"operation-{number}", "uid 0", 200)
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2 * 2_200
    told = operations(audit, 1_000)
    assert told == [f"operation-{number}" for number in range(200 - len(told), 200)]
    assert len(told) >= 15


def test_a_line_that_was_cut_by_a_kill_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"operation":"whole"}\n{"operation":"cu')
    audit = Audit(path, lambda: 0.0)
    audit.note("Management", "next", "uid 0", 200)
    assert operations(audit) == ["whole", "next"]


def test_a_full_disk_is_told_once_and_harms_nobody(tmp_path: Path, monkeypatch: Any) -> None:
    lines = io.StringIO()
    logs.configure(lines)
    audit = Audit(tmp_path / "audit.jsonl", lambda: 0.0)
    audit.note("Management", "before", "uid 0", 200)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    audit.note("Management", "lost", "uid 0", 200)
    audit.note("Management", "lost", "uid 0", 200)
    monkeypatch.setattr(os, "write", real)
    audit.note("Management", "after", "uid 0", 200)
    assert operations(audit) == ["before", "after"]
    assert lines.getvalue().count("No space left on device") == 1


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_page_has_so_many_lines(tmp_path: Path, limit: int) -> None:
    audit = Audit(tmp_path / "audit.jsonl", lambda: 0.0)
    assert audit.page(limit) == []
    for number in range(5):
        audit.note("Management", str(number), "uid 0", 200)
    assert operations(audit, limit) == ["0", "1", "2", "3", "4"][5 - limit :]
    assert json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[0])["operation"] == "0"
