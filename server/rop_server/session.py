"""The initialization session: what a device is handed at set-up."""

from __future__ import annotations

import math
from typing import Any

from rop_data.config import Config
from rop_server.core.facade import IssuedCode


def session_document(issued: IssuedCode, config: Config, ca_hash: str, now: float) -> dict[str, Any]:
    """The document of an initialization session, member order as the vendor's; `now` in epoch seconds.

    Source: ROP v1.0 wire specification, client-api 2.1; discrepancies A1 (seconds), B2 (uid).
    """
    return {
        "uid": issued.uid,
        "caHash": ca_hash,
        "code": issued.code,
        "host": config.server_host,
        "getCAPort": config.port("getCAHttps"),
        "getCertPort": config.port("getCertHttps"),
        "registerPort": config.port("registerHttps"),
        "time": math.ceil(now),
    }
