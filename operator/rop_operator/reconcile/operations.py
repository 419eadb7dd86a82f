"""Reconciling runs (rotations, backups, drills, ...): observe, decide one step, carry it out, status."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rop_operator.api.facts import Document, Ref
from rop_operator.domain.operation import (
    Outcomes,
    Procedure,
    Situation,
    Step,
    decide,
    ended,
    run_status,
    server_of,
)
from rop_operator.domain.plan import Action, Done, Failed, Outcome, Wait
from rop_operator.ports import Clock, PortError, Store
from rop_operator.reconcile.link import Link
from rop_operator.reconcile.perform import Unperformed, outcome_of
from rop_operator.reconcile.report import put_when_different
from rop_operator.reconcile.roster import Roster

log = logging.getLogger(__name__)

ROUNDS = 8
LOOK_AGAIN = 5.0


@dataclass(frozen=True, slots=True)
class Craft:
    """What a kind of run brings: `observe` what its procedure needs beside the common facts (PortError),
    `procedure` decides the next step, `perform` carries out one action. `alone`: it goes on while the server is
    away.
    """

    observe: Callable[[Document, Link], Awaitable[Any]]
    procedure: Procedure
    perform: Callable[[Situation, Action, Link], Awaitable[Outcome]]
    alone: bool = False


class Operations:
    """The engine's part for one kind of run."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        roster: Roster,
        craft: Craft,
        link_of: Callable[[Ref], Link | None],
        server_due: Callable[[Ref], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._roster = roster
        self._craft = craft
        self._link_of = link_of
        self._server_due = server_due

    async def reconcile(self, ref: Ref) -> float | None:
        """Once; seconds after which to look again, None for only on change."""
        document = await self._store.get(ref)
        if document is None or ended(document) is not None:
            return None
        wait: float | None = None
        for _ in range(ROUNDS):
            situation, step, outcomes = await self._round(document)
            status = run_status(situation, step, outcomes)
            stored = await self._store.get(ref)
            if stored is None:
                return None
            await put_when_different(self._store, stored, status)
            wait = _wait(step, outcomes)
            if step is not None and step.end is not None and (server := server_of(document)) is not None:
                self._server_due(server)  # its conditions tell how its runs ended
            if step is None or not _moved(step, outcomes):
                break
            document = replace(stored, status=status)
        return wait

    async def _round(self, document: Document) -> tuple[Situation, Step | None, Outcomes]:
        """One step. The journal is written before the actions it announces."""
        link = await self._link(document)
        situation = await self._situation(document, link)
        step = decide(situation, self._craft.procedure, self._craft.alone)
        if step is None or not step.actions or link is None:
            return situation, step, ()
        announced = run_status(situation, step)
        stored = await self._store.get(document.ref)
        if stored is not None:
            await put_when_different(self._store, stored, announced)
            situation = replace(situation, document=replace(stored, status=announced))
        return situation, step, await self._perform(situation, step.actions, link)

    async def _link(self, document: Document) -> Link | None:
        """Its server's link; None until the server was looked at, which tells its runs then."""
        server = server_of(document)
        if server is None:
            return None
        link = self._link_of(server)
        if link is None and await self._store.get(server) is not None:
            self._server_due(server)
        return link

    async def _situation(self, document: Document, link: Link | None) -> Situation:
        server = server_of(document)
        plain = Situation(
            document,
            self._clock.now(),
            server_document=await self._store.get(server) if server is not None else None,
            server=link.facts if link is not None else None,
        )
        if link is None or link.facts is None or ended(document):
            return plain
        if not link.facts.reachable and not self._craft.alone:
            return plain
        cameras = [d for d in [await self._store.get(r) for r in self._roster.of_server(link.ref)] if d]
        try:
            seen = await self._craft.observe(document, link)
        except PortError as error:
            log.info("%s: %s", document.ref, error.message)
            return replace(plain, server=link.facts.model_copy(update={"reachable": False}))
        return replace(plain, cameras=tuple(cameras), devices=dict(link.devices), seen=seen)

    async def _perform(self, situation: Situation, actions: Sequence[Action], link: Link) -> Outcomes:
        outcomes: list[tuple[Action, Outcome]] = []
        for action in actions:
            outcome = await self._one(situation, action, link)
            outcomes.append((action, outcome))
            if not isinstance(outcome, Done):
                break
        return outcomes

    async def _one(self, situation: Situation, action: Action, link: Link) -> Outcome:
        try:
            return await self._craft.perform(situation, action, link)
        except PortError as error:
            try:
                return outcome_of(error)
            except Unperformed as passing:
                return Wait(passing.after, passing.reason, passing.message)

    async def close(self) -> None:
        """Nothing is held."""


def _moved(step: Step, outcomes: Outcomes) -> bool:
    """Whether actions were done, so that the next step can be decided at once."""
    return bool(outcomes) and step.end is None and all(isinstance(outcome, Done) for _, outcome in outcomes)


def _wait(step: Step | None, outcomes: Outcomes) -> float | None:
    if step is None or step.end is not None or any(isinstance(o, Failed) for _, o in outcomes):
        return None
    for _, outcome in outcomes:
        if isinstance(outcome, Wait):
            return outcome.after
    return step.wait if step.wait is not None else LOOK_AGAIN if not step.held else None
