"""Kind `RopBackup`: one archive of a server's keys, now."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rop_operator.api.backup import Label
from rop_operator.api.rules import Transition
from rop_operator.api.run import RunSpec, run_rules


class RopBackupSpec(RunSpec):
    """One archive, stored and read back. Deleting the document deletes no archive."""

    transitions: ClassVar[tuple[Transition, ...]] = run_rules(("retain",), ("targetNames",))

    target_names: Annotated[
        list[Label] | None,
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """Targets of the RopServer's spec.backup. Left out: all of them. Immutable."""
    retain: Literal["ByPolicy", "Forever"] = "ByPolicy"
    """Forever: no prune deletes the archive. Immutable."""
