"""Names of faults, and their page in the documentation."""

import re
from pathlib import Path

import pytest

from rop_sim.faults import KINDS, FaultError, Faults, reference

ROOT = Path(__file__).parents[3]


def test_numbers() -> None:
    faults = Faults(["late-answers", "stream-drop=0.5", "no-heartbeats"])
    assert faults.names == ["late-answers", "no-heartbeats", "stream-drop"]
    assert (faults.number("late-answers"), faults.number("stream-drop")) == (11, 0.5)
    assert "garbage" not in faults
    assert faults.number("garbage") is None
    faults.clear()
    assert faults.names == []


@pytest.mark.parametrize(
    "word", ["", "nonsense", "garbage=1", "stream-drop=", "stream-drop=x", "stream-drop=-1", "late-answers=nan"]
)
def test_refused(word: str) -> None:
    with pytest.raises(FaultError):
        Faults([word])


def test_documentation_lists_all() -> None:
    assert (ROOT / "docs/reference/ropsim-faults.md").read_text() == reference()


def test_every_fault_is_performed() -> None:
    """Each name is asked for somewhere in the camera."""
    code = "".join(path.read_text() for path in (ROOT / "server/rop_sim").glob("*.py") if path.name != "faults.py")
    asked = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', code))
    assert set(KINDS) <= asked
