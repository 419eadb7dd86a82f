"""The command `rop-drill`."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click

from rop_data.archive.restore import Expectation
from rop_data.archive.target import DirectoryTarget
from rop_data.config import ConfigError
from rop_data.drill import DrillCamera, read
from rop_drill import reasons, report
from rop_drill.drill import Inputs
from rop_drill.isolation import isolate
from rop_drill.perform import Outcome, perform
from rop_drill.reasons import DrillFailed, Reason
from rop_drill.selftest import Real, self_test
from rop_drill.source import Fetched, bucket, newest, of_file, of_stream
from rop_pki import PkiError
from rop_pki.envelope import EnvelopeError, parse_identities

EX_WRONG, EX_USAGE, EX_DATAERR = 1, 64, 65
_LIMIT = 1 << 20
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_FOLDER = click.Path(file_okay=False, path_type=Path)
_OUTPUT = click.option("-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)


class Duration(click.ParamType[float]):
    """Seconds, from `90`, `90s`, `10m`, `25h` or `7d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} must be a number of seconds or like 90s, 10m, 25h, 7d", param, ctx)
        return float(int(found[1]) * _UNITS[found[2]])


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which archive, and what opens and tries it."""
    for option in (
        click.option("--archive", metavar="FILE|-", help="This archive; `-` takes it from standard input."),
        click.option("--from", "folder", type=_FOLDER, metavar="FOLDER", help="The newest archive of FOLDER."),
        click.option(
            "--s3",
            type=click.File("rb"),
            metavar="FILE",
            help="The newest archive of a bucket; FILE is JSON with endpoint, bucket, prefix, region, caPEM and"
            " credentials {accessKey, secretKey}.",
        ),
        click.option("--allow-loopback", is_flag=True, help="Allow an S3 service on this machine."),
        click.option(
            "--identity",
            type=click.File("rb", lazy=True),
            metavar="FILE|-",
            help="age identities or an SSH private key; `-` reads them from standard input.",
        ),
        click.option(
            "--camera",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="The drill camera: what `rop-server drill-camera enrol --to` wrote, the folder or the file.",
        ),
        click.option("--expect-signer", metavar="HEX", help="The site's signer [as the drill camera knows it]."),
        click.option("--expect-root", metavar="SHA256", help="The site's root CA [as the drill camera knows it]."),
    ):
        command = option(command)
    return command


class Chosen:
    """The options of a source, checked."""

    def __init__(
        self,
        archive: str | None,
        folder: Path | None,
        s3: BinaryIO | None,
        allow_loopback: bool,
        identity: BinaryIO | None,
        camera: Path | None,
        expect_signer: str | None,
        expect_root: str | None,
    ) -> None:
        if sum(each is not None for each in (archive, folder, s3)) != 1:
            raise click.UsageError("one of --archive, --from and --s3 is needed")
        if identity is None or camera is None:
            raise click.UsageError("--identity and --camera are needed")
        if archive == "-" and identity.name == "-":
            raise click.UsageError("--archive - and --identity - cannot both come on standard input")
        self._archive, self._folder, self._identity = archive, folder, identity
        self.camera = _camera(camera)
        root = (expect_root or self.camera.root_sha256).lower().replace(":", "")
        self.expected = Expectation((expect_signer or self.camera.site_signer).lower(), root)
        self._bucket = bucket(s3.read(_LIMIT), allow_loopback) if s3 is not None else None

    def fetch(self) -> Fetched:
        """The archive. Raises DrillFailed."""
        if self._archive is not None:
            return of_stream(sys.stdin.buffer) if self._archive == "-" else of_file(Path(self._archive))
        target = self._bucket or DirectoryTarget(self._folder or Path())
        return newest(target, self.expected)

    def identify(self) -> Any:
        """The identities. Raises EnvelopeError."""
        try:
            return parse_identities(self._identity.read(_LIMIT), _passphrase)
        except (OSError, click.FileError) as failure:
            raise EnvelopeError(f"the identity cannot be read: {failure}") from None


def _passphrase() -> str:
    answer: str = click.prompt("Passphrase of the identity file", hide_input=True, err=True)
    return answer


def _camera(path: Path) -> DrillCamera:
    try:
        return read(path)
    except (ConfigError, PkiError, OSError) as failure:
        click.echo(f"rop-drill: {Reason.CAMERA_INVALID.text}: {failure}", err=True)
        sys.exit(Reason.CAMERA_INVALID.code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="rop-operator", prog_name="rop-drill")
def cli() -> None:
    """Recovery drills: restore the newest archive in memory and let cameras try it.

    A drill never touches the running server, and needs neither its data nor a network.

    \b
    Example: rop-drill run --from /mnt/backup --identity drill.txt --camera /etc/rop/drill
    """


@cli.command("run")
@_source_options
@click.option("--max-age", type=Duration(), help="An older archive fails the drill.")
@click.option("--timeout", type=Duration(), default=600.0, show_default="10m", help="For the whole drill.")
@click.option("--report", "folder_of_reports", type=_FOLDER, metavar="DIR", help="Where signed reports are kept.")
@click.option("--keep", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Reports to keep.")
@_OUTPUT
def run_command(
    max_age: float | None, timeout: float, folder_of_reports: Path | None, keep: int, output: str, **source: Any
) -> None:
    """Drill once. Progress goes to standard error, one step a line.

    Exit code 0: passed; others by reason, see `rop-drill reasons`; 64: usage.

    \b
    Example: rop-drill run --from /mnt/backup --identity - --camera /etc/rop/drill --max-age 25h \\
               --report /var/lib/rop-drill < drill.txt
    """
    chosen = Chosen(**source)
    inputs = Inputs(
        chosen.fetch,
        chosen.identify,
        chosen.camera,
        chosen.expected,
        None if max_age is None else timedelta(seconds=max_age),
        isolate=isolate,
    )
    outcome = perform(inputs, timeout, lambda step: click.echo(f"step: {step}", err=True))
    signed = report.sign(outcome.document, chosen.camera)
    path = report.History(folder_of_reports, keep).add(signed) if folder_of_reports is not None else None
    click.echo(json.dumps(signed, indent=2, ensure_ascii=False) if output == "json" else _summary(outcome, path))
    sys.exit(outcome.reason.code if outcome.reason else 0)


def _summary(outcome: Outcome, path: Path | None) -> str:
    told = outcome.document
    rows = [
        f"{each['name']:<12} {'ok' if each['passed'] else 'FAILED':<7}{each['detail']}" for each in told["steps"]
    ]
    rows.append(f"result       {told['result']}" + (f": {told['reason']}" if told["reason"] else ""))
    rows.append(f"message      {told['message']}")
    rows += [f"{name}   {told[name]}" for name in ("rtoSeconds", "rpoSeconds") if told[name] is not None]
    if path is not None:
        rows.append(f"report       {path}")
    return "\n".join(rows)


@cli.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--expect-signer", required=True, metavar="HEX", help="The signer on the recovery sheet.")
def verify_command(file: Path, expect_signer: str) -> None:
    """Verify the signature of a report. Exit code 65: not good.

    \b
    Example: rop-drill verify drill-20261125T030000Z-1a2b3c4d.json --expect-signer HEX
    """
    try:
        document = report.check(json.loads(file.read_bytes()), expect_signer)
    except (report.ReportError, ValueError) as failure:
        click.echo(f"rop-drill: {failure}", err=True)
        sys.exit(EX_DATAERR)
    click.echo(f"{document['started']}  {document['result']}  {document['reason'] or ''}".rstrip())


@cli.command("list")
@click.argument("folder", type=_FOLDER)
@_OUTPUT
def list_command(folder: Path, output: str) -> None:
    """List the reports of FOLDER, newest first.

    \b
    Example: rop-drill list /var/lib/rop-drill
    """
    found = []
    for path in report.History(folder, 1).names():
        told = json.loads(path.read_bytes())["report"]
        members = ("started", "result", "reason", "rtoSeconds", "rpoSeconds")
        found.append({"path": str(path), **{name: told[name] for name in members}})
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo("  ".join(str(each[name] if each[name] is not None else "-") for name in each))


@cli.command("reasons")
def reasons_command() -> None:
    """List why a drill fails, with the exit codes of `rop-drill run`.

    \b
    Example: rop-drill reasons
    """
    click.echo(reasons.table())


@cli.command("self-test")
@_source_options
@_OUTPUT
def self_test_command(output: str, **source: Any) -> None:
    """Sabotage copies of an archive in every way; each must turn a drill red with the right reason.

    Without options the archive is of a site made for this; with those of `run` it is a real one, which is only
    read. Exit code 1: a sabotage was not noticed, or the control failed.

    \b
    Example: rop-drill self-test
    """
    real = None
    if any(value for value in source.values()):
        chosen = Chosen(**source)
        try:
            real = Real(chosen.fetch(), chosen.identify(), chosen.camera, chosen.expected)
        except (DrillFailed, EnvelopeError) as failure:
            click.echo(f"rop-drill: {failure}", err=True)
            sys.exit(EX_DATAERR)
    rows = []
    for row in self_test(real, isolate()):
        rows.append(row)
        if output == "text":
            click.echo(
                f"{'right' if row.right else 'WRONG':<6} {row.name:<48} {row.got:<20} {row.seconds:>6.2f} s"
            )
    wrong = [row for row in rows if not row.right]
    if output == "json":
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        click.echo(f"{len(rows) - len(wrong)} of {len(rows)} right")
    for row in wrong:
        click.echo(f"rop-drill: {row.name}: expected {row.expected}, got {row.got}", err=True)
    sys.exit(EX_WRONG if wrong else 0)


def main() -> None:
    """Entry point."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(EX_USAGE)
    except ConfigError as error:
        click.echo(f"rop-drill: {error}", err=True)
        sys.exit(EX_USAGE)


if __name__ == "__main__":
    main()
