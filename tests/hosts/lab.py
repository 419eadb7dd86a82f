"""Real Debian hosts for tests: systemd-nspawn, a network namespace and an address each, SSH, power cuts.

The hosts hang on a bridge in the namespace `roplab`, which has no way out; only Debian's packages come in through
`apt_proxy.py`. A base of each suite is made once (a minute) below the cache folder; a host is an overlay of it.
Needs root and the Debian packages systemd-container, debootstrap, openssh-client, iproute2.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apt_proxy import mirrors

HERE = Path(__file__).parent
SPACE = "roplab"
SUBNET = "10.61.0."
GATE = f"{SUBNET}1"
PROXY_PORT = 3142
PACKAGES = (
    "systemd-sysv,libpam-systemd,dbus,openssh-server,python3,python3-apt,iproute2,nftables,ca-certificates,procps"
)
REBOOTED = 133
NEEDS = ("systemd-nspawn", "debootstrap", "ssh", "ssh-keygen", "ip", "nsenter", "mount")


def cache_folder() -> Path:
    """Bases and fetched packages, kept from one run to the next."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("ROP_HOSTS_CACHE") or f"{home}/rop-operator/hosts")


def quietly(*command: str | Path, **options: Any) -> str:
    """Run; the output, or what was said with the failure."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout[-3000:]}"
    return done.stdout


def works(*command: str | Path) -> bool:
    """Whether a command succeeds."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Of one process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def until(what: Callable[[], Any], seconds: float, why: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.1)


@dataclass
class Host:
    """One machine."""

    name: str
    suite: str
    number: int
    folder: Path
    starter: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return f"{SUBNET}{10 + self.number}"

    @property
    def root(self) -> Path:
        """Its file system, seen from here."""
        return self.folder / "root"

    @property
    def space(self) -> str:
        """Its network namespace."""
        return f"{SPACE}-{self.name}"


