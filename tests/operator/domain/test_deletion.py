"""What happens before a Camera may go."""

from dataclasses import replace
from typing import Any

import pytest

from rop_operator.api.facts import Document, Ref
from rop_operator.domain.deletion import deletion_refused
from rop_operator.domain.plan import SetAccess, SetFinalizer


@pytest.fixture
def going(scene: Any, a_device: Any) -> Any:
    """A camera that is being deleted."""
    scene.device = a_device()
    scene.document = replace(scene.document, deleting=scene.now)
    return scene


def test_the_device_is_denied_first(going: Any) -> None:
    assert going.plan.actions == (SetAccess(going.snapshot.uid, "Denied"), SetFinalizer(False))


def test_without_a_finalizer_nothing_is_owed(going: Any) -> None:
    going.document = replace(going.document, finalizers=())
    assert going.plan.actions == ()


def test_an_unreachable_server_holds_it(going: Any, some_facts: Any) -> None:
    for server in (None, some_facts(reachable=False)):
        going.server = server
        assert going.plan.actions == ()
        assert going.plan.wait == 5.0
        assert going.condition("Ready") == ("False", "RevocationPending")
    going.document = replace(going.document, spec={**going.document.spec, "deletionPolicy": "Orphan"})
    assert going.plan.actions == (SetFinalizer(False),)


def test_what_lets_it_go_at_once(going: Any, a_device: Any, a_camera: Any, some_facts: Any) -> None:
    only = (SetFinalizer(False),)
    home, device, server = going.home, going.device, going.server
    going.device = a_device("Offline", access="Denied")
    assert going.plan.actions == only
    going.device = None
    assert going.plan.actions == only
    going.device = device
    going.home = None
    assert going.plan.actions == only
    going.home = replace(home, deleting=going.now)
    assert going.plan.actions == only
    going.home = home
    going.server = some_facts(interface="ClientAPI")
    assert going.plan.actions == only
    going.server = server
    going.rivals = [a_camera("renamed", age=1)]
    assert going.plan.actions == only
    assert "Camera/video/renamed" in going.plan.findings[0].message
    going.rivals = [replace(a_camera("renamed", age=1), deleting=going.now)]
    assert going.plan.actions != only


def test_a_device_about_to_get_a_certificate_is_denied(going: Any) -> None:
    going.device = None
    going.journal("SessionOpen")
    assert going.plan.actions[0] == SetAccess(going.snapshot.uid, "Denied")


def test_an_invalid_document_may_go(going: Any) -> None:
    going.document = replace(going.document, spec={"uid": 1})
    assert going.plan.actions == (SetFinalizer(False),)


def test_suspended_cameras_are_revoked_too(going: Any) -> None:
    going.spec(suspend=True)
    assert going.plan.actions[0] == SetAccess(going.snapshot.uid, "Denied")


def test_a_server_is_kept_until_its_name_is_written(scene: Any, site: Any) -> None:
    assert "DeleteServer, value: home" in (deletion_refused(site.document) or "")
    site.spec(acknowledge=[{"edge": "DeleteServer", "value": "other"}])
    assert deletion_refused(site.document) is not None
    site.spec(acknowledge=[{"edge": "DeleteServer", "value": "home"}])
    assert deletion_refused(site.document) is None
    assert deletion_refused(scene.document) is None
    assert deletion_refused(Document(Ref("RopServer", "a", "b"), "u", 1, {}, {})) is None
