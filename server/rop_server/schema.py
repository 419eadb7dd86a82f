"""Words of JSON schema, for the OpenAPI documents of both HTTP interfaces."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"type": ["string", "null"]}
TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
NUMBER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def of(*required: str, **members: Schema) -> Schema:
    """An object; every member is required unless some are named."""
    return {"type": "object", "properties": members, "required": list(required) or list(members)}


def mapping(values: Schema) -> Schema:
    """An object with free names."""
    return {"type": "object", "additionalProperties": values}


def maybe(schema: Schema) -> Schema:
    """The value or null."""
    return {"oneOf": [schema, {"type": "null"}]}
