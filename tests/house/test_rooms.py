"""The rules of the house: borders, sizes, layout. Each fails the build when it is broken."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "operator/rop_operator",
    "server/rop_wire",
    "server/rop_pki",
    "server/rop_data",
    "server/rop_server",
    "server/rop_gateway",
    "server/rop_sim",
    "server/rop_drill",
    "server/rop_pod",
]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
# A longer file or function says why in a comment that starts like this.
LENGTH_REASON = re.compile(r"# (long|file): \S+")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]


def test_stdlib_modules_are_not_shadowed() -> None:
    run = subprocess.run(
        [sys.executable, "-S", "-c", "import collections, operator; print(operator.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert str(ROOT) not in run.stdout


@pytest.mark.parametrize("room", ["operator", "server", "tests"])
def test_rooms_are_not_packages(room: str) -> None:
    inits = tracked(f"{room}/**/__init__.py", f"{room}/__init__.py")
    packages = [ROOT / package for package in PACKAGES]
    strays = [p for p in inits if not any(package == p.parent or package in p.parents for package in packages)]
    assert strays == []


def test_every_room_exists() -> None:
    rooms = ["operator", "server", "playbooks", "roles", "charts", "crds", "tests", "docs", "examples", "tools"]
    assert [room for room in rooms if not tracked(f"{room}/**", f"{room}/*")] == []


def test_no_file_or_function_is_too_long() -> None:
    long: list[str] = []
    for path in tracked("*.py"):
        text = path.read_text()
        lines = text.splitlines()
        if len(lines) > MAX_FILE_LINES and not LENGTH_REASON.search("\n".join(lines[:5])):
            long.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                reason = LENGTH_REASON.search("\n".join(lines[node.lineno - 2 : node.lineno]))
                if length > MAX_FUNCTION_LINES and not reason:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert long == []


def test_no_module_is_a_junk_drawer() -> None:
    bad = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [p for p in tracked("*.py") if p.stem in bad or p.parent.name in bad] == []


def test_skips_have_a_written_reason() -> None:
    allowed = [line.split("#")[0].strip() for line in (ROOT / "tests/SKIPS").read_text().splitlines()]
    word = re.compile(r"pytest\.(skip|importorskip)\(|mark\.(skip|skipif|xfail)\b")
    found = [
        f"{path.relative_to(ROOT)}"
        for path in tracked("tests/*.py", "tests/**/*.py")
        if path != Path(__file__) and word.search(path.read_text())
    ]
    assert [name for name in found if name not in allowed] == []


# What must turn the import contracts red: file to append to, line, name of the contract.
FORBIDDEN = [
    (
        "operator/rop_operator/domain/plan.py",
        "import rop_server.core.facade",
        "Engine and server meet on HTTP only",
    ),
    ("operator/rop_operator/domain/plan.py", "import asyncio", "Decisions are pure"),
    ("operator/rop_operator/api/facts.py", "import rop_operator.domain.plan", "The engine imports one way"),
    ("operator/rop_operator/reconcile/__init__.py", "import kopf", "kopf lives in the handlers"),
    ("server/rop_wire/packet.py", "import socket", "rop_wire is sans-IO"),
    ("server/rop_server/core/facade.py", "import rop_server.net", "The server imports one way"),
    ("server/rop_sim/__init__.py", "import rop_server", "Virtual cameras know the wire"),
    ("server/rop_drill/__init__.py", "import rop_server", "A drill meets the server on its ports only"),
    ("server/rop_server/app.py", "import rop_drill", "The server knows nothing of drills that run"),
    ("server/rop_data/layout.py", "import rop_pod", "Nothing imports what prepares a pod"),
    ("server/rop_gateway/__init__.py", "import rop_server", "The gateway meets the server on HTTP"),
    ("server/rop_pki/__init__.py", "import rop_wire", "rop_pki imports nothing of ours"),
]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": f"{tree}/operator:{tree}/server", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_forbidden_imports_turn_the_contracts_red(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / ".importlinter", tmp_path)
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    for name, line, _ in FORBIDDEN:
        target = tmp_path / name
        target.write_text(f"{target.read_text()}\n{line}\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    kept = [
        contract
        for _, _, contract in FORBIDDEN
        if not re.search(rf"{re.escape(contract)}.* BROKEN", broken.stdout)
    ]
    assert kept == [], broken.stdout
