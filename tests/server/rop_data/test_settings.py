"""rop.json: the numbers of raw commands that clients may send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rop_data import settings
from rop_data.config import ConfigError
from rop_data.settings import RopSettings


def test_raw_commands_are_off_until_they_are_listed(tmp_path: Path) -> None:
    new = RopSettings.new(adopted=False)
    assert new.signal_commands == ()
    some = settings.patch(new, {"rop.signalCommands": [199, 104, 104]})
    settings.save(tmp_path / "rop.json", some)
    assert json.loads((tmp_path / "rop.json").read_text())["signalCommands"] == [104, 199]
    assert settings.load(tmp_path / "rop.json") == some
    assert settings.patch(some, {"rop.signalCommands": None}) == new


def test_a_file_of_before_has_none(tmp_path: Path) -> None:
    path = tmp_path / "rop.json"
    settings.save(path, RopSettings.new(adopted=True))
    document = json.loads(path.read_text())
    del document["signalCommands"]
    path.write_text(json.dumps(document))
    loaded = settings.load(path)
    assert loaded is not None and loaded.signal_commands == ()


@pytest.mark.parametrize(
    "value", ["104", 104, [-1], [2**32], [True], ["104"], [1.0], {"104": 1}, [0] * 300], ids=str
)
def test_only_lists_of_command_numbers(tmp_path: Path, value: Any) -> None:
    new = RopSettings.new(adopted=False)
    with pytest.raises(ConfigError) as refused:
        settings.patch(new, {"rop.signalCommands": value})
    assert refused.value.member == "rop.signalCommands"
    path = tmp_path / "rop.json"
    path.write_text(json.dumps(json.loads(new.encode()) | {"signalCommands": value}))
    with pytest.raises(ConfigError):
        settings.load(path)
