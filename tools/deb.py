"""`make deb`: Debian packages of this checkout below dist/SUITE, the same bytes each time.

`rop-core-VERSION` holds the programs and their locked dependencies in a virtual environment below
/usr/lib/rop/VERSION: versions live side by side. The other packages hold units,
users and links to the programs.
Needs the Debian packages debhelper, dpkg-dev and help2man, and a package index or a folder of wheels (`--wheels`).
"""

import argparse
import datetime
import email.utils
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build/deb"
SOURCES = ROOT / "packaging/debian"
SUITES = {"bookworm": ("deb12", "3.11"), "trixie": ("deb13", "3.13")}
PROGRAMS = {
    "rop-server": ["rop-server", "rop-drill", "ropsim"],
    "rop-gateway": ["rop-gateway"],
    "rop-operator": ["rop-agent", "ropctl"],
}
SUMMARIES = {
    "rop-server": "core server for ROP cameras",
    "rop-drill": "recovery drills with archives of a core server",
    "ropsim": "virtual ROP cameras",
    "rop-gateway": "HTTPS and RTSPS in front of a core server",
    "rop-agent": "reconciles the documents of a plain host",
    "ropctl": "plans, applies and shows servers and cameras",
}
# glibc of Debian 12 is 2.36.
GLIBC = (17, 24, 27, 28, 31, 34, 35)


