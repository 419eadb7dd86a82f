"""Every fault that the documentation of virtual cameras lists is tried by a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# These test the list of faults, not what they do.
LISTS = {ROOT / "tests/house/test_faults.py", ROOT / "tests/server/rop_sim/test_faults.py"}


def test_every_documented_fault_is_tried() -> None:
    listed = re.findall(
        r"^\| `([a-z-]+)` \|", (ROOT / "docs/reference/ropsim-faults.md").read_text(), re.MULTILINE
    )
    assert listed
    tried = {
        word.partition("=")[0]
        for path in (ROOT / "tests").rglob("test_*.py")
        if path not in LISTS
        for word in _texts(ast.parse(path.read_text()))
    }
    assert [name for name in listed if name not in tried] == []


def _texts(tree: ast.AST) -> list[str]:
    """The texts of a file; of one that is put together, its beginning."""
    return [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
