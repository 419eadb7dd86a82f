"""Any order of what managers and strangers ask of the management interface, on its socket and on its port.

What has to hold: who may not is refused first, then who is not the manager or is behind, then what makes no sense;
a refused call changes nothing; the fence only ever grows.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rop_server.manage.listener import ManageListener
from rop_server.manage.trust import ManagementTls
from rop_server.state.book import FactsBook

UIDS = ("95270000000TEST1", "95270000000TEST2")
SCOPES = ("Observe", "Control", "Admin")
SOCKET, STRANGER = "socket", "stranger"
LIMIT = 20.0


@dataclass(frozen=True)
class Call:
    """A request and what it needs; `wrong`: it makes no sense, whoever asks."""

    scope: str
    method: str
    path: str
    body: Any = None
    fenced: bool = True
    wrong: bool = False


READS = st.sampled_from(
    [Call("Observe", "GET", path, fenced=False) for path in ("/manager", "/claims", "/config")]
)
WRITES = st.one_of(
    st.builds(
        lambda method, uid: Call("Control", method, f"/claims/{uid}", wrong=uid == "short"),
        st.sampled_from(["PUT", "DELETE"]),
        st.sampled_from([*UIDS, "short"]),
    ),
    st.builds(
        lambda policy, uids: Call(
            "Control", "PUT", "/claims", {"policy": policy, "uids": uids}, wrong=policy == "?" or "x" in uids
        ),
        st.sampled_from(["Open", "Documented", "?"]),
        st.lists(st.sampled_from([*UIDS, "x"]), unique=True),
    ),
    st.builds(
        lambda uid, access: Call(
            "Control", "PUT", f"/devices/{uid}/access", {"access": access}, wrong=access == "Gone"
        ),
        st.sampled_from(UIDS),
        st.sampled_from(["Denied", "Allowed", "Gone"]),
    ),
    st.builds(
        lambda beat: Call("Admin", "PUT", "/config", {"members": {"heartBeatInterval": beat}}, wrong=not beat),
        st.sampled_from([0, 5, 20]),
    ),
)


@dataclass
class Model:
    """What the server must have in mind."""

    manager: str | None = None
    fence: int = 0
    policy: str = "Open"
    claimed: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    beat: int = 20
    tokens: dict[str, str] = field(default_factory=dict)

    def status(self, call: Call, caller: str, manager: str | None, fence: int | None) -> int:
        """What a call is answered with."""
        if caller != SOCKET:
            if caller not in self.tokens:
                return 401
            if SCOPES.index(caller) < SCOPES.index(call.scope):
                return 403
        if call.fenced and self.manager is not None:
            if manager != self.manager or fence is None or fence < self.fence:
                return 409
            self.fence = fence  # a higher one of the manager is believed, whatever else it asks
        return 422 if call.wrong else 200

    def change(self, call: Call) -> None:
        """What a call does that is answered with 200."""
        match call.method, call.path.split("/")[1:]:
            case "PUT", ["claims", uid]:
                self.claimed.add(uid)
            case "DELETE", ["claims", uid]:
                self.claimed.discard(uid)
            case "PUT", ["claims"]:
                self.policy, self.claimed = call.body["policy"], set(call.body["uids"])
            case "PUT", ["devices", uid, "access"]:
                (self.denied.add if call.body["access"] == "Denied" else self.denied.discard)(uid)
            case "PUT", ["config"]:
                self.beat = call.body["members"]["heartBeatInterval"]


class ManagePort(RuleBasedStateMachine):
    """Callers on both ways in, against the model."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: Path, make: Callable[[FactsBook], Any]) -> None:
        super().__init__()
        self.loop = loop
        self.folder = tempfile.TemporaryDirectory(prefix="rop-manage-")
        self.book = FactsBook(Path(self.folder.name) / "state.db", lambda: 0.0)
        self.app, self.control = make(self.book)
        self.model = Model()
        self.real: dict[str, str] = {}
        self.loop.run_until_complete(self._open(tls))

    async def _open(self, tls: Path) -> None:
        path = Path(self.folder.name) / "manage.sock"
        self.listener = ManageListener(self.app)
        await self.listener.start_unix(path)
        await self.listener.start_tcp("127.0.0.1", 0, ManagementTls(tls, "127.0.0.1", time.time()).context)
        trust = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        self.near = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))
        self.far = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))

    async def _close(self) -> None:
        await self.near.close()
        await self.far.close()
        await self.listener.stop()
        self.book.close()

    def teardown(self) -> None:
        self.loop.run_until_complete(self._close())
        self.folder.cleanup()

    async def _send(self, call: Call, caller: str, **more: Any) -> tuple[int, Any]:
        near = caller == SOCKET
        base = "http://server" if near else f"https://127.0.0.1:{self.listener.port}"
        headers = {} if more.get("manager") is None else {"Rop-Manager": more["manager"]}
        if not near:
            headers["Authorization"] = f"Bearer {self.real.get(caller, 'rop_guess')}"
        query = {} if more.get("fence") is None else {"fence": str(more["fence"])}
        session = self.near if near else self.far
        url = f"{base}/manage/v1{call.path}"
        body = {} if call.body is None else {"json": call.body}
        async with asyncio.timeout(LIMIT):
            async with session.request(call.method, url, params=query, headers=headers, **body) as answer:
                return answer.status, await answer.json()

    def ask(self, call: Call, caller: str, **more: Any) -> tuple[int, Any]:
        return self.loop.run_until_complete(self._send(call, caller, **more))

    # -- who may ask ------------------------------------------------------------------------------

    @initialize()
    def tokens(self) -> None:
        for scope in SCOPES:
            self.real[scope] = self.model.tokens[scope] = self.book.tokens.create(scope.lower(), scope, 0.0)

    @rule(scope=st.sampled_from(SCOPES))
    def revoke(self, scope: str) -> None:
        """The text of the token stays in the caller's hands."""
        if self.model.tokens.pop(scope, None) is not None:
            self.book.tokens.revoke(scope.lower())

    callers = st.sampled_from([SOCKET, SOCKET, *SCOPES, STRANGER])

    @rule(caller=callers, name=st.sampled_from(["a", "b", ""]), over=st.sampled_from([True, False, "yes"]))
    def take(self, caller: str, name: str, over: Any) -> None:
        wrong = not name or over == "yes"
        call = Call("Control", "PUT", "/manager", {"id": name, "takeOver": over}, fenced=False, wrong=wrong)
        expected = self.model.status(call, caller, None, None)
        if expected == 200 and not over and self.model.manager not in (None, name):
            expected = 409
        status, told = self.ask(call, caller)
        assert status == expected, told
        if status == 200:
            self.model.manager, self.model.fence = name, self.model.fence + 1
            assert told == {"id": name, "fence": self.model.fence}

    # -- what is asked ----------------------------------------------------------------------------

    @rule(caller=callers, call=READS)
    def read(self, caller: str, call: Call) -> None:
        assert self.ask(call, caller)[0] == self.model.status(call, caller, None, None)

    @rule(
        caller=callers,
        call=WRITES,
        other=st.sampled_from([None, None, None, "a", "b"]),
        step=st.sampled_from([0, 0, -1, 1]),
    )
    def write(self, caller: str, call: Call, other: str | None, step: int) -> None:
        """By the manager or somebody else, with its fence or one beside it."""
        manager, fence = other or self.model.manager, max(0, self.model.fence + step)
        expected = self.model.status(call, caller, manager, fence)
        status, told = self.ask(call, caller, manager=manager, fence=fence)
        assert status == expected, told
        if status == 200:
            self.model.change(call)
        else:
            assert told["error"]["symbol"] and told["error"]["message"]

    @rule(call=WRITES, without=st.sampled_from(["manager", "fence"]))
    def write_half(self, call: Call, without: str) -> None:
        """Without the one or the other no manager is believed."""
        more: dict[str, Any] = {"manager": self.model.manager, "fence": self.model.fence, without: None}
        expected = self.model.status(call, SOCKET, more["manager"], more["fence"])
        status, told = self.ask(call, SOCKET, **more)
        assert status == expected, told
        if status == 200:
            self.model.change(call)

    # -- what holds always ------------------------------------------------------------------------

    @invariant()
    def server_and_model_agree(self) -> None:
        model, claims, current = self.model, self.book.claims(), self.book.leadership.current
        assert (current.id, current.fence) == (model.manager, model.fence)
        assert (claims.policy, claims.uids) == (model.policy, model.claimed)
        assert {uid for uid in UIDS if self.book.may_enrol(uid) == "Denied"} == model.denied
        assert self.control.config().get("heartBeatInterval") == model.beat


def test_any_order(app_of: Any, devices: Any, control: Any, config: Any, clock: Any, tmp_path: Path) -> None:
    def make(book: FactsBook) -> Any:
        own = type(control)(config)
        return app_of(type(devices)(book, clock), book, own), own

    loop = uvloop.new_event_loop()
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: ManagePort(loop, tmp_path / "manage", make),
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()
