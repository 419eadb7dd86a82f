"""The hand-over: once, with a journal, whatever dies in between."""

from dataclasses import replace
from typing import Any

import pytest

from rop_operator.domain import provisioning
from rop_operator.domain.plan import HandOver
from rop_operator.domain.provisioning import Journal, journal_of, with_journal


def kept(scene: Any) -> Journal:
    found = journal_of(scene.document.status)
    assert found is not None
    return found


def test_the_whole_way(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"attempt": 1, "lan": {"address": "192.0.2.44"}})
    (action,) = scene.plan.actions
    assert action == HandOver(scene.snapshot.uid, 1, "192.0.2.44", None)
    assert "one-way" in scene.plan.findings[-1].message

    opened = provisioning.session_opened(scene.snapshot, 1, "192.0.2.44")
    scene.document = replace(scene.document, status=with_journal(scene.document.status, opened))
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("False", "HandingOver")

    over = provisioning.handed_over(kept(scene), scene.now)
    scene.document = replace(scene.document, status=with_journal(scene.document.status, over))
    assert scene.condition("Provisioned") == ("False", "AwaitingOnline")
    scene.later(5)
    scene.device = a_device("Offline")
    assert scene.condition("Provisioned") == ("False", "AwaitingOnline")
    scene.device = a_device()
    assert scene.condition("Provisioned") == ("True", "SetUp")
    assert kept(scene).phase == "Succeeded"
    scene.device = a_device("Offline")
    scene.later(86400)
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("True", "SetUp")


def test_without_lan_a_person_does_it(scene: Any) -> None:
    scene.spec(provision={"attempt": 1})
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("False", "NotRequested")


def test_a_camera_that_talks_needs_none(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"lan": {}})
    for device in (a_device(), a_device("Offline"), a_device("Asleep", certificate=None)):
        scene.device = device
        assert scene.plan.actions == ()
        assert scene.condition("Provisioned") == ("True", "AlreadyTalking")


def test_a_device_only_heard_of_is_handed_over(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"lan": {}})
    scene.device = a_device("NeverSeen", certificate=None)
    assert [type(a) for a in scene.plan.actions] == [HandOver]


def test_killed_while_a_session_is_open(scene: Any) -> None:
    scene.spec(provision={"lan": {}}).journal("SessionOpen")
    assert scene.plan.actions == ()
    assert scene.plan.wait == 65.0
    scene.later(64)
    assert scene.plan.actions == ()
    scene.later(1)
    assert [type(a) for a in scene.plan.actions] == [HandOver]


def test_killed_after_the_camera_used_its_code(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"lan": {}}).journal("SessionOpen", before="00")
    scene.device = a_device("Offline", certificate={"serial": "01"})
    scene.later(3600)
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("False", "AwaitingOnline")
    assert kept(scene).phase == "HandedOver"


def test_an_old_certificate_proves_nothing(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"attempt": 2, "lan": {}}).journal("SessionOpen", attempt=2, before="01")
    scene.device = a_device("Offline", certificate={"serial": "01"})
    scene.later(65)
    assert [type(a) for a in scene.plan.actions] == [HandOver]


def test_sessions_that_end_in_silence_are_bounded(scene: Any) -> None:
    scene.spec(provision={"lan": {}}).journal("SessionOpen", tries=provisioning.MAX_TRIES)
    scene.later(65)
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("False", "CameraSilent")
    assert scene.condition("Stalled") == ("True", "CameraSilent")
    assert kept(scene).phase == "Failed"


def test_no_proof(scene: Any, a_device: Any) -> None:
    scene.spec(provision={"lan": {}}).journal("HandedOver")
    scene.later(180)
    assert scene.condition("Provisioned") == ("False", "NoOnlineProof")
    scene.later(86400)
    assert scene.plan.actions == ()
    scene.device = a_device()
    assert scene.condition("Provisioned") == ("True", "SetUp")


