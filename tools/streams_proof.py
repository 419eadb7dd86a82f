"""Writes docs/reference/streams-proof.md from runs of real players; its test compares."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = "tests/server/rop_server/rtsp/test_streams_proof.py"


def main() -> int:
    """Exit code 1 when a player does not get what was sent."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST],
        cwd=ROOT,
        env={**os.environ, "ROP_STREAMS_PROOF": "write"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        print(run.stdout, file=sys.stderr)
    return min(run.returncode, 1)


if __name__ == "__main__":
    sys.exit(main())
