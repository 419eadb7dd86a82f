"""Which step of a rotation comes next, and what holds it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rop_operator.api.facts import BackupFacts, Document, Ref, RotationFacts
from rop_operator.domain.operation import Situation, Step, decide, ended, run_status
from rop_operator.domain.plan import Done, Failed, RotateStep, Wait
from rop_operator.domain.rotation import PATHS, preview, rotate

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
OLD = "ab" * 32


class Run:
    """A KeyRotation on a server that runs well."""

    def __init__(self, site: Any, **spec: Any) -> None:
        base = {"serverRef": {"name": "home"}, "item": "Root", "toGeneration": 2}
        self.document = Document(Ref("KeyRotation", "video", "next"), "u1", 1, {**base, **spec}, {})
        self.site = site
        self.state = RotationFacts(str(self.document.spec["item"]), 1, detail={"oldRootSHA256": OLD})
        self.now = NOW

    def spec(self, **members: Any) -> "Run":
        self.document = replace(self.document, spec={**self.document.spec, **members})
        return self

    def at(self, phase: str, **members: Any) -> "Run":
        target = None if phase == "Idle" else 2
        self.state = replace(self.state, **{"phase": phase, "target": target, **members})
        return self

    @property
    def situation(self) -> Situation:
        site = self.site
        return Situation(
            self.document, self.now, site.document, site.facts, tuple(site.cameras), site.devices, (self.state,)
        )

    @property
    def step(self) -> Step | None:
        return decide(self.situation, rotate)

    @property
    def order(self) -> RotateStep:
        assert self.step is not None
        (order,) = self.step.actions
        assert isinstance(order, RotateStep)
        return order

    def settle(self, *outcomes: Any) -> dict[str, Any]:
        step = self.step
        pairs = [
            (action, outcome) for action, outcome in zip(step.actions if step else (), outcomes, strict=False)
        ]
        status = run_status(self.situation, step, pairs)
        self.document = replace(self.document, status=status)
        return status

    def condition(self, type_: str) -> tuple[str, str]:
        found = next(c for c in self.document.status["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]


@pytest.fixture
def run(site: Any) -> Run:
    return Run(site)


@pytest.mark.parametrize("item", list(PATHS))
def test_every_item_goes_its_path_to_the_end(site: Any, item: str) -> None:
    run = Run(site, item=item)
    taken = []
    for step, phase in PATHS[item]:
        assert run.order == RotateStep(item, step, 2)
        taken.append(step)
        run.at(phase) if step != "Retire" else run.at("Idle", generation=2)
    assert taken[0] == "Prepare"
    assert taken[-1] == "Retire"
    run.settle()
    assert ended(run.document) == "Complete"
    assert run.step is None


def test_new_keys_are_used_only_after_they_are_backed_up(run: Run) -> None:
    run.at("Prepared")
    run.site.facts = run.site.facts.model_copy(update={"backup": BackupFacts(covered=False)})
    assert run.step is not None
    assert run.step.actions == ()
    run.settle()
    assert run.condition("Progressing") == ("False", "BackupRequired")
    run.site.facts = run.site.facts.model_copy(update={"backup": BackupFacts(covered=True)})
    assert run.order.step == "CrossSign"
    run.settle()
    assert [phase["name"] for phase in run.document.status["phases"]] == ["Prepared", "BackedUp"]


def test_a_demo_rotates_without_a_backup(run: Run) -> None:
    run.at("Prepared")
    run.site.facts = run.site.facts.model_copy(update={"backup": BackupFacts(covered=False)})
    run.site.spec(acknowledge=[{"edge": "NoBackup", "value": "other"}])
    assert run.step is not None
    assert run.step.reason == "BackupRequired"
    run.site.spec(acknowledge=[{"edge": "NoBackup", "value": "home"}])
    assert run.order.step == "CrossSign"


def test_the_rest_waits_until_the_canaries_have_it(run: Run, a_camera: Any) -> None:
    run.site.cameras = [a_camera("yard", "952700010000YARD")]
    run.spec(canary={"cameras": ["yard", "unknown"]}).at("CrossSigned")
    assert run.order.canary == ("952700010000YARD",)
    run.at("Canary", done=0, total=1)
    assert run.step is not None
    assert run.step.actions == ()
    run.at("Canary", done=1, total=1)
    assert run.order.step == "Roll"


def test_canaries_of_whom_none_exists_hold_the_rest(run: Run, a_camera: Any) -> None:
    run.spec(canary={"cameras": ["yard"]}).at("CrossSigned")
    run.settle()
    assert run.condition("Progressing") == ("False", "CanaryLost")
    run.site.cameras = [a_camera("yard", "952700010000YARD")]
    assert run.order.step == "Canary"


def test_nothing_is_observed_before_all_have_it_unless_the_old_one_is_given_up(run: Run) -> None:
    run.at("Rolling", done=3, total=10)
    assert run.step is not None
    assert run.step.actions == ()
    assert run.settle()["progress"] == {"done": 3, "total": 10, "summary": "3/10"}
    run.site.spec(acknowledge=[{"edge": "RetireRoot", "value": OLD}])
    assert (run.order.step, run.order.acknowledged) == ("Observe", OLD)


def test_an_acknowledgement_of_another_root_gives_nothing_up(run: Run) -> None:
    run.site.spec(acknowledge=[{"edge": "RetireRoot", "value": "cd" * 32}])
    run.at("Observing", done=10, total=10)
    assert run.order.acknowledged is None


def test_manual_retirement_waits_for_the_word(run: Run) -> None:
    run.spec(retire={"when": "Manual"}).at("Observing", done=10, total=10)
    run.settle()
    assert run.condition("Progressing") == ("False", "AcknowledgementMissing")
    assert OLD in next(c["message"] for c in run.document.status["conditions"] if c["type"] == "Progressing")
    run.site.spec(acknowledge=[{"edge": "RetireRoot", "value": OLD}])
    assert run.order.step == "Retire"


@pytest.mark.parametrize("phase", ["Prepared", "CrossSigned", "Canary", "Rolling", "Observing"])
def test_abort_goes_back_from_every_phase_before_the_end(run: Run, phase: str) -> None:
    run.at(phase).spec(abort=True)
    assert run.order == RotateStep("Root", "Abort", 2)
    run.settle(Done())
    run.at("Idle")
    run.settle()
    assert (ended(run.document), run.condition("Failed")[1]) == ("Failed", "Aborted")


def test_suspend_begins_nothing_but_abort_goes_on(run: Run) -> None:
    run.at("CrossSigned").spec(suspend=True)
    assert run.step is not None
    assert (run.step.actions, run.step.reason) == ((), "Suspended")
    run.spec(abort=True)
    assert run.order.step == "Abort"


def test_a_suspended_server_begins_nothing(run: Run) -> None:
    run.site.spec(suspend=True)
    assert run.step is not None
    assert run.step.reason == "Suspended"


@pytest.mark.parametrize(("generation", "target", "wanted"), [(1, None, 3), (1, 2, 3), (5, 6, 2)])
def test_a_generation_that_is_not_the_next_one_fails_and_names_it(
    run: Run, generation: int, target: int | None, wanted: int
) -> None:
    run.spec(toGeneration=wanted).at("Prepared", generation=generation, target=target)
    run.settle()
    assert (ended(run.document), run.condition("Stalled")) == ("Failed", ("True", "GenerationGap"))


def test_what_is_reached_already_is_complete_at_once(run: Run) -> None:
    run.at("Idle", generation=2)
    run.settle()
    assert ended(run.document) == "Complete"
    assert run.condition("Ready")[0] == "True"


def test_a_refusal_of_the_server_is_waited_for_and_shown(run: Run) -> None:
    run.at("Observing", done=10, total=10)
    run.settle(Wait(10, "StillNeeded", "2 devices hold certificates of the old root"))
    assert run.condition("Progressing") == ("False", "StillNeeded")
    assert ended(run.document) is None


def test_a_final_refusal_ends_it(run: Run) -> None:
    run.settle(Failed("NotSupported", "no"))
    assert (ended(run.document), run.condition("Failed")) == ("Failed", ("True", "NotSupported"))


def test_without_its_server_nothing_is_decided(run: Run) -> None:
    run.site.facts = run.site.facts.model_copy(update={"reachable": False})
    run.settle()
    assert run.condition("Progressing") == ("False", "ServerNotReady")
    situation = replace(run.situation, server_document=None)
    assert decide(situation, rotate) is None
    told = run_status(situation, None)["conditions"]
    assert next(c["reason"] for c in told if c["type"] == "Accepted") == "ServerNotFound"


def test_an_end_stays_the_end(run: Run) -> None:
    run.at("Idle", generation=2).settle()
    first = run.document.status
    run.now += timedelta(days=1)
    run.at("Idle", generation=1)
    assert run.step is None
    assert run.settle() == first


def test_equal_situations_give_an_equal_status(run: Run) -> None:
    run.at("Rolling", done=3, total=10).settle()
    first = run.document.status
    run.now += timedelta(minutes=1)
    assert run.settle() == first


def test_the_plan_names_every_step_that_is_left(run: Run) -> None:
    plan = preview(run.situation)
    assert [action.step for action in plan.actions] == [step for step, _ in PATHS["Root"]]  # type: ignore[attr-defined]
    run.at("CrossSigned").settle()
    left = preview(run.situation).actions
    assert [action.step for action in left] == ["Canary", "Roll", "Observe", "Retire"]  # type: ignore[attr-defined]
