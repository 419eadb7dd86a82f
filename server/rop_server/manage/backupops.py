"""The operations on backups: policy, runs, archives on the targets, prune."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import web

from rop_data.archive.errors import ArchiveError
from rop_data.archive.manifest import BY_POLICY, RETAIN
from rop_data.config import ConfigError
from rop_server.manage.body import read_object, word_of
from rop_server.manage.errors import ManageError, invalid
from rop_server.manage.handlers import reply

MAX_TARGETS = 16
MAX_TIME = 2**40
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class Unknown(Exception):
    """There is no such thing: `kind` policy, target or archive."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Conflict(Exception):
    """A run of this id was asked for in another way."""


class Backing(Protocol):
    """What these operations need of the composed server. Methods raise Unknown and ArchiveError."""

    def status(self) -> dict[str, Any]:
        """The document `Backup`."""
        ...

    async def put(self, raw: Mapping[str, Any]) -> None:
        """Set the policy. Raises ConfigError, then nothing is changed."""
        ...

    def same(self, raw: Mapping[str, Any]) -> bool:
        """Whether this is the policy, credentials included. Raises ConfigError."""
        ...

    async def clear(self) -> None:
        """Remove the policy."""
        ...

    def submit(self, id_: str, targets: list[str] | None, retain: str, accept_clock: bool) -> dict[str, Any]:
        """Ask for an archive: the document `BackupRun`. Raises Conflict and OSError."""
        ...

    def run(self, id_: str) -> dict[str, Any] | None:
        """A run."""
        ...

    async def archives(self, target: str | None) -> list[dict[str, Any]]:
        """What the targets list now."""
        ...

    async def content(self, name: str, target: str) -> bytes:
        """The bytes of an archive."""
        ...

    async def sheet(self) -> str:
        """The recovery sheet of the newest archive, HTML."""
        ...

    async def verify(self, name: str, target: str) -> dict[str, Any]:
        """Read an archive back once more."""
        ...

    async def proven(self, name: str, target: str, at: float) -> dict[str, Any]:
        """Note that a drill opened an archive. Raises OSError."""
        ...

    async def prune(self, target: str, credentials: object, dry_run: bool) -> list[str]:
        """Delete what the retention no longer wants. Raises ValueError."""
        ...


