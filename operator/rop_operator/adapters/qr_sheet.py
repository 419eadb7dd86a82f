"""A page with set-up codes, one camera per row, on loopback. Codes are made when asked for and lie nowhere."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from aiohttp import web

from rop_operator.adapters.setup_code import svg
from rop_operator.api.facts import Session
from rop_operator.ports import PortError

HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A camera on the sheet."""

    name: str
    uid: str
    title: str
    online: bool


class QrSheet:
    """The page and what it asks. `key` is in the address behind `#`, which browsers do not send: the page sends it
    as a header.
    """

    def __init__(
        self,
        rows: Callable[[], Awaitable[Sequence[SheetRow]]],
        session: Callable[[str], Awaitable[Session]],
    ) -> None:
        """`session` opens one for the camera of that name. PortError."""
        self._rows = rows
        self._session = session
        self.key = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> str:
        """Listen; the address of the page. OSError."""
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        return f"http://{f'[{address}]' if ':' in address else address}:{bound}/#{self.key}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/", _page)
        application.router.add_get("/cameras", self._cameras)
        application.router.add_post("/cameras/{name}/code", self._code)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Everything but the empty page needs the key."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path != "/" and not secrets.compare_digest(given.encode(), self.key.encode()):
            return web.json_response(
                {"error": "the address of this page is not complete"}, status=401, headers=HEADERS
            )
        try:
            return await handler(request)
        except PortError as error:
            return web.json_response({"error": error.message}, status=409, headers=HEADERS)

    async def _cameras(self, _: web.Request) -> web.Response:
        rows = await self._rows()
        items = [{"name": r.name, "uid": r.uid, "title": r.title, "online": r.online} for r in rows]
        return web.json_response({"items": items}, headers=HEADERS)

    async def _code(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        row = next((row for row in await self._rows() if row.name == name), None)
        if row is None:
            raise PortError("NotFound", "this camera is not on the sheet")
        if row.online:
            raise PortError("Conflict", "it is online and needs no code")
        session = await self._session(name)
        left = max(0, int((session.expires_at - datetime.now(UTC)).total_seconds()))
        return web.json_response({"svg": svg(session), "seconds": left}, headers=HEADERS)


async def _page(_: web.Request) -> web.Response:
    nonce = secrets.token_urlsafe(12)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    text = (files("rop_operator.adapters") / "qr_sheet.html").read_text(encoding="utf-8").replace("NONCE", nonce)
    headers = {**HEADERS, "Content-Security-Policy": policy}
    return web.Response(text=text, content_type="text/html", headers=headers)
