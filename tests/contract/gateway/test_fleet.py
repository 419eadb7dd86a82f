"""What the engine learns of a real gateway, and the labels that it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rop_operator.adapters.fleet import HttpFleet
from rop_operator.api.parse import server_spec
from rop_operator.domain.config_map import desired_members
from rop_operator.ports import Endpoint

UID, OTHER = "95270000GATEWAY1", "95270000GATEWAY2"


def test_facts_and_labels(gateway: Callable[..., Any], joined: Callable[..., Any], bearer: Any) -> None:
    one = gateway()
    joined(UID)
    joined(OTHER)
    token = bearer(one.token("yard", "read", cameras={"labels": {"place": "yard"}}))
    endpoint = Endpoint(f"unix://{one.site.data}/run/manage.sock", "Management")
    wanted = desired_members(server_spec({"host": "rop.example.net", "gateway": {"host": "GW.example.net"}}), {})

    async def talk() -> Any:
        server = HttpFleet().connect(endpoint)
        try:
            facts = await server.observe({"rop.gateway": wanted["rop.gateway"]})
            await server.take_management("contract", True)
            await server.replace_labels({UID: {"place": "yard"}})
            return facts
        finally:
            await server.close()

    facts = asyncio.run(talk())
    assert facts.config_differs == (), "a host in upper case is the same host"
    told = facts.gateway
    assert told is not None
    assert (told.present, told.reason, told.serving) == (True, "Ready", True)
    assert (told.host, told.https_port, told.rtsps_port) == (
        one.members["host"],
        one.members["httpsPort"],
        one.members["rtspsPort"],
    )
    certificate = one.status()["certificate"]
    assert told.serial == certificate["serial"]
    assert told.not_after is not None
    assert told.not_after.isoformat().replace("+00:00", "Z") == certificate["notAfter"]
    seen = one.call("GET", "/v1.0/devices", **token).json()["items"]
    assert [each["uid"] for each in seen] == [UID]
