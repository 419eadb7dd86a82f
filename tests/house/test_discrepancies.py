"""docs/reference/discrepancies.md names every row of part C once, with tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = {"C1": 6, "C2": 17, "C3": 17, "C4": 20, "C5": 14}
_ROW = re.compile(r"\| (C[1-5]\.\d+) \| ([^|]+) \| ([^|]+) \|")
TABLE = {
    match[1]: re.findall(r"`([^`]+)`", match[3])
    for match in map(_ROW.fullmatch, (ROOT / "docs/reference/discrepancies.md").read_text().splitlines())
    if match
}


@cache
def defined_in(path: str) -> frozenset[str]:
    """The test functions of a file."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_row_is_there() -> None:
    assert list(TABLE) == [f"{part}.{number}" for part, last in ROWS.items() for number in range(1, last + 1)]


@pytest.mark.parametrize("row", TABLE)
def test_the_defined_in_a_row_exist(row: str) -> None:
    assert TABLE[row]
    for name in TABLE[row]:
        path, _, test = name.partition("::")
        assert test in defined_in(path), name
