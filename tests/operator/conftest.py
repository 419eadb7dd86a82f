"""Documents for the tests of the engine's rooms."""

from pathlib import Path
from typing import Any

import pytest
import yaml

TABLE = Path(__file__).parent / "bad_documents.yaml"
GOOD: dict[str, dict[str, Any]] = {
    "Camera": {"serverRef": {"name": "home"}, "uid": "952700010000ABCD"},
    "RopServer": {"host": "rop.example.net"},
    "CameraProfile": {"serverRef": {"name": "home"}, "selector": {"matchLabels": {"place": "yard"}}},
    "KeyRotation": {"serverRef": {"name": "home"}, "item": "Root", "toGeneration": 2},
    "FirmwareImage": {"sha256": "ab" * 32, "version": "v3.2", "models": ["E1 Pro"], "source": {"upload": {}}},
    "FirmwareRollout": {
        "serverRef": {"name": "home"},
        "imageRef": {"name": "e1"},
        "selector": {"matchLabels": {"place": "yard"}},
    },
    "RopBackup": {"serverRef": {"name": "home"}},
    "RecoveryDrill": {"serverRef": {"name": "home"}},
}


def good_object(kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "rop.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": dict(GOOD[kind]),
    }


def merge(base: Any, change: Any) -> Any:
    """RFC 7386: null removes."""
    if not isinstance(change, dict):
        return change
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def bad_object(row: dict[str, Any]) -> dict[str, Any]:
    document = good_object(row["kind"], row["name"])
    return {**document, "spec": merge(document["spec"], row["spec"])}


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text())
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `bad_row` runs once for every row of the table."""
    if "bad_row" in metafunc.fixturenames:
        metafunc.parametrize("bad_row", rows(), ids=[row["name"] for row in rows()])


@pytest.fixture
def bad_document(bad_row: dict[str, Any]) -> dict[str, Any]:
    """The broken object of a row."""
    return bad_object(bad_row)


@pytest.fixture
def good_document(bad_row: dict[str, Any]) -> dict[str, Any]:
    """The same object before it was broken."""
    return good_object(bad_row["kind"], bad_row["name"])
