"""Commands about a server: alarms, tokens of its gateway; and `admit` for a camera that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from rop_operator.api.facts import Ref
from rop_operator.api.questions import Question
from rop_operator.cli.backend import Backend
from rop_operator.cli.inventory import entries, only_server
from rop_operator.cli.show import age, print_data, print_table, safe
from rop_operator.cli.target import Target, command, effective_namespace
from rop_operator.cli.write import called
from rop_operator.domain.conditions import timestamp
from rop_operator.domain.inventory import imported
from rop_operator.ports import PortError

VERBS = ("read", "live", "replay", "control", "provision", "firmware")
SERVER = click.option("--server", metavar="NAME", help="The RopServer [default: the only one].")
SINK = click.option("--sink", metavar="NAME", help="Of this receiver only.")
UID = click.option("--uid", metavar="UID", help="Of this device only.")


async def _ask(backend: Backend, target: Target, server: str | None, question: Question) -> Mapping[str, Any]:
    home = await only_server(backend, await effective_namespace(backend, target), server)
    return await backend.ask(home, question)


def _given(**arguments: str | None) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value is not None}


@click.group("alarms")
def alarms() -> None:
    """Alarms on their way to their receivers."""


@alarms.command("status")
@SERVER
@command
async def alarms_status(backend: Backend, target: Target, server: str | None) -> None:
    """Receivers of alarms: what waits, what was given up, what was dropped.

    \b
    Example: ropctl alarms status
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    told = await _ask(backend, target, server, Question("Alarms"))
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
        return
    now = datetime.now(UTC)
    rows = [
        [
            safe(sink["name"]),
            safe(sink["address"] or "-"),
            "off" if not sink["enabled"] else "down" if sink["down"] else "ok",
            str(sink["waiting"]),
            age(sink["oldest"], now),
            str(sink["dead"]),
        ]
        for sink in told["sinks"]
    ]
    print_table(["SINK", "ADDRESS", "STATE", "WAITING", "OLDEST", "DEAD"], rows)
    for reason, number in sorted(told["dropped"].items()):
        click.echo(f"dropped: {number} ({safe(reason)})")


@alarms.command("dead")
@SERVER
@SINK
@UID
@command
async def alarms_dead(
    backend: Backend, target: Target, server: str | None, sink: str | None, uid: str | None
) -> None:
    """Alarms that were given up, newest first.

    \b
    Example: ropctl alarms dead --sink ops
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    told = await _ask(backend, target, server, Question("DeadAlarms", _given(sink=sink, uid=uid)))
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
        return
    rows = [[safe(str(item[name])) for name in ("deadAt", "sink", "uid", "reason")] for item in told["items"]]
    print_table(["GIVEN-UP", "SINK", "UID", "REASON"], rows)


@alarms.command("replay")
@SERVER
@SINK
@UID
@command
async def alarms_replay(
    backend: Backend, target: Target, server: str | None, sink: str | None, uid: str | None
) -> None:
    """Send alarms again that were given up: all, or those of a receiver or a device.

    \b
    Example: ropctl alarms replay --sink ops
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    told = await _ask(backend, target, server, Question("ReplayAlarms", _given(sink=sink, uid=uid)))
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
    else:
        click.echo(f"{told['replayed']} alarms are sent again")


@click.group("token")
def token() -> None:
    """Bearer tokens of the gateway's callers."""


