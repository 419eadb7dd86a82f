"""The page with set-up codes: who may ask, what it tells, what it never does."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from rop_operator.adapters import setup_code
from rop_operator.adapters.qr_sheet import QrSheet, SheetRow
from rop_operator.api.facts import Session
from rop_operator.ports import PortError

UID = "95270001ABCDEFGH"


class Site:
    """Two cameras, one of them online; every session has a fresh code."""

    def __init__(self) -> None:
        self.cameras = [SheetRow("gate", UID, "<b>Gate</b>", False), SheetRow("hall", "B" * 16, "Hall", True)]
        self.opened: list[Session] = []

    async def rows(self) -> list[SheetRow]:
        return self.cameras

    async def session(self, name: str) -> Session:
        if len(self.opened) == 2:
            raise PortError("FrequentRequest", "too many codes")
        document = {"uid": UID, "code": f"Secret{len(self.opened)}"}
        self.opened.append(Session(UID, document, expires_at=datetime.now(UTC) + timedelta(seconds=59)))
        return self.opened[-1]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def page(site: Site) -> AsyncIterator[str]:
    sheet = QrSheet(site.rows, site.session)
    yield await sheet.start("127.0.0.1", 0)
    await sheet.stop()


async def ask(page: str, method: str, path: str, key: str | None) -> tuple[int, Any]:
    root = page.partition("/#")[0]
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    async with aiohttp.ClientSession() as client, client.request(method, root + path, headers=headers) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


async def test_codes_are_made_when_asked_for_and_are_new_each_time(page: str, site: Site) -> None:
    key = page.partition("#")[2]
    status, listed = await ask(page, "GET", "/cameras", key)
    assert status == 200
    assert [(row["name"], row["online"]) for row in listed["items"]] == [("gate", False), ("hall", True)]
    assert site.opened == []
    _, first = await ask(page, "POST", "/cameras/gate/code", key)
    _, second = await ask(page, "POST", "/cameras/gate/code", key)
    assert (first["svg"], second["svg"]) == tuple(setup_code.svg(session) for session in site.opened)
    assert first["svg"] != second["svg"]
    assert 0 < first["seconds"] <= 59
    assert await ask(page, "POST", "/cameras/gate/code", key) == (409, {"error": "too many codes"})


async def test_without_the_key_nothing_is_told(page: str, site: Site) -> None:
    for key in (None, "", "wrong"):
        assert (await ask(page, "GET", "/cameras", key))[0] == 401
        assert (await ask(page, "POST", "/cameras/gate/code", key))[0] == 401
    assert site.opened == []


async def test_no_code_for_a_camera_that_is_online_or_not_on_the_sheet(page: str, site: Site) -> None:
    key = page.partition("#")[2]
    assert (await ask(page, "POST", "/cameras/hall/code", key))[0] == 409
    assert (await ask(page, "POST", "/cameras/other/code", key))[0] == 409
    assert site.opened == []


async def test_the_page_itself_holds_nothing_and_runs_only_its_own_script(page: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(page) as answer:
        text, headers = await answer.text(), answer.headers
    assert page.partition("#")[2] not in text
    assert UID not in text
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', text))
    assert f"script-src 'nonce-{nonce}'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "innerHTML" not in text
