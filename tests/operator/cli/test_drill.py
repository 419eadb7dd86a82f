"""RecoveryDrills with a real agent, server and archive: green, red with the right reason, through kill -9."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml

from free_ports import free_ports

Run = Callable[..., Any]
PORTS = (
    *("getCAHttps", "getCertHttps", "registerHttps", "keepAliveTCP", "signalingTLS"),
    *("streamTLS", "streamTCP", "clientRtsp", "clientHttp"),
)


def documents(shelf: Path, *people: pyrage.x25519.Identity) -> str:
    scopes = ("All", "All", "WithoutRootKey")
    spec = {
        "host": "127.0.0.1",
        "ports": dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
        "backup": {
            "recipients": [
                {"name": f"p{n}", "key": str(each.to_public()), "scope": scope}
                for n, (each, scope) in enumerate(zip(people, scopes, strict=True))
            ],
            "targets": [{"name": "disk", "directory": {"path": str(shelf)}}],
        },
        "drill": {"identityRef": {"name": "drill", "key": "identity"}, "maxArchiveAge": "25h"},
    }
    return yaml.safe_dump(
        {"apiVersion": "rop.dev/v1alpha1", "kind": "RopServer", "metadata": {"name": "home"}, "spec": spec}
    )


def a_drill(name: str, **spec: Any) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "rop.dev/v1alpha1",
            "kind": "RecoveryDrill",
            "metadata": {"name": name},
            "spec": {"serverRef": {"name": "home"}, **spec},
        }
    )


def reason(status: dict[str, Any], type_: str) -> str | None:
    found = next((each for each in status["conditions"] if each["type"] == type_), None)
    return None if found is None or found["status"] != "True" else str(found["reason"])


@pytest.fixture
def agent(spawned: Run, tmp_path: Path) -> Callable[[], Any]:
    """Starts the agent of this test, again and again."""
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "README.yaml").write_text("# documents go here\n")
    places = ("--dir", tmp_path / "fleet", "--state", tmp_path / "state", "--secrets", tmp_path / "secrets")
    flags = ("--stop-servers", "--lan-cidrs", "127.0.0.0/8", "--allow-loopback")
    return lambda: spawned("rop-agent", *map(str, places), *flags)


@pytest.fixture
def site(agent: Callable[[], Any], ropctl: Run, until: Run, tmp_path: Path) -> "Site":
    """A server whose archives lie on a shelf, and the secret of its drills."""
    process = agent()
    until("the agent listens", (tmp_path / "state" / "agent.sock").exists)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    people = [pyrage.x25519.Identity.generate() for _ in range(3)]

    def run(*args: str, stdin: str | None = None, expect: int | None = 0) -> Any:
        return ropctl("--state", str(tmp_path / "state"), "-n", "video", *args, stdin=stdin, expect=expect)

    run("secret", "set", "drill", "identity", "--secrets", str(tmp_path / "secrets"), stdin=str(people[2]))
    run("apply", "--wait", "-f", "-", stdin=documents(shelf, *people))
    return Site(run, shelf, process, until, tmp_path / "state")


@dataclass
class Site:
    """A host with one server."""

    ropctl: Run
    shelf: Path
    agent: Any
    until: Run
    state: Path

    def drill(self, name: str, **spec: Any) -> None:
        self.ropctl("apply", "-f", "-", stdin=a_drill(name, **spec))

    def status(self, name: str) -> dict[str, Any]:
        told = json.loads(self.ropctl("get", "recoverydrill", name, "-o", "json").stdout)
        found: dict[str, Any] = (told["items"][0] if "items" in told else told).get("status") or {}
        return found

    def ended(self, name: str) -> dict[str, Any]:
        """The status of a drill once it has ended."""
        self.until(f"{name} ended", lambda: self.status(name).get("completedAt"), 120.0)
        return self.status(name)

    def drilling(self, name: str) -> None:
        self.until(f"{name} drills", lambda: self.status(name).get("phase") == "Drilling", 60.0)

    def processes(self) -> list[int]:
        """Drills that run for this host."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes()
                    if b"rop-drill" in words and os.fsencode(self.state) in words:
                        found.append(int(entry.name))
        return found