@token.command("create")
@click.argument("name")
@click.option("--verb", "verbs", multiple=True, required=True, type=click.Choice(VERBS), help="Repeatable.")
@click.option("--uid", "uids", multiple=True, metavar="UID", help="This camera only; repeatable.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Cameras with this label; repeatable.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 3650), help="It ends after so many.")
@SERVER
@command
async def token_create(
    backend: Backend,
    target: Target,
    name: str,
    verbs: tuple[str, ...],
    uids: tuple[str, ...],
    labels: tuple[str, ...],
    days: int,
    server: str | None,
) -> None:
    """Make a token and print it: the only time that it can be read. Without --uid and --label: all cameras.

    \b
    Example: ropctl token create wall --verb read --verb live --label place=yard > wall.token
    Exit codes: 0; 1 the name is taken, or nothing answers; 64 usage.
    """
    pairs = [label.partition("=") for label in labels]
    if not all(key and sign for key, sign, _ in pairs):
        raise click.UsageError("--label is KEY=VALUE")
    cameras: dict[str, Any] = {"uids": list(uids)} if uids else {}
    cameras |= {"labels": {key: value for key, _, value in pairs}} if pairs else {}
    ends = timestamp(datetime.now(UTC) + timedelta(days=days))
    wanted = {"name": name, "verbs": list(verbs), "cameras": cameras or None, "expiresAt": ends}
    told = await _ask(backend, target, server, Question("MakeToken", wanted))
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
    else:
        click.echo(told["token"])
        click.echo(f"{safe(name)}: until {safe(str(told['expiresAt']))}; it is not shown again", err=True)


@token.command("list")
@SERVER
@command
async def token_list(backend: Backend, target: Target, server: str | None) -> None:
    """The tokens, without their secrets.

    \b
    Example: ropctl token list
    Exit codes: 0; 1 when nothing answers; 64 usage.
    """
    told = await _ask(backend, target, server, Question("Tokens"))
    if target.output in ("json", "yaml"):
        print_data(dict(told), target.output)
        return
    rows = [
        [safe(each["name"]), ",".join(each["verbs"]), _cameras(each["cameras"]), safe(str(each["expiresAt"]))]
        for each in told["items"]
    ]
    print_table(["NAME", "VERBS", "CAMERAS", "EXPIRES"], rows)


def _cameras(limit: Mapping[str, Any] | None) -> str:
    if not limit:
        return "all"
    labels = [f"{key}={value}" for key, value in (limit.get("labels") or {}).items()]
    return safe(",".join([*labels, *(limit.get("uids") or ())]))


@token.command("revoke")
@click.argument("name")
@SERVER
@command
async def token_revoke(backend: Backend, target: Target, name: str, server: str | None) -> None:
    """End a token: its calls are refused and its viewers ended when this returns.

    \b
    Example: ropctl token revoke wall
    Exit codes: 0; 1 when there is none, or nothing answers; 64 usage.
    """
    await _ask(backend, target, server, Question("EndToken", {"name": name}))
    click.echo(f"{safe(name)} is revoked")


@click.command("admit")
@click.argument("uid")
@click.option("--name", help="Name of its Camera [default: cam-UID].")
@SERVER
@command
async def admit(backend: Backend, target: Target, uid: str, name: str | None, server: str | None) -> None:
    """Make a Camera for a device that a server knows or that answers on the LAN: it may enrol, and a revoked one
    is allowed again. Writes nothing to the device.

    \b
    Example: ropctl admit 95270001ABCDEFGH --name gate
    Exit codes: 0; 1 it is claimed already, or nobody has seen it; 64 usage.
    """
    namespace = await effective_namespace(backend, target)
    home = await only_server(backend, namespace, server)
    try:
        found = await backend.discover(2.0)
    except PortError:
        found = ()
    seen = [entry for entry in await entries(backend, namespace, found) if entry.uid == uid]
    entry = next((each for each in seen if each.server in (None, home)), None)
    if entry is None:
        raise PortError(
            "NotFound", f"neither {home.name} nor the LAN has seen {uid}; apply a Camera to let it enrol"
        )
    if entry.camera is not None:
        raise PortError("Conflict", f"{entry.camera} has this UID already")
    document = imported(entry, home)
    document["spec"].pop("access", None)
    if name is not None:
        document["metadata"]["name"] = name
    if await backend.get(Ref("Camera", namespace, document["metadata"]["name"])) is not None:
        raise PortError("Conflict", f"there is a Camera {document['metadata']['name']} already; give --name")
    (applied,) = await backend.apply([document], "admit", False)
    click.echo(f"{called(applied.ref)} {applied.result}")