class BackupOperations:
    """Backups of the server's data."""

    def __init__(self, backing: Backing | None) -> None:
        self._given = backing

    @property
    def _backing(self) -> Backing:
        if self._given is None:
            raise ManageError(404, "not_found", "this server makes no backups")
        return self._given

    async def get_backup(self, _request: web.Request) -> web.Response:
        """Policy and state."""
        return reply(self._backing.status())

    async def put_backup(self, request: web.Request) -> web.Response:
        """Set the policy."""
        policy = await _policy(request)
        try:
            await self._backing.put(policy)
        except ConfigError as error:
            raise _unusable(error) from None
        return reply(self._backing.status())

    async def compare_backup(self, request: web.Request) -> web.Response:
        """Whether this is the policy."""
        policy = await _policy(request)
        try:
            return reply({"same": self._backing.same(policy)})
        except ConfigError as error:
            raise _unusable(error) from None

    async def delete_backup(self, _request: web.Request) -> web.Response:
        """Remove the policy."""
        await self._backing.clear()
        return reply(self._backing.status())

    async def run_backup(self, request: web.Request) -> web.Response:
        """Ask for an archive."""
        body = await read_object(request, "id", "targets", "retain", "acceptClock")
        targets, accept = body.get("targets"), body.get("acceptClock", False)
        if targets is not None:
            if not isinstance(targets, list) or not 0 < len(targets) <= MAX_TARGETS:
                raise invalid("targets", f"must be a list of 1 to {MAX_TARGETS} names")
            targets = [_word(each, f"targets[{number}]") for number, each in enumerate(targets)]
            if len(set(targets)) != len(targets):
                raise invalid("targets", "must be different names")
        if not isinstance(accept, bool):
            raise invalid("acceptClock", "must be true or false")
        retain = word_of(body.get("retain", BY_POLICY), "retain", *RETAIN)
        id_ = _word(body.get("id"), "id")
        try:
            return reply(self._backing.submit(id_, targets, retain, accept))
        except Unknown as error:
            raise _missing(error) from None
        except Conflict as error:
            raise ManageError(409, "run_conflict", str(error), "id") from None
        except OSError as error:
            raise _not_writable(error) from None

    async def get_backup_run(self, request: web.Request) -> web.Response:
        """One run."""
        run = self._backing.run(request.match_info["name"])
        if run is None:
            raise ManageError(404, "run_unknown", "no run of this id is known")
        return reply(run)

    async def list_archives(self, request: web.Request) -> web.Response:
        """What the targets have."""
        target = request.query.get("target")
        if target is not None:
            _word(target, "target")
        try:
            return reply({"items": await self._backing.archives(target)})
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None

    async def get_archive(self, request: web.Request) -> web.Response:
        """The bytes of an archive."""
        try:
            data = await self._backing.content(request.match_info["name"], _target(request))
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None
        return web.Response(body=data, headers={"Content-Type": "application/octet-stream"})

    async def get_recovery_sheet(self, _request: web.Request) -> web.Response:
        """What a restore needs besides an archive and an identity."""
        try:
            return web.Response(text=await self._backing.sheet(), content_type="text/html")
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None

    async def verify_archive(self, request: web.Request) -> web.Response:
        """Read an archive back."""
        try:
            return reply(await self._backing.verify(request.match_info["name"], _target(request)))
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None

    async def prove_archive(self, request: web.Request) -> web.Response:
        """Note that a drill opened it."""
        at = (await read_object(request, "at")).get("at", time.time())
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < MAX_TIME:
            raise invalid("at", "must be epoch seconds")
        try:
            return reply(await self._backing.proven(request.match_info["name"], _target(request), float(at)))
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None
        except OSError as error:
            raise _not_writable(error) from None

    async def prune_archives(self, request: web.Request) -> web.Response:
        """Delete what the retention no longer wants."""
        body = await read_object(request, "target", "credentials", "dryRun")
        dry_run = body.get("dryRun", False)
        if not isinstance(dry_run, bool):
            raise invalid("dryRun", "must be true or false")
        target = _word(body.get("target"), "target")
        try:
            return reply({"deleted": await self._backing.prune(target, body.get("credentials"), dry_run)})
        except ValueError as error:
            raise invalid("credentials", str(error)) from None
        except (Unknown, ArchiveError) as error:
            raise _refusal(error) from None


async def _policy(request: web.Request) -> dict[str, Any]:
    policy = (await read_object(request, "policy")).get("policy")
    if not isinstance(policy, dict):
        raise invalid("policy", "must be an object")
    return policy


def _unusable(error: ConfigError) -> ManageError:
    return ManageError(422, "invalid_config", str(error), error.member, error.rule)


def _target(request: web.Request) -> str:
    return _word(request.query.get("target"), "target")


def _word(value: object, field: str) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise invalid(field, "must be 1 to 128 letters, digits and ._:-, a letter or digit first")
    return value


def _missing(error: Unknown) -> ManageError:
    return ManageError(404, f"{error.kind}_unknown", str(error))


def _refusal(error: Unknown | ArchiveError) -> ManageError:
    """409 with the reason as a symbol: TargetUnreachable becomes target_unreachable."""
    if isinstance(error, Unknown):
        return _missing(error)
    symbol = re.sub(r"(?<!^)(?=[A-Z])", "_", error.reason.value).lower()
    return ManageError(409, symbol, str(error))


def _not_writable(error: OSError) -> ManageError:
    text = error.strerror or type(error).__name__
    return ManageError(409, "data_not_writable", f"the data directory cannot be written: {text}")
