"""A drill's own network, and its place in memory."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rop_drill.isolation import LOOPBACK_ONLY, OWN_NETWORK
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.scratch import SHARED_MEMORY, scratch

PROBE = """
import socket, sys
from rop_drill.isolation import isolate
found = isolate()
own = socket.create_server(("127.0.0.1", 0))
socket.create_connection(own.getsockname()).close()
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
    print(found, "reached")
except OSError:
    print(found, "apart")
"""


def test_an_isolated_drill_reaches_itself_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as running:
        port = str(running.getsockname()[1])
        ran = subprocess.run([sys.executable, "-c", PROBE, port], capture_output=True, text=True, check=True)
    # A kernel that refuses leaves loopback; the report says so.
    assert ran.stdout.split() in ([OWN_NETWORK, "apart"], [LOOPBACK_ONLY, "reached"])


def test_keys_never_reach_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rop_drill.scratch._file_system", lambda _: "ext4")
    with pytest.raises(DrillFailed) as failure, scratch(tmp_path):
        pass
    assert failure.value.reason is Reason.SCRATCH
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rop_drill.scratch._file_system", lambda _: "tmpfs")
    base = tmp_path / f"rop-drill-{os.getuid()}"
    base.mkdir()
    base.chmod(0o755)
    with pytest.raises(DrillFailed, match="private"), scratch(tmp_path):
        pass
    base.rmdir()
    base.symlink_to(SHARED_MEMORY)
    with pytest.raises(DrillFailed, match="private"), scratch(tmp_path):
        pass


def test_the_scratch_folder_is_private_and_goes() -> None:
    with scratch() as found:
        assert found.folder.stat().st_mode & 0o777 == 0o700
        (found.folder / "key").write_text("secret")
        with scratch() as second:
            assert found.folder.exists()
            assert second.folder != found.folder
    assert not found.folder.exists()
