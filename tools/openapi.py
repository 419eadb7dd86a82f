"""Writes docs/reference/management-openapi.json from the table of operations; `--check` only compares."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/reference/management-openapi.json"


def main(arguments: list[str]) -> int:
    """Exit code 1 when `--check` finds the file out of date."""
    sys.path.insert(0, str(ROOT / "server"))
    from rop_server.manage.openapi import document

    text = json.dumps(document(), indent=2) + "\n"
    if "--check" in arguments:
        if not TARGET.exists() or TARGET.read_text() != text:
            print(f"{TARGET.relative_to(ROOT)} is out of date: run `make generate`", file=sys.stderr)
            return 1
        return 0
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
