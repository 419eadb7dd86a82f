"""Requests made from the OpenAPI document of the management interface, right and wrong ones, to a whole server.

Every answer is one the document tells: its status, its type, its body; never a 5xx but the documented one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from schemathesis import GenerationMode

from rop_data.layout import DataDir


@pytest.fixture
def told(document: Any) -> Any:
    return document("management")


async def _check(session: aiohttp.ClientSession, told: Any, call: Any, fence: int) -> None:
    query = {name: str(value) for name, value in call.query.items() if name != "wait"}
    if "fence" in query and "Rop-Manager" in call.headers:
        query["fence"] = str(fence)  # as the manager, or nothing would ever be changed
    url, headers = f"http://server{call.path}", {"Rop-Manager": "schema"}
    async with session.request(call.method, url, params=query, data=call.data, headers=headers) as answer:
        assert answer.status < 500 or call.operation == "ready"
        told.check(call, answer.status, answer.content_type, await answer.read())


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
async def test_answers_are_those_of_the_document(
    server: Any, told: Any, tmp_path: Path, mode: GenerationMode
) -> None:
    connector = aiohttp.UnixConnector(str(DataDir(tmp_path / "data").manage_socket))
    sent = 0
    async with aiohttp.ClientSession(connector=connector) as session:
        for operation in told.operations:
            take = {"id": "schema", "takeOver": True}
            async with session.put("http://server/manage/v1/manager", json=take) as answer:
                fence = (await answer.json())["fence"]
            for call in told.calls(operation, mode):
                await _check(session, told, call, fence)
                sent += 1
    assert sent > 100
    assert all(server.ready().values())