@pytest.mark.parametrize(
    ("symbol", "reason", "phase"),
    [
        ("invalid_parameter", "InvalidParameter", "Failed"),
        ("sync_time_failed", "SyncTimeFailed", "Failed"),
        ("cmd_timeout", "CmdTimeout", "Pending"),
        ("cmd_exec_error", "CmdExecError", "Pending"),
        ("download_ca_failed", "DownloadCaFailed", "Pending"),
        ("download_private_key_failed", "DownloadPrivateKeyFailed", "Pending"),
        ("registe_failed", "RegistrationFailed", "Pending"),
    ],
)
def test_symbols(scene: Any, symbol: str, reason: str, phase: str) -> None:
    scene.spec(provision={"lan": {}}).journal("SessionOpen")
    entry = provisioning.refused(kept(scene), symbol, scene.now)
    scene.document = replace(scene.document, status=with_journal(scene.document.status, entry))
    assert entry.phase == phase
    assert scene.condition("Provisioned") == ("False", reason)
    assert scene.condition("Stalled")[0] == ("True" if phase == "Failed" else "False")
    scene.later(10)
    assert len(scene.plan.actions) == (1 if phase == "Pending" else 0)


def test_a_transient_symbol_ends_after_some_tries(scene: Any) -> None:
    scene.spec(provision={"lan": {}})
    for number in range(1, provisioning.MAX_TRIES + 1):
        assert [type(a) for a in scene.plan.actions] == [HandOver]
        opened = provisioning.session_opened(scene.snapshot, 1, "192.0.2.1")
        assert opened.tries == number
        entry = provisioning.refused(opened, "cmd_timeout", scene.now)
        scene.document = replace(scene.document, status=with_journal(scene.document.status, entry))
        scene.later(3600)
    assert scene.plan.actions == ()
    assert scene.condition("Stalled") == ("True", "CmdTimeout")
    scene.spec(provision={"attempt": 2, "lan": {}})
    (action,) = scene.plan.actions
    assert action.attempt == 2


def test_what_did_not_begin_is_no_try(scene: Any) -> None:
    scene.spec(provision={"lan": {}})
    opened = provisioning.session_opened(scene.snapshot, 1, "192.0.2.1")
    entry = provisioning.not_begun(opened, "NotReachableFromHere", scene.now)
    assert (entry.tries, entry.phase) == (0, "Pending")
    scene.document = replace(scene.document, status=with_journal(scene.document.status, entry))
    assert scene.condition("Provisioned") == ("False", "NotReachableFromHere")
    scene.later(10)
    assert provisioning.session_opened(scene.snapshot, 1, None).tries == 1


def test_a_lower_attempt_repeats_nothing(scene: Any) -> None:
    scene.spec(provision={"attempt": 1, "lan": {}}).journal("Failed", attempt=3, symbol="sync_time_failed")
    assert scene.plan.actions == ()


def test_waiting_for_the_claim_and_suspended(scene: Any) -> None:
    scene.spec(provision={"lan": {}})
    scene.claimed = False
    assert scene.plan.actions == ()
    assert scene.plan.wait == 1.0
    assert scene.condition("Provisioned") == ("False", "WaitingForClaim")
    scene.claimed = True
    scene.spec(suspend=True)
    assert scene.plan.actions == ()
    assert scene.condition("Provisioned") == ("False", "Suspended")


def test_a_polled_server_proves_by_the_connection(scene: Any, a_device: Any, some_facts: Any) -> None:
    scene.server = some_facts(interface="ClientAPI", fence=None)
    scene.spec(provision={"lan": {}}).journal("HandedOver")
    scene.device = a_device(certificate=None)
    assert scene.condition("Provisioned") == ("True", "SetUp")


def test_the_journal_survives_the_status(scene: Any) -> None:
    scene.journal("HandedOver", symbol=None, address="192.0.2.1", before="0a", tries=2)
    entry = kept(scene)
    assert journal_of(with_journal({}, entry)) == entry
    assert journal_of({}) is None
    assert journal_of({"provision": "x"}) is None
