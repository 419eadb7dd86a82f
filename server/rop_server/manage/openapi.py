"""The OpenAPI document, generated from the table of operations."""

from __future__ import annotations

from typing import Any

from rop_server.manage.operations import OPERATIONS, PREFIX, Operation
from rop_server.manage.schemas import SCHEMAS
from rop_server.rotation.item import Item
from rop_server.schema import ref

_ERROR = {"application/json": {"schema": ref("Error")}}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the management interface."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rop-server management interface",
            "version": "1",
            "description": "Every response has the header `Rop-Instance`. On the unix socket no token is needed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "security": [] if operation.scope is None else [{"token": []}],
    }
    if operation.scope is not None:
        described["x-scope"] = operation.scope
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{uid}" in operation.path:
        schema = {"type": "string", "pattern": "^[A-Z0-9]{16}$"}
        found.append({"name": "uid", "in": "path", "required": True, "schema": schema})
    if "{item}" in operation.path:
        items = {"type": "string", "enum": [item.value for item in Item]}
        found.append({"name": "item", "in": "path", "required": True, "schema": items})
    if "{name}" in operation.path:
        named: dict[str, Any] = {"type": "string", "maxLength": 255}
        found.append({"name": "name", "in": "path", "required": True, "schema": named})
    query = dict(operation.query)
    if operation.fenced:
        query["fence"] = {"type": "integer", "minimum": 0}
        found.append({"name": "Rop-Manager", "in": "header", "schema": {"type": "string"}})
    found.extend({"name": name, "in": "query", "schema": schema} for name, schema in query.items())
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    schema = operation.reply if operation.reply is not None else {"type": "string"}
    replies: dict[str, Any] = {"200": {"description": "Done.", "content": {operation.content: {"schema": schema}}}}
    texts = dict(operation.replies)
    if operation.scope is not None:
        texts.setdefault(401, "`unauthorized`: no valid token.")
        texts.setdefault(403, f"`forbidden`: the token lacks scope {operation.scope}.")
    if operation.fenced:
        fenced = "`managed_elsewhere` or `fenced`: the caller does not manage this server."
        texts[409] = f"{texts[409]} {fenced}" if 409 in texts else fenced
    if operation.body is not None or operation.query or operation.fenced or "{" in operation.path:
        texts.setdefault(422, "`invalid_parameter` with the field.")
    for status, text in sorted(texts.items()):
        same = status == 503 and operation.reply is not None
        content = {"application/json": {"schema": schema}} if same else _ERROR
        replies[str(status)] = {"description": text, "content": content}
    return replies
