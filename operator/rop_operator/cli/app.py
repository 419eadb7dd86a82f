"""`ropctl`: the commands, and how the program ends."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import click

from rop_operator.cli import (
    backup,
    camera,
    device,
    drill,
    firmware,
    inventory,
    lan,
    logs,
    pki,
    profile,
    qr,
    read,
    site,
    support,
    undelete,
    write,
)
from rop_operator.cli.target import EXIT_ERROR, EXIT_USAGE, Target, target_options


def _version() -> str:
    try:
        return version("rop-operator")
    except PackageNotFoundError:
        return "unknown"


@click.group(context_settings={"max_content_width": 110, "help_option_names": ["--help", "-h"]})
@click.version_option(_version(), prog_name="ropctl")
@target_options
@click.pass_context
def ropctl(context: click.Context, /, **given: str | None) -> None:
    """Fleets of ROP servers and cameras, on a plain host or on a Kubernetes cluster.

    The commands are the same for both: --state DIR names a host's agent (the default), --kubeconfig or --context a
    cluster. These options stand before or after the command.

    \b
    Examples: ropctl apply -f examples/quickstart
              ropctl --kubeconfig ~/.kube/config -n video get cameras
    Exit codes: 0 good; 1 error; 2 plan found changes; 64 usage.
    """
    context.obj = Target().merged(given)


camera.camera.add_command(pki.approve_renewal)
for _command in (
    *(
        write.apply,
        read.get,
        read.describe,
        write.delete,
        undelete.undelete,
        write.plan,
        write.validate,
        read.events,
        read.doctor,
    ),
    *(device.snapshot, device.play, device.ptz, site.alarms, site.token, site.admit),
    *(lan.discover, lan.provision, qr.qr, inventory.export, camera.camera, profile.profile, write.secret),
    *(
        firmware.firmware,
        firmware.rollout,
        pki.pki,
        backup.backup,
        backup.restore,
        drill.drill,
        logs.logs,
        support.support_bundle,
    ),
):
    ropctl.add_command(_command)


def main() -> None:
    """Entry point of `ropctl`."""
    try:
        ropctl.main(prog_name="ropctl", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("aborted", err=True)
        sys.exit(EXIT_ERROR)
