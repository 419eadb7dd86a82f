"""`ropctl pki`: the authority of a server, who holds what of it; `ropctl camera approve-renewal`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from rop_operator.api.durations import parse_duration
from rop_operator.api.facts import Ref
from rop_operator.cli.backend import Backend
from rop_operator.cli.inventory import only_server
from rop_operator.cli.show import print_data, print_table, safe
from rop_operator.cli.target import Target, command, effective_namespace

# Member of the census, member of its rows, heading.
GROUPS = (
    ("byRoot", "sha256", "root"),
    ("byIssuer", "keyID", "issuer"),
    ("byExpiryWeek", "week", "expires"),
    ("byDeviceKey", "key", "device key"),
)
server_option = click.option("--server", metavar="NAME", help="RopServer [default: the only one].")


@click.group("pki")
def pki() -> None:
    """The authority of a server, and which devices hold what of it.

    \b
    Example: ropctl pki status
    """


@pki.command("status")
@server_option
@command
async def status(backend: Backend, target: Target, server: str | None) -> None:
    """Root, L2 CA and server certificate: what they are and when they end; each key's generation and its rotation.

    \b
    Examples: ropctl pki status
              ropctl -n video pki status --server home -o json
    Exit codes: 0; 1 when the server does not answer; 64 usage.
    """
    told = dict(await backend.pki(await _ref(backend, target, server)))
    told.pop("census", None)
    told.pop("rootPEM", None)
    if _data(target, told):
        return
    root, intermediate, leaf = told["root"], told["intermediate"], told["serverCertificate"]
    where = "key on the server" if root["keyPresent"] else "key elsewhere"
    rows = [
        ["root", root["sha256"], root["notAfter"], where],
        ["intermediate", intermediate["keyID"], intermediate["notAfter"], f"serial {intermediate['serial']}"],
        ["server certificate", leaf["serial"], leaf["notAfter"], ""],
    ]
    print_table(["WHAT", "NAME", "ENDS", "NOTE"], [[safe(str(cell)) for cell in row] for row in rows])
    click.echo()
    print_table(["ITEM", "GENERATION", "ROTATION", "DEVICES"], [_rotation(row) for row in told["rotations"]])


def _rotation(told: Mapping[str, Any]) -> list[str]:
    if told["target"] is None:
        return [safe(told["item"]), str(told["generation"]), "none", ""]
    moved = f"{told['done']} of {told['total']}" if told["total"] else ""
    return [safe(told["item"]), str(told["generation"]), f"to {told['target']}: {safe(told['phase'])}", moved]


@pki.command("census")
@server_option
@command
async def census(backend: Backend, target: Target, server: str | None) -> None:
    """Devices by root, issuer, week in which the certificate ends, and device key. Denied devices do not count.

    Everything was observed; `unknown` means that a device never showed it.

    \b
    Examples: ropctl pki census
              ropctl pki census -o json | jq .expired.named
    Exit codes: 0; 1 when the server does not answer; 64 usage.
    """
    told = (await backend.pki(await _ref(backend, target, server)))["census"]
    if not _data(target, told):
        print_table(["WHAT", "VALUE", "DEVICES"], [[safe(cell) for cell in row] for row in _rows(told)])


def _rows(told: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["all", "", str(told["devices"])]
    for member, name, heading in GROUPS:
        for row in told[member]:
            yield [heading, str(row[name]), str(row["devices"])]
    for member, heading in (("renewalOverdue", "renewal overdue"), ("expired", "expired")):
        named = told[member]["named"]
        yield [heading, " ".join(named[:3]) + (" ..." if len(named) > 3 else ""), str(told[member]["devices"])]
    yield ["no certificate seen", "", str(told["withoutCertificate"])]


@pki.command("export-root")
@server_option
@command
async def export_root(backend: Backend, target: Target, server: str | None) -> None:
    """The certificate of the root CA, PEM, byte for byte as cameras get it. It is no secret.

    \b
    Example: ropctl pki export-root > root.pem
    Exit codes: 0; 1 when the server does not answer; 64 usage.
    """
    told = await backend.pki(await _ref(backend, target, server))
    if not _data(target, {"sha256": told["root"]["sha256"], "pem": told["rootPEM"]}):
        click.echo(told["rootPEM"], nl=False)


@click.command("approve-renewal")
@click.argument("uid", metavar="UID")
@click.option("--for", "within", metavar="DURATION", default="2h", show_default=True, help="At most 168h.")
@server_option
@command
async def approve_renewal(backend: Backend, target: Target, uid: str, within: str, server: str | None) -> None:
    """Let a camera renew its certificate once although the signKey of its code is retired.

    For a camera that was away for a whole rotation of the signKey. It renews when it comes back, within the given
    time, with no visit. A camera that only slept past the end of its certificate needs no approval.

    \b
    Example: ropctl camera approve-renewal 95270001ABCDEFGH --for 2h
    Exit codes: 0; 1 when the server refuses or does not answer; 64 usage.
    """
    try:
        seconds = parse_duration(within)
    except ValueError:
        raise click.UsageError("--for is a duration such as 2h or 30m") from None
    told = await backend.approve_renewal(await _ref(backend, target, server), uid, seconds)
    if not _data(target, told):
        click.echo(f"{safe(uid)} may renew once until {safe(str(told['until']))}")


async def _ref(backend: Backend, target: Target, server: str | None) -> Ref:
    return await only_server(backend, await effective_namespace(backend, target), server)


def _data(target: Target, value: Any) -> bool:
    """Print it for programs when that was asked for."""
    if target.output not in ("json", "yaml"):
        return False
    print_data(value, target.output)
    return True
