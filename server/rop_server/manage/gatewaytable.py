"""The operations on the gateway and its callers, and their documents."""

from __future__ import annotations

from rop_server.access.grants import MAX_LABELS, MAX_UIDS, VERBS
from rop_server.manage.operation import Operation
from rop_server.schema import ANY, FLAG, NUMBER, TEXT, TIME, Schema, array, mapping, maybe, of, ref

_UID = {"type": "string", "pattern": "^[A-Z0-9]{16}$"}
_LABELS = {"type": "object", "maxProperties": MAX_LABELS, "additionalProperties": {"type": "string"}}
_CAMERAS: Schema = {
    "type": "object",
    "properties": {"uids": {"type": "array", "maxItems": MAX_UIDS, "items": _UID}, "labels": _LABELS},
    "additionalProperties": False,
}
_VERBS: Schema = {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(VERBS)}}

GATEWAY_SCHEMAS: dict[str, Schema] = {
    "Gateway": of(present=FLAG, reportedAt=TIME, status=maybe({"type": "object", "additionalProperties": ANY})),
    "GatewayToken": of(name=TEXT, verbs=array(TEXT), cameras=maybe(_CAMERAS), createdAt=TIME, expiresAt=TIME),
    "GatewayTokens": of(items=array(ref("GatewayToken"))),
    "GatewayTokenRequest": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
            "verbs": _VERBS,
            "cameras": {"oneOf": [_CAMERAS, {"type": "null"}]},
            "expiresAt": {"type": "string", "format": "date-time"},
        },
        "required": ["name", "verbs", "expiresAt"],
        "additionalProperties": False,
    },
    "GatewayTokenMade": of(name=TEXT, token=TEXT, expiresAt=TIME),
    "Labels": of(labels=mapping(_LABELS)),
    "LabelsTaken": of(cameras=NUMBER),
    "CertificateRequest": of(csr=TEXT),
    "SignedChain": of(chain=TEXT),
}

GATEWAY_OPERATIONS = (
    Operation(
        "GET",
        "/gateway",
        "get_gateway",
        "What the gateway says of itself. `present`: it reported within 45 s.",
        "Observe",
        reply=ref("Gateway"),
    ),
    Operation(
        "POST",
        "/gateway/certificate",
        "sign_gateway_certificate",
        "Sign a certificate request of a gateway; its names must be in `rop.gateway.hosts`. The key stays there.",
        "Admin",
        body=ref("CertificateRequest"),
        reply=ref("SignedChain"),
        replies={403: "`not_signed`: the request asks for what is not allowed."},
        fenced=True,
    ),
    Operation(
        "GET",
        "/gateway/tokens",
        "list_gateway_tokens",
        "Tokens of the gateway's callers, without their secrets.",
        "Control",
        reply=ref("GatewayTokens"),
    ),
    Operation(
        "POST",
        "/gateway/tokens",
        "create_gateway_token",
        "Make a token. This answer is the only place where it can be read.",
        "Admin",
        body=ref("GatewayTokenRequest"),
        reply=ref("GatewayTokenMade"),
        replies={409: "`token_exists`.", 422: "`invalid_parameter`, with the field."},
        fenced=True,
    ),
    Operation(
        "DELETE",
        "/gateway/tokens/{name}",
        "revoke_gateway_token",
        "Revoke a token: its calls are refused and its viewers ended when this answers.",
        "Admin",
        reply=ref("GatewayTokens"),
        replies={404: "`token_unknown`."},
        fenced=True,
    ),
    Operation(
        "PUT",
        "/labels",
        "replace_labels",
        "Replace the labels of all cameras, by which tokens name groups of them.",
        "Control",
        body=ref("Labels"),
        reply=ref("LabelsTaken"),
        fenced=True,
    ),
)
