"""Which host or cluster a command works on, what every command does with errors, and its exit codes."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from rop_operator.cli.backend import Backend
from rop_operator.errors import DocumentsRefused
from rop_operator.ports import PortError

EXIT_ERROR, EXIT_CHANGES, EXIT_USAGE = 1, 2, 64
DEFAULT_STATE = "/var/lib/rop/agent"
DEFAULT_SECRETS = "/etc/rop/secrets"
POD_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
OUTPUTS = ("table", "wide", "json", "yaml")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say. A host unless a kubeconfig or a context is named, or this is a pod with an account."""

    state: str | None = None
    secrets: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    output: str = "table"

    def merged(self, given: dict[str, str | None]) -> Target:
        """With the options that were given nearer to the command."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})

    @property
    def on_cluster(self) -> bool:
        """Whether it is a cluster."""
        named = self.kubeconfig is not None or self.context is not None
        return named or (self.state is None and POD_ACCOUNT.exists())

    def backend(self) -> Backend:
        """A client of the host or the cluster; no traffic yet."""
        if self.on_cluster and self.state is not None:
            raise click.UsageError("--state names a host, --kubeconfig and --context a cluster: give one of them")
        if self.on_cluster:
            try:
                from rop_operator.cli.cluster import ClusterBackend
            except ImportError:
                raise PortError(
                    "NotInstalled", "for clusters, install the extra: pip install 'rop-operator[operator]'"
                ) from None
            return ClusterBackend(self.kubeconfig, self.context)
        from rop_operator.cli.host import HostBackend

        return HostBackend(Path(self.state or DEFAULT_STATE), Path(self.secrets or DEFAULT_SECRETS))


_OPTIONS = (
    click.option("--state", metavar="DIR", help=f"State directory of a host's agent [default: {DEFAULT_STATE}]."),
    click.option("--kubeconfig", metavar="FILE", help="Work on this cluster instead of a host."),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig; also means a cluster."),
    click.option("--namespace", "-n", metavar="NAME", help="Namespace [default: default, or the context's]."),
    click.option("--output", "-o", type=click.Choice(OUTPUTS), help="How the answer looks [default: table]."),
)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `ropctl` and each of its commands take; the nearer one counts."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _settle(given: dict[str, Any]) -> Target:
    context = click.get_current_context()
    names = ("state", "kubeconfig", "context", "namespace", "output")
    target = context.ensure_object(Target).merged({name: given.pop(name, None) for name in names})
    context.obj = target
    return target


def command(function: Callable[Concatenate[Backend, Target, P], Awaitable[int | None]]) -> Callable[P, None]:
    """Run an async command with a backend; its return value is the exit code (None: 0)."""

    @target_options
    @functools.wraps(function)
    def wrapped(*args: P.args, **given: P.kwargs) -> None:
        target = _settle(given)

        async def session() -> int:
            backend = target.backend()
            try:
                return await function(backend, target, *args, **given) or 0
            finally:
                await backend.close()

        sys.exit(guarded(lambda: asyncio.run(session())))

    return wrapped


def guarded(run: Callable[[], int]) -> int:
    """The exit code of `run`; errors that a person can act on are told on standard error."""
    from rop_operator.cli.show import safe

    try:
        return run()
    except PortError as error:
        click.echo(f"error: {safe(error.message)} ({error.reason})", err=True)
    except DocumentsRefused as refused:
        for each in refused.errors:
            click.echo(safe(str(each)), err=True)
    except BrokenPipeError:
        sys.stderr.close()
    return EXIT_ERROR


async def effective_namespace(backend: Backend, target: Target) -> str:
    """The namespace that was asked for, or the one to use without asking."""
    return target.namespace or await backend.namespace()
