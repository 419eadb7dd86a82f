"""The OpenAPI document of 61009, generated from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rop_server.client.operations import OPERATIONS, Operation
from rop_server.client.schemas import FIRMWARE_NAME, REFUSALS, SCHEMAS, SESSION_ID, UID
from rop_server.schema import Schema, ref
from rop_wire.symbols import SYMBOLS

_PARAMETERS = {"uid": UID, "fileName": FIRMWARE_NAME, "session-id": SESSION_ID}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the client interface."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    used = {symbol for operation in OPERATIONS for symbol in _symbols(operation)}
    refusals = {symbol: schema for symbol, schema in REFUSALS.items() if symbol in used}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rop-server client interface (61009)",
            "version": "1.0",
            "description": "Plain HTTP without authentication: the port belongs behind a firewall or a gateway. "
            "Paths are matched as they are sent, nothing is decoded; one trailing slash is tolerated. "
            "Parameters of the path are checked first, then the body, then the query, then the device is asked.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": paths,
        "components": {"schemas": SCHEMAS | refusals},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]}
                for name in _named(operation)
            ),
            *(
                {"name": name, "in": "query", "required": name not in operation.optional, "schema": schema}
                for name, schema in operation.query.items()
            ),
        ],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        kind = "application/octet-stream" if operation.raw else "application/json"
        described["requestBody"] = {"required": not operation.raw, "content": {kind: {"schema": operation.body}}}
    return described


def _named(operation: Operation) -> list[str]:
    return re.findall(r"\{([^}]+)\}", operation.path)


def _symbols(operation: Operation) -> list[str]:
    return [*(["invalid_parameter"] if operation.checked else []), *operation.symbols]


def _responses(operation: Operation) -> dict[str, Any]:
    replies = {"200": _reply("Done.", operation.content, operation.reply)}
    refusals: dict[int, list[str]] = {}
    for symbol in _symbols(operation):
        refusals.setdefault(SYMBOLS[symbol].status, []).append(symbol)
    if _named(operation):
        refusals.setdefault(404, [])
    for status, symbols in sorted(refusals.items()):
        schemas = [ref(symbol) for symbol in symbols]
        text = _words(symbols)
        if status == 404 and _named(operation):  # a parameter of the path that is empty, or no single segment
            schemas.append(ref("NotFound"))
            text = " ".join([*([text] if symbols else []), _absent(operation)])
        replies[str(status)] = _reply(text, "application/json", {"oneOf": schemas})
    return replies


def _absent(operation: Operation) -> str:
    return "No such path" + (", or raw commands are switched off." if operation.switched else ".")


def _words(symbols: Iterable[str]) -> str:
    return ", ".join(f"`{symbol}`" for symbol in symbols) + "."


def _reply(text: str, kind: str, schema: Schema) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}
