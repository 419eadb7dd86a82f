"""The locked sets agree with what the project asks for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))


def test_packages_of_a_host_lock_every_dependency_as_the_cluster_has_it() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in asked}
    host, runtime = locked("host.txt"), locked("runtime.txt")
    assert names - set(host) == set()
    assert {name: version for name, version in host.items() if runtime.get(name) != version} == {}
