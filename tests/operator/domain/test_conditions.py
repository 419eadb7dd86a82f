"""Conditions, reasons and lines for people."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rop_operator.api.facts import SettingFact, WriteResult
from rop_operator.api.registry import KINDS
from rop_operator.domain import plan as plans
from rop_operator.domain.conditions import REASONS, TYPES, Condition, merged, moment_of, reason_of, timestamp
from rop_operator.domain.describe import describe
from rop_operator.domain.settings import as_last_seen, learned, shown_value

DOMAIN = Path(plans.__file__).parent
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
# Only in findings (events), or internal states of the condition itself.
UNLISTED = {"OneWay", "Released", "DriftRepaired", "Terminating"}


def reasons_in(tree: ast.AST) -> set[str]:
    """Every word given as a reason of a Finding or Condition, or of their shorthands."""
    places = {"Finding": 1, "Condition": 2, "_provisioned": 1, "_in_sync": 1, "_done": 1}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
            place = places[node.func.id]
            if len(node.args) > place and isinstance(node.args[place], ast.Constant):
                found.add(str(node.args[place].value))
    return found


def test_every_reason_is_explained() -> None:
    used = {reason for file in DOMAIN.glob("*.py") for reason in reasons_in(ast.parse(file.read_text()))}
    assert len(used) > 30
    assert used - set(REASONS) - UNLISTED == set()


def test_every_condition_is_explained() -> None:
    assert {type_ for kind in KINDS for type_ in kind.conditions} == set(TYPES)


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("download_ca_failed", "DownloadCaFailed"),
        ("registe_failed", "RegistrationFailed"),
        ("DeviceOffline", "DeviceOffline"),
        ("", "Failed"),
    ],
)
def test_reasons_of_symbols(symbol: str, reason: str) -> None:
    assert reason_of(symbol) == reason


def test_transitions_move_the_time() -> None:
    first = merged({}, [Condition("Ready", "False", "A", "x")], 1, NOW)
    second = merged({"conditions": first}, [Condition("Ready", "False", "B", "y")], 2, NOW + timedelta(hours=1))
    assert second[0]["lastTransitionTime"] == first[0]["lastTransitionTime"] == timestamp(NOW)
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("B", 2)
    third = merged({"conditions": second}, [Condition("Ready", "True", "Ready")], 2, NOW + timedelta(hours=2))
    assert third[0]["lastTransitionTime"] == "2026-05-04T14:00:00Z"


@pytest.mark.parametrize("text", [None, 3, "", "yesterday", "2026-13-01T00:00:00Z"])
def test_no_moments(text: Any) -> None:
    assert moment_of(text) is None


def test_moments() -> None:
    assert moment_of("2026-05-04T12:00:00Z") == NOW
    assert moment_of("2026-05-04T14:00:00+02:00") == NOW


@given(st.text(max_size=300))
def test_values_are_shown_bounded_and_escaped(text: str) -> None:
    shown = shown_value(text)
    assert len(shown) <= 40
    assert shown.isascii()
    assert shown.isprintable()


def test_learned_values(a_device: Any) -> None:
    device = a_device(settings={"displayName": "x"})
    result = WriteResult(False, ("displayName",), {"displayName": "y", "alarm.enabled": True}, {})
    after = learned(device, result, NOW)
    assert after.settings["displayName"] == SettingFact(value="y", at=NOW, how="Written")
    assert after.settings["alarm.enabled"].how == "Read"
    assert device.settings["displayName"].value == "x"


def test_a_server_whose_clock_is_behind_makes_no_value_old(a_device: Any) -> None:
    def fact(value: str, minutes: int | None) -> SettingFact:
        return SettingFact(value=value, at=None if minutes is None else NOW + timedelta(minutes=minutes))

    device = a_device()
    ours = {name: fact("x", 0) for name in ("same", "changed", "newer", "timeless")}
    theirs = {
        "same": fact("x", -60),
        "changed": fact("y", -60),
        "newer": fact("x", 5),
        "timeless": fact("x", None),
        "other": fact("z", -60),
    }
    known, told = (device.model_copy(update={"settings": settings}) for settings in (ours, theirs))
    seen = as_last_seen(known, told).settings
    assert seen == {
        "same": fact("x", 0),
        "changed": fact("y", -60),
        "newer": fact("x", 5),
        "timeless": fact("x", 0),
        "other": fact("z", -60),
    }
    assert as_last_seen(None, told) is told


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (plans.StopRuntime(), "stop the server; its data stays"),
        (plans.RestartRuntime(("ports.clientHttp",)), "restart the server for ports.clientHttp"),
        (plans.TakeManagement(True), "take the server over"),
        (plans.TakeManagement(False), "become the server's manager"),
        (plans.ReplaceClaims("Open", ()), "let any device enrol"),
        (plans.SetFinalizer(True), "hold the document"),
        (plans.SetFinalizer(False), "let the document go"),
        (plans.SetAccess("U", "Denied"), "deny U"),
        (plans.SetAccess("U", "Allowed"), "allow U"),
        (plans.Discover("U"), "look for U"),
        (plans.HandOver("U", 2, None, None), "found by discovery, attempt 2: one-way"),
        (plans.WriteSettings("U", {}, ("pir.enabled",), False), "read settings.pir.enabled (0 writes, 0 wakes)"),
        (
            plans.WriteSettings("U", {"alarm.enabled": True}, (), True),
            "settings.alarm.enabled = true (1 write, 1 wake)",
        ),
        (plans.ApplyConfig({"serverHost": "x"}, {"serverHost": "x"}), "set serverHost = x (needs a restart)"),
        (plans.EnsureRuntime({"serverHost": "x"}, {}), "start the server, with 1 config member"),
    ],
)
def test_lines_for_people(action: plans.Action, words: str) -> None:
    assert words in describe(action)
