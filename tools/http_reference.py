"""Writes docs/reference/http.md from a run of every call against a server; `--check` only compares."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = "tests/server/rop_server/device/test_reference.py"


def main(arguments: list[str]) -> int:
    """Exit code 1 when `--check` finds the file out of date, or a call does not work."""
    mode = "check" if "--check" in arguments else "write"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST],
        cwd=ROOT,
        env={**os.environ, "ROP_HTTP_REFERENCE": mode},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        print(run.stdout, file=sys.stderr)
    return min(run.returncode, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
