"""Names of units and what `systemctl show` says of them. tests/hosts runs the real thing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from rop_operator.adapters.systemd_units import Systemctl, Unit, escape, server_unit
from rop_operator.api.facts import Ref
from rop_operator.ports import PortError


@pytest.mark.parametrize("path", ["video/home", "video/front-door", "a-b/c.d", ".hidden/x", "default/h\u00e4"])
def test_names_are_escaped_as_systemd_does(path: str) -> None:
    program = shutil.which("systemd-escape")
    assert program is not None, "Debian: apt-get install systemd"
    said = subprocess.check_output([program, "--path", path], text=True).strip()
    assert escape(path) == said


def test_the_unit_of_a_server() -> None:
    assert server_unit(Ref("RopServer", "video", "front-door")) == "rop-server@video-front\\x2ddoor.service"


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("active", "running", "Running"),
        ("reloading", "reload", "Running"),
        ("activating", "start", "Starting"),
        ("activating", "auto-restart", "Failed"),
        ("deactivating", "stop-sigterm", "Starting"),
        ("failed", "failed", "Failed"),
        ("inactive", "dead", "Stopped"),
    ],
)
def test_states(active: str, sub: str, state: str) -> None:
    assert Unit.of({"ActiveState": active, "SubState": sub}).state == state


def test_why_it_ended() -> None:
    text = "config.json: must be strict JSON"
    ended = Unit.of({"ExecMainCode": "1", "ExecMainStatus": "78", "StatusText": text})
    assert ended.last_words == f"the server ended with status 78: {text}"
    killed = Unit.of({"ExecMainCode": "2", "ExecMainStatus": "9", "StatusText": ""})
    assert killed.last_words == "the server was ended by signal 9"


async def test_a_refusal_is_told(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Interactive authentication required.' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(PortError, match=r"systemctl start .*: Interactive authentication required\.") as caught:
        await Systemctl(program).start("rop-server@video-home.service")
    assert caught.value.reason == "RuntimeFailed"