@dataclass
class Lab:
    """The hosts of one test session. One lab at a time on a machine: a lock says so."""

    folder: Path
    cache: Path = field(default_factory=cache_folder)
    hosts: dict[str, Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.cache / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.key = self.cache / "id"
        if not self.key.exists():
            quietly("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.key)
        self._sweep()
        self._network()

    # Network

    def _network(self) -> None:
        quietly("ip", "netns", "add", SPACE)
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {GATE}/24 dev br0",
            "link set br0 up",
        ):
            quietly("ip", "-n", SPACE, *words.split())
        # A child listens inside, then goes back to this machine's own network with the socket.
        outside = f"/proc/{os.getpid()}/ns/net"
        listen = (
            "import os, socket, sys\n"
            f"s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(({GATE!r}, {PROXY_PORT})); s.listen(64)\n"
            "os.set_inheritable(s.fileno(), True)\n"
            f"os.execvp('nsenter', ['nsenter', '--net={outside}', sys.executable, {str(HERE / 'apt_proxy.py')!r},"
            f" {str(self.cache / 'apt')!r}, str(s.fileno())])\n"
        )
        with (self.folder / "proxy.log").open("ab") as log:
            command = self.inside(sys.executable, "-c", listen)
            self._proxy = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @staticmethod
    def inside(*command: str | Path) -> list[str]:
        """A command in the hosts' network."""
        return ["nsenter", f"--net=/run/netns/{SPACE}", *map(str, command)]

    # Bases

    def base(self, suite: str) -> Path:
        """The file system that every host of a suite begins with."""
        made = self.cache / "base" / suite
        if made.exists():
            return made
        new = made.with_name(f"{suite}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(exist_ok=True)
        known = mirrors()
        quietly("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, new, known["debian"])
        suites = [("debian", suite), ("debian", f"{suite}-updates"), ("debian-security", f"{suite}-security")]
        signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        lines = [f"deb {signed} http://{GATE}:{PROXY_PORT}/{r} {s} main\n" for r, s in suites if r in known]
        write(new / "etc/apt/sources.list", "".join(lines))
        write(
            new / "etc/apt/apt.conf.d/90lab", 'Acquire::Languages "none";\nAcquire::Check-Valid-Until "false";\n'
        )
        write(new / "root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text())
        (new / "root/.ssh").chmod(0o700)
        for path in new.glob("etc/ssh/ssh_host_*_key*"):
            path.unlink()
        write(
            new / "etc/systemd/system/ssh-keygen-once.service",
            "[Unit]\nBefore=ssh.service\nConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n"
            "[Service]\nType=oneshot\nExecStart=/usr/bin/ssh-keygen -A\n[Install]\nRequiredBy=ssh.service\n",
        )
        quietly("chroot", new, "systemctl", "-q", "enable", "ssh-keygen-once.service")
        write(new / "etc/machine-id", "")
        upgrade = "apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get dist-upgrade -qy; apt-get clean"
        quietly(*self.inside("chroot", new, "sh", "-ec", upgrade))
        new.rename(made)
        return made

    # Hosts

    def up(self, hosts: Mapping[str, str]) -> None:
        """Boot further hosts, name to suite, and wait for their SSH."""
        for name, suite in hosts.items():
            host = Host(name, suite, len(self.hosts) + 1, self.folder / name)
            self.hosts[name] = host
            self._plug(host)
            self._mount(host)
        names = "".join(f"{host.address} {host.name}\n" for host in self.hosts.values())
        for name in hosts:
            host = self.hosts[name]
            write(host.root / "etc/hostname", f"{name}\n")
            write(host.root / "etc/hosts", f"127.0.0.1 localhost\n{names}")
            self.start(name)

    def _plug(self, host: Host) -> None:
        quietly("ip", "netns", "add", host.space)
        plug = f"v{host.number}"
        peer = f"peer name eth0 netns {host.space}"
        quietly("ip", "-n", SPACE, *f"link add {plug} type veth {peer}".split())
        quietly("ip", "-n", SPACE, "link", "set", plug, "master", "br0", "up")
        for words in (
            "link set lo up",
            f"addr add {host.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {GATE}",
        ):
            quietly("ip", "-n", host.space, *words.split())

    def _mount(self, host: Host) -> None:
        base = self.base(host.suite)
        for part in ("upper", "work", "root"):
            (host.folder / part).mkdir(parents=True)
        options = f"lowerdir={base},upperdir={host.folder}/upper,workdir={host.folder}/work"
        if not works(
            "mount", "-t", "overlay", "overlay", "-o", options, host.root
        ):  # an overlay on an overlay, in a container
            quietly("cp", "-a", "--reflink=auto", f"{base}/.", host.root)

    def start(self, name: str) -> None:
        """Switch a host on, and wait for its SSH."""
        host = self.hosts[name]
        # A control group of its own: else all share one, and stopping a unit of one would hit another's.
        enter = ""
        for group in _groups(host.space):
            group.mkdir(parents=True, exist_ok=True)
            enter += f"echo $$ > {group}/cgroup.procs; "
        nspawn = (
            f"systemd-nspawn -q -b --register=no --keep-unit -M {host.space} -D {host.root} --console=pipe "
            f"--network-namespace-path=/run/netns/{host.space} --resolv-conf=off "
            "--capability=CAP_NET_ADMIN,CAP_BPF --system-call-filter=bpf"
        )
        loop = f"{enter}while :; do {nspawn}; [ $? = {REBOOTED} ] || exit; done"
        environment = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        with (host.folder / "console.log").open("ab") as log:
            host.starter = subprocess.Popen(
                ["sh", "-c", loop],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        hello = f"exec 3<>/dev/tcp/{host.address}/22 && read -t 2 <&3"
        command = self.inside("bash", "-c", hello)
        until(lambda: works(*command), 60, f"SSH of {name}")

    def power_cut(self, name: str) -> None:
        """Switch a host off in the middle of whatever it does."""
        host = self.hosts[name]
        if host.starter is None:
            return
        nspawns = children(host.starter.pid)
        guests = [
            pid
            for nspawn in nspawns
            for pid in children(nspawn)
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
        ]
        # The loop first, so that nothing restarts; killing nspawn alone would leave the guest running.
        for pid in (host.starter.pid, *(guests or nspawns)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        host.starter.wait()
        host.starter = None
        until(lambda: not any(map(alive, [*nspawns, *guests])), 20, f"power cut of {name}")

    def ssh(self, name: str) -> list[str]:
        """The beginning of a command line that runs something on a host."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        words = [word for option in options for word in ("-o", option)]
        return self.inside("ssh", "-i", self.key, *words, f"root@{self.hosts[name].address}")

    def run(
        self, name: str, command: str, stdin: str | None = None, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host."""
        done = subprocess.run(
            [*self.ssh(name), command],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{name}: {command}: status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done

    def send(self, name: str, files: Sequence[Path], folder: str) -> None:
        """Copy files into a folder of a host."""
        target = self.hosts[name].root / folder.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy(path, target)

    # End

    def down(self) -> None:
        """Switch everything off and leave nothing but the cache."""
        for name in self.hosts:
            self.power_cut(name)
        self._proxy.terminate()
        self._proxy.wait()
        self._sweep()
        self._lock.close()

    def _sweep(self) -> None:
        """What a lab that was killed may have left behind, too: the lock says that nobody uses it."""
        for group in _groups(f"{SPACE}-*"):
            for procs in group.parent.glob(f"{group.name}/**/cgroup.procs"):
                for pid in procs.read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        for line in Path("/proc/mounts").read_text().splitlines():
            _, where, kind, options, *_ = line.split()
            if kind == "overlay" and f"lowerdir={self.cache}/base/" in options:
                works("umount", "-l", where)
        for host in self.hosts.values():
            shutil.rmtree(host.folder, ignore_errors=True)
        for path in Path("/run/netns").glob(f"{SPACE}*"):
            works("ip", "netns", "del", path.name)
        for group in _groups(f"{SPACE}-*"):
            for folder in sorted(group.parent.glob(f"{group.name}/**/"), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _groups(name: str) -> list[Path]:
    tops = [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
    return [top / name for top in tops if (top / "cgroup.procs").exists()]


def write(path: Path, text: str) -> None:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
