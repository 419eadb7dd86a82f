"""nginx's configuration from the gateway's document: a pure function, so that it can be compared and tested."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from rop_gateway.config import Gateway
from rop_gateway.nginx import HTTP2_DIRECTIVE, Nginx
from rop_wire.symbols import error_document

# nginx's name, the status we answer, the symbol of the client interface.
ANSWERS = (
    ("malformed", 400, "invalid_parameter"),
    ("unknown", 401, "auth_failed"),
    ("forbidden", 403, "auth_failed"),
    ("too_many", 429, "frequent_request"),
    ("unavailable", 503, "server_internal_error"),
)
_ENVIRONMENT = Environment(
    loader=PackageLoader("rop_gateway"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - nginx's syntax; every value that gets in is checked by `config`
)


def _body(symbol: str) -> str:
    return json.dumps(error_document(symbol), separators=(",", ":"))


def render(document: Gateway, nginx: Nginx, pair: Path | None) -> str:
    """The configuration. `pair`: folder with chain.pem and key.pem, None where TLS ends in front of us."""
    basic = document.htpasswd_file is not None
    return _ENVIRONMENT.get_template("nginx.conf.j2").render(
        it=document,
        nginx=nginx,
        pair=pair,
        listen=[f"[{each}]" if ":" in each else each for each in document.listen],
        http2_directive=nginx.version >= HTTP2_DIRECTIVE,
        challenge='Basic realm="ROP", charset="UTF-8"' if basic else 'Bearer realm="ROP"',
        answers=[(name, status, _body(symbol)) for name, status, symbol in ANSWERS],
        throttled=(429, _body("frequent_request")),
    )