@dataclass(frozen=True)
class Release:
    """One version for one suite of Debian."""

    suite: str
    upstream: str
    revision: int

    @property
    def version(self) -> str:
        """As in the folder and in the package's name."""
        return f"{self.upstream}-{self.revision}"

    @property
    def package_version(self) -> str:
        """As dpkg compares it."""
        return f"{self.version}+{SUITES[self.suite][0]}"

    @property
    def python(self) -> str:
        """Python of the suite, as in 3.11."""
        return SUITES[self.suite][1]

    @property
    def priority(self) -> int:
        """Of the alternative: newer wins."""
        major, minor, patch = (int(part) for part in self.upstream.split("."))
        return ((major * 100 + minor) * 100 + patch) * 1000 + self.revision

    @property
    def home(self) -> str:
        """Where the programs are, on the host."""
        return f"/usr/lib/rop/{self.version}"

    def fill(self, text: str) -> str:
        """A template with its @names@ filled in."""
        values = {
            "core": f"rop-core-{self.version}",
            "arch": subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip(),
            "python": f"python{self.python}",
            "interpreter": f"/usr/bin/python{self.python}",
            "version": self.version,
            "home": self.home,
            "priority": str(self.priority),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text


def commit_time() -> int:
    """When the checkout was committed: the time of everything in the packages."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    return int(subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True))


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run quietly; on failure show what was said and end."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stdout[-6000:])
        sys.exit(f"deb: {Path(str(command[0])).name} ended with status {done.returncode}")


def build_wheel(epoch: int) -> Path:
    """This project as a wheel."""
    folder = BUILD / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--disable-pip-version-check",
        "--wheel-dir",
        folder,
    ]
    run(sys.executable, "-m", "pip", "wheel", *map(str, options), ".", SOURCE_DATE_EPOCH=str(epoch))
    return next(folder.glob("*.whl"))


def install_wheels(release: Release, target: Path, wheel: Path, wheels: str | None) -> None:
    """The locked dependencies and the project's wheel, for the Python of the suite whatever this machine's is."""
    machine = platform.machine()
    platforms = [f"manylinux_2_{n}_{machine}" for n in GLIBC] + [f"manylinux2014_{machine}"]
    options = ["--disable-pip-version-check", "--quiet", "--no-compile", "--no-deps", "--only-binary", ":all:"]
    options += ["--target", str(target), "--upgrade", "--python-version", release.python, "--implementation", "cp"]
    options += [word for name in platforms for word in ("--platform", name)]
    if wheels:
        options += ["--no-index", "--find-links", wheels]
    pip = (sys.executable, "-m", "pip", "install", *options)
    run(*pip, "--require-hashes", "-r", "requirements/host.txt")
    run(*pip, str(wheel))
    shutil.rmtree(target / "bin", ignore_errors=True)
    for path in target.glob("*.dist-info/direct_url.json"):
        path.unlink()  # names the folder of the build
        record = path.with_name("RECORD")
        kept = [line for line in record.read_text().splitlines(keepends=True) if "/direct_url.json," not in line]
        record.write_text("".join(kept))


def lay_out(release: Release, core: Path, wheel: Path, wheels: str | None) -> None:
    """A virtual environment that belongs at `release.home`."""
    home = core / release.home.lstrip("/")
    install_wheels(release, home / f"lib/python{release.python}/site-packages", wheel, wheels)
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to(f"/usr/bin/python{release.python}")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name in (name for names in PROGRAMS.values() for name in names):
        module, _, function = scripts[name].partition(":")
        script = home / "bin" / name
        lines = (
            *(f"#!{release.home}/bin/python3 -I", "import sys", ""),
            *(f"from {module} import {function}", "", f"sys.exit({function}())"),
        )
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)


def completion(program: str) -> str:
    """What bash sources to complete a command of ours."""
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    command = [Path(sys.executable).with_name(program)]
    return subprocess.check_output(command, env={**os.environ, variable: "bash_source"}, text=True)


def manual(program: str, release: Release, epoch: int) -> str:
    """Its page for man(1), from its --help."""
    texts = ["--no-info", "--name", SUMMARIES[program], "--version-string", f"{program} {release.upstream}"]
    command = ["help2man", *texts, str(Path(sys.executable).with_name(program))]
    return subprocess.check_output(command, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}, text=True)


def describe(release: Release, tree: Path, epoch: int) -> None:
    """The folder debian/ of the build tree."""
    debian = tree / "debian"
    shutil.copytree(SOURCES, debian)
    core = f"rop-core-{release.version}"
    for template in debian.glob("*.in"):
        name = template.name.removesuffix(".in")
        made = debian / (f"{core}.{name.removeprefix('core.')}" if name.startswith("core.") else name)
        made.write_text(release.fill(template.read_text()))
        template.unlink()
    when = email.utils.format_datetime(datetime.datetime.fromtimestamp(epoch, datetime.UTC))
    (debian / "changelog").write_text(
        f"rop-operator ({release.package_version}) {release.suite}; urgency=medium\n\n"
        f"  * See CHANGELOG.md.\n\n -- ROP Operator maintainers <maintainers@rop.example>  {when}\n"
    )
    (tree / "stage/completions").mkdir(parents=True)
    for package, programs in PROGRAMS.items():
        links = [f"/usr/lib/rop/current/bin/{name} /usr/bin/{name}" for name in programs]
        (debian / f"{package}.links").write_text("\n".join(links) + "\n")
        for name in programs:
            (tree / "stage/completions" / name).write_text(completion(name))
            (debian / f"{name}.1").write_text(manual(name, release, epoch))
        with (debian / f"{package}.install").open("a") as file:
            file.writelines(
                f"stage/completions/{name} usr/share/bash-completion/completions\n" for name in programs
            )
        (debian / f"{package}.manpages").write_text("".join(f"debian/{name}.1\n" for name in programs))
    (debian / f"{core}.install").write_text("stage/core/usr/lib/rop usr/lib\n")


def build(release: Release, epoch: int, wheel: Path, wheels: str | None, dist: Path) -> list[Path]:
    """The packages of one suite, in a folder of their own; packages of an earlier build are removed from it."""
    tree = BUILD / release.suite / "tree"
    shutil.rmtree(tree.parent, ignore_errors=True)
    tree.mkdir(parents=True)
    describe(release, tree, epoch)
    lay_out(release, tree / "stage/core", wheel, wheels)
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        shutil.copy(path, tree)
    for path in tree.rglob("*"):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    run("dpkg-buildpackage", "-b", "-us", "-uc", cwd=tree, SOURCE_DATE_EPOCH=str(epoch))
    dist.mkdir(parents=True, exist_ok=True)
    for earlier in dist.glob("*.deb"):
        earlier.unlink()
    made = [Path(shutil.copy(path, dist)) for path in sorted(tree.parent.glob("*.deb"))]
    shutil.rmtree(tree.parent)
    return made


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, action="append", help="default: all")
    parser.add_argument("--revision", type=int, default=1, help="of the packages [1]")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "dist", help="a folder for each suite is made here [dist]"
    )
    parser.add_argument("--wheels", help="a folder of wheels instead of the package index")
    given = parser.parse_args()
    if not all(map(shutil.which, ("dh", "dpkg-buildpackage", "help2man"))):
        sys.exit("deb: programs are missing (Debian: apt-get install debhelper dpkg-dev help2man)")
    upstream = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    epoch = commit_time()
    os.umask(0o022)
    wheel = build_wheel(epoch)

    def packages(suite: str) -> list[Path]:
        release = Release(suite, upstream, given.revision)
        return build(release, epoch, wheel, given.wheels, given.to.absolute() / suite)

    with ThreadPoolExecutor() as pool:
        for made in pool.map(packages, given.suite or SUITES):
            print(*made, sep="\n")


if __name__ == "__main__":
    main()
