"""One booted host with the packages: its units, its site video/home, the camera beside it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Lab, until

SERVER = "rop-server@video-home.service"
SOCKET = "rop-server@video-home.socket"
DATA = "/var/lib/rop/servers/video/home"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qy"


@dataclass
class Machine:
    """A host of `lab`, called `name`."""

    lab: Lab
    name: str
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def suite(self) -> str:
        """Its release of Debian."""
        return self.lab.hosts[self.name].suite

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.lab.hosts[self.name].address

    @property
    def uid(self) -> str:
        """Of its camera."""
        return f"952700010000HST{self.lab.hosts[self.name].number}"

    def run(self, command: str, stdin: str | None = None) -> str:
        """A shell command that must succeed; what it printed."""
        return self.lab.run(self.name, command, stdin).stdout

    def refuses(self, command: str) -> str:
        """A shell command that must fail; what it complained about."""
        done = self.lab.run(self.name, command, check=False)
        assert done.returncode != 0, f"{command} succeeded"
        return done.stderr

    def install(self, packages: list[Path], folder: str) -> None:
        """Install packages of this checkout with apt."""
        self.lab.send(self.name, packages, folder)
        self.run(f"{APT} install --no-install-recommends {folder}/*.deb")

    def until(self, what: Any, seconds: float, why: str) -> None:
        """Wait for a condition; in vain: tell how the host is."""
        try:
            until(what, seconds, f"{self.name}: {why}")
        except AssertionError as error:
            said = (
                "systemctl --failed; ropctl -n video describe ropserver home; ropctl -n video describe camera door"
            )
            logs = "journalctl -n 60 -o cat -u rop-agent -u 'rop-server@*' -u rop-gateway"
            raise AssertionError(
                f"{error}\n{self.lab.run(self.name, f'{said}; {logs}', check=False).stdout}"
            ) from None

    # The site

    def apply(self, **spec: Any) -> None:
        """Documents of a server and a camera; `spec` changes members of the server's spec, for good."""
        self.spec |= spec
        camera = {"serverRef": {"name": "home"}, "uid": self.uid, "provision": {"attempt": 1, "lan": {}}}
        documents = [
            _document("RopServer", "home", {"host": self.address, **self.spec}),
            _document("Camera", "door", camera),
        ]
        self.run("ropctl apply -f -", "\n---\n".join(map(json.dumps, documents)))

    def holds(self, what: str, condition: str) -> bool:
        """Whether a condition of an object is True."""
        said = self.lab.run(self.name, f"ropctl -n video get {what} -o json", check=False)
        if said.returncode:
            return False
        conditions = json.loads(said.stdout).get("status", {}).get("conditions", [])
        return any(c["type"] == condition and c["status"] == "True" for c in conditions)

    def ready(self) -> bool:
        """Whether the server is as its document says."""
        return self.holds("ropserver home", "Ready")

    def online(self) -> bool:
        """Whether the camera is connected."""
        return self.holds("camera door", "Online")

    def keys(self) -> str:
        """A digest of every file of its authority."""
        return self.run(f"find {DATA}/certs -type f | sort | xargs sha256sum")

    # Units

    def shown(self, member: str, unit: str = SERVER) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show -P {member} '{unit}'").strip()

    def active(self, unit: str = SERVER) -> bool:
        """Whether a unit runs."""
        return self.shown("ActiveState", unit) == "active"

    def running_version(self) -> str:
        """Folder name of the programs that the server's process was started from."""
        started = self.run(f"tr '\\0' ' ' < /proc/{self.shown('MainPID')}/cmdline")
        return started.removeprefix("/usr/lib/rop/").split("/")[0]


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "video"}
    return {"apiVersion": "rop.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
