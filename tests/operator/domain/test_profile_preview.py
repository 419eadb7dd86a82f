"""Whom a profile concerns, and what a change of it costs each camera."""

from typing import Any

import pytest

from rop_operator.api.facts import Document, Ref
from rop_operator.documents import Parsed, load, parse_all
from rop_operator.domain.plan import WriteSettings
from rop_operator.domain.profile_preview import Concerned, concerned

YARD = Ref("CameraProfile", "video", "yard")
HOME = (
    "apiVersion: rop.dev/v1alpha1\nkind: RopServer\nmetadata: {name: home, namespace: video}\nspec: {host: a.b}\n"
)


def profile(settings: str, name: str = "yard", more: str = "") -> str:
    return (
        "apiVersion: rop.dev/v1alpha1\nkind: CameraProfile\n"
        f"metadata: {{name: {name}, namespace: video}}\n"
        "spec: {serverRef: {name: home}, selector: {matchLabels: {place: yard}}, "
        f"settings: {settings}{more}}}\n"
    )


def camera(name: str, uid: str, place: str, more: str = "") -> str:
    return (
        "apiVersion: rop.dev/v1alpha1\nkind: Camera\n"
        f"metadata: {{name: {name}, namespace: video, labels: {{place: {place}}}}}\n"
        f"spec: {{serverRef: {{name: home}}, uid: {uid}{more}}}\n"
    )


CAMERAS = (
    camera("asleep", "AAAA000000000001", "yard"),
    camera("awake", "AAAA000000000002", "yard", ", settings: {alarm: {enabled: true}}"),
    camera("hall", "AAAA000000000003", "hall"),
)


def parsed(*texts: str) -> tuple[Parsed, ...]:
    return parse_all(load("\n---\n".join(texts), "fleet.yaml")).documents


@pytest.fixture
def stored(scene: Any, site: Any, a_device: Any) -> list[Document]:
    """A settled fleet whose cameras have PIR sensitivity 10."""
    found = [site.document]
    site.cameras = []
    states = {"asleep": "Asleep", "awake": "Online", "hall": "Online"}
    for each in parsed(*CAMERAS):
        uid = str(each.spec["uid"])
        scene.document = Document(
            each.ref, uid, 1, each.spec, {}, labels=each.labels, finalizers=("rop.dev/revoke",)
        )
        known = {"pir.sensitivity": 10, "alarm.enabled": True}
        scene.device = a_device(states[each.ref.name], uid=uid, settings=known)
        scene.status()
        found.append(scene.document)
    site.status()
    found[0] = site.document
    return found


def previewed(stored: list[Document], now: Any, *texts: str) -> dict[str, Concerned]:
    new = parsed(*texts)
    rest = tuple(each for each in parsed(*CAMERAS) if each.ref not in {p.ref for p in new})
    return {each.camera.name: each for each in concerned((*new, *rest), stored, [YARD], now)}


def test_selected_cameras_with_the_source_of_each_field_and_their_costs(
    scene: Any, stored: list[Document]
) -> None:
    found = previewed(stored, scene.now, profile("{pir: {sensitivity: 60}, alarm: {enabled: false}}"))
    assert sorted(found) == ["asleep", "awake"]
    told = {(row.field, row.value, row.source, row.seen) for row in found["awake"].rows}
    assert told == {
        ("settings.pir.sensitivity", "60", "CameraProfile/yard", "10"),
        ("settings.alarm.enabled", "true", "Camera", "true"),
    }
    (write,) = (a for a in found["awake"].plan.actions if isinstance(a, WriteSettings))
    assert (dict(write.write), write.wakes) == ({"pir.sensitivity": 60}, 0)
    (write,) = (a for a in found["asleep"].plan.actions if isinstance(a, WriteSettings))
    assert write.wakes == 1


def test_what_changes_and_what_is_dropped(scene: Any, stored: list[Document]) -> None:
    (old,) = parsed(profile("{pir: {sensitivity: 10, enabled: true}}"))
    stored.append(Document(old.ref, "p", 1, old.spec, {}))
    found = previewed(stored, scene.now, profile("{pir: {sensitivity: 60, reduceMistakes: true}}"))["asleep"]
    assert {row.field: found.change(row) for row in found.rows} == {
        "settings.pir.sensitivity": "was 10",
        "settings.pir.reduceMistakes": "new",
    }
    assert [row.field for row in found.dropped] == ["settings.pir.enabled"]
    same = previewed(stored, scene.now, profile("{pir: {sensitivity: 10, enabled: true}}"))["asleep"]
    assert {same.change(row) for row in same.rows} == {""}


def test_cameras_it_selects_no_longer_and_conflicts_are_told(scene: Any, stored: list[Document]) -> None:
    (old,) = parsed(profile("{pir: {sensitivity: 10}}"))
    stored.append(Document(old.ref, "p", 1, old.spec, {}))
    found = previewed(stored, scene.now, camera("awake", "AAAA000000000002", "hall"))
    assert [row.field for row in found["awake"].dropped] == ["settings.pir.sensitivity", "settings.alarm.enabled"]
    rival = profile("{pir: {sensitivity: 90}}", name="rival")
    conflicting = previewed(stored, scene.now, rival)["awake"]
    assert "CameraProfile/rival and CameraProfile/yard" in str(conflicting.conflicts[0])
    assert conflicting.plan.actions == ()