def test_a_drill_is_green_and_its_report_is_signed(site: Site) -> None:
    told = site.ropctl("drill", "run", "--name", "first")
    assert "first: Passed" in told.stdout
    assert "Drilling" in told.stderr
    status = site.ended("first")
    assert reason(status, "Complete") == "Passed", status
    assert {phase["name"] for phase in status["phases"]} >= {"Enrolling", "Archiving", "Drilling", "Complete"}
    found = status["observed"]
    assert found["result"] == "Passed"
    assert found["rtoSeconds"] > 0
    assert found["rpoSeconds"] >= 0
    assert (site.shelf / found["archive"]).is_file()
    report = json.loads(Path(found["file"]).read_text())
    signer = report["signature"]["siteSigner"]
    assert signer in site.ropctl("backup", "sheet").stdout
    assert "Passed" in site.ropctl("drill", "verify", found["file"], "--expect-signer", signer).stdout
    assert "first" in site.ropctl("get", "drills").stdout


def test_a_spoilt_archive_makes_it_red_with_the_reason(site: Site) -> None:
    site.drill("before")
    assert reason(site.ended("before"), "Complete") == "Passed"
    newest = max(site.shelf.iterdir(), key=lambda path: path.name)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    site.drill("after")
    status = site.ended("after")
    assert reason(status, "Failed") == "ReadBackMismatch", status
    assert status["observed"]["result"] == "Failed"


def test_a_dead_server_is_no_reason_not_to_drill(site: Site) -> None:
    site.drill("alive")
    assert reason(site.ended("alive"), "Complete") == "Passed"
    (data,) = (path for path in (site.state / "servers" / "video").iterdir() if path.name == "home")
    document = yaml.safe_load(site.ropctl("get", "ropserver", "home", "-o", "yaml").stdout)
    assert document
    data.rename(data.with_name("home.gone"))
    data.write_text("no server can start here")
    for pid in [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"--data" in words and os.fsencode(data) in words:
                os.kill(pid, signal.SIGKILL)
    site.drill("dead")
    assert reason(site.ended("dead"), "Complete") == "Passed"


def test_a_killed_agent_finds_its_drill_again(site: Site, agent: Callable[[], Any]) -> None:
    site.drill("first")
    site.drilling("first")
    site.until("a drill runs", site.processes)
    (running, *_) = site.processes()
    site.agent.kill()
    site.agent.wait(30)
    (site.state / "agent.sock").unlink(missing_ok=True)
    agent()
    site.until("the agent listens", (site.state / "agent.sock").exists)
    status = site.ended("first")
    assert reason(status, "Complete") == "Passed", status
    assert not Path(f"/proc/{running}").exists()
    assert len(list((site.state / "drills/video/home/reports").glob("drill-*.json"))) == 1


def test_a_killed_drill_is_not_taken_for_one_that_passed(site: Site) -> None:
    site.drill("first")
    site.drilling("first")
    site.until("a drill runs", site.processes)
    for pid in site.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert reason(site.ended("first"), "Failed") == "Interrupted"


def test_what_is_missing_is_named_and_waited_for(site: Site) -> None:
    site.drill("nowhere", targetName="tape")
    site.until(
        "it waits",
        lambda: any(
            each["reason"] == "TargetUnknown" and "it has disk" in each["message"]
            for each in site.status("nowhere").get("conditions", ())
        ),
    )
    assert not site.processes()
    site.ropctl("apply", "-f", "-", stdin=a_drill("nowhere", targetName="tape", abort=True))
    assert reason(site.ended("nowhere"), "Failed") == "Aborted"
