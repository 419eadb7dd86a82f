"""`make demo`: Ready in one command, twice at the same time, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, str(ROOT / "tools" / "demo.py")]


def start(folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """A demo whose throw-away folder lies in `folder`."""
    folder.mkdir()
    return subprocess.Popen(
        DEMO,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that still work in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


def test_two_demos_at_once_become_ready_and_leave_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="demo") as scratch:
        folders = [Path(scratch) / "a", Path(scratch) / "b"]
        tables = [Path(scratch) / "a.json", Path(scratch) / "b.json"]
        demos = [start(f, DEMO_ONCE="1", DEMO_JSON=str(t)) for f, t in zip(folders, tables, strict=True)]
        for demo, folder, table in zip(demos, folders, tables, strict=True):
            output, _ = demo.communicate(timeout=170)
            assert demo.returncode == 0, output
            rows = json.loads(table.read_text())
            assert {row["NAME"]: row["READY"] for row in rows} == {
                "front-door": "True",
                "gate": "True",
                "yard": "True",
            }
            assert left_behind(folder) == []
            assert list(folder.iterdir()) == []


def test_ctrl_c_stops_everything() -> None:
    with tempfile.TemporaryDirectory(prefix="demo") as scratch:
        folder = Path(scratch) / "c"
        demo = start(folder)
        assert demo.stdout is not None
        seen = ""
        for line in demo.stdout:
            seen += line
            if "Ctrl-C stops everything" in line:
                break
        assert "All cameras are Ready" in seen
        assert "ropctl" in seen
        assert len(left_behind(folder)) >= 5
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, rest
        assert left_behind(folder) == []
        assert list(folder.iterdir()) == []
