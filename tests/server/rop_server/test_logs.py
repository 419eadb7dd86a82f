"""Log lines: one JSON object each, levels, masked secrets, the standard library's loggers."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from rop_server import logs


def test_a_line(log_lines: Any) -> None:
    structlog.get_logger("rop.core").info(
        "ready", ports={"signalingTLS": 61005}, code="Abcd1234", signKey="x" * 32
    )
    line = json.loads(log_lines())
    assert line.pop("date") > 1_700_000_000_000
    assert line == {
        "level": "info",
        "subject": "rop.core",
        "action": "ready",
        "ports": {"signalingTLS": 61005},
        "code": "***",
        "signKey": "***",
    }


def test_levels_change_live(log_lines: Any) -> None:
    log = structlog.get_logger("rop.core")
    logs.set_levels(frozenset({"error"}))
    log.info("hidden")
    log.error("shown")
    logs.set_levels(logs.LEVELS)
    log.debug("shown-too")
    assert [json.loads(line)["action"] for line in log_lines().splitlines()] == ["shown", "shown-too"]


def test_exceptions_and_the_standard_library(log_lines: Any) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("rop.core").exception("failed")
    logging.getLogger("aiohttp.server").error("odd %s", "thing")
    failed, library = (json.loads(line) for line in log_lines().splitlines())
    assert failed["level"] == "error" and "ValueError: broken" in failed["exception"]
    assert (library["action"], library["message"], library["subject"]) == (
        "library",
        "odd thing",
        "aiohttp.server",
    )


@pytest.mark.parametrize(
    ("raw", "levels"),
    [
        ({}, logs.DEFAULT_LEVELS),
        ({"logs": {"subjects": {"default": {"enabled": False}}}}, frozenset()),
        ({"logs": {"subjects": {"default": {"levels": ["debug", "error", "odd"]}}}}, {"debug", "error"}),
        ({"logs": {"subjects": []}}, logs.DEFAULT_LEVELS),
    ],
)
def test_levels_of_a_configuration(raw: dict[str, Any], levels: frozenset[str]) -> None:
    assert logs.levels_of(raw) == levels


def test_a_closed_output_stops_nothing(log_lines: Any, tmp_path: Any) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    logs.configure(closed)
    structlog.get_logger("rop.core").info("nobody-reads-this")
    assert log_lines() == ""
