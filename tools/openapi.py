"""Writes the OpenAPI documents below docs/reference from their tables of operations; `--check` only compares."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"


def documents() -> dict[Path, str]:
    """Every document with its text."""
    sys.path.insert(0, str(ROOT / "server"))
    from rop_server.client import openapi as client
    from rop_server.manage import openapi as management

    made = {"client": client.document(), "management": management.document()}
    return {REFERENCE / f"{name}-openapi.json": json.dumps(told, indent=2) + "\n" for name, told in made.items()}


def main(arguments: list[str]) -> int:
    """Exit code 1 when `--check` finds a file out of date."""
    stale = {path: text for path, text in documents().items() if not path.exists() or path.read_text() != text}
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
