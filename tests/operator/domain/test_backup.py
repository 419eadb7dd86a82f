"""The backup policy of a RopServer, and whether its keys are safe."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rop_operator.api.facts import BackupFacts
from rop_operator.domain.describe import describe
from rop_operator.domain.plan import ApplyBackup, Done, Failed, ReplaceClaims
from rop_operator.domain.snapshot import SecretProblem, secret_uses
from rop_operator.domain.status import server_facts_of

ALICE = {"name": "alice", "key": "age1" + "q" * 58}
BOB = {"name": "bob", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 bob"}
DRILL = {"name": "drill", "key": "age1" + "z" * 58, "scope": "WithoutRootKey"}
DISK = {"name": "disk", "directory": {"path": "/mnt/backup"}}
OFFSITE = {
    "name": "offsite",
    "s3": {
        "endpoint": "https://s3.example.net",
        "bucket": "rop",
        "credentialsRef": {"name": "s3"},
        "caRef": {"name": "s3", "key": "ca.crt"},
    },
}
POLICY = {"recipients": [ALICE, BOB, DRILL], "targets": [DISK, OFFSITE], "schedule": "0 3 * * *"}
WHERE = "spec.backup.targets[1].s3"
SECRETS = {
    f"{WHERE}.credentialsRef.accessKey": "adder",
    f"{WHERE}.credentialsRef.secretKey": "very-secret",
    f"{WHERE}.caRef": "-----BEGIN CERTIFICATE-----",
}


@pytest.fixture
def home(site: Any) -> Any:
    """A settled server that makes backups and has no policy yet."""
    site.status([(a, Done()) for a in site.plan.actions if isinstance(a, ReplaceClaims)])
    return knows(site)


def knows(site: Any, **members: Any) -> Any:
    site.facts = site.facts.model_copy(update={"backup": BackupFacts.model_validate(members)})
    return site


def stored(name: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "covered": True,
        "stored": {"name": "a.rop", "storedAt": "2026-05-04T11:00:00Z"},
        **members,
    }


def test_a_policy_takes_its_credentials_from_secrets(home: Any) -> None:
    home.spec(backup=POLICY)
    uses = {use.field: (use.name, use.key) for use in secret_uses(home.snapshot.spec)}
    assert uses == {
        f"{WHERE}.credentialsRef.accessKey": ("s3", "accessKey"),
        f"{WHERE}.credentialsRef.secretKey": ("s3", "secretKey"),
        f"{WHERE}.caRef": ("s3", "ca.crt"),
    }
    home.secrets = SECRETS
    knows(home, differs=True)
    (action,) = home.plan.actions
    assert isinstance(action, ApplyBackup)
    assert action.policy["targets"][1]["s3"] == {
        "endpoint": "https://s3.example.net",
        "bucket": "rop",
        "prefix": "",
        "region": "us-east-1",
        "caPEM": "-----BEGIN CERTIFICATE-----",
        "credentials": {"accessKey": "adder", "secretKey": "very-secret"},
    }
    assert action.policy["singleRecipient"] is None
    assert describe(action) == "back the keys up to disk, offsite, to be opened by alice, bob, drill"
    assert "very-secret" not in repr(action)


def test_the_same_policy_is_not_set_again(home: Any) -> None:
    home.spec(backup={**POLICY, "targets": [DISK]})
    assert home.plan.actions == ()
    knows(home, differs=True)
    assert len(home.plan.actions) == 1
    home.spec(suspend=True)
    assert home.plan.actions == ()


def test_a_missing_secret_holds_the_policy(home: Any) -> None:
    home.spec(backup=POLICY)
    home.secrets = {
        **SECRETS,
        f"{WHERE}.credentialsRef.secretKey": SecretProblem("SecretNotFound", "no secret s3"),
    }
    knows(home, differs=True)
    assert home.plan.actions == ()
    assert home.condition("Accepted") == ("False", "SecretNotFound")


def test_one_recipient_must_be_acknowledged(home: Any) -> None:
    home.spec(backup={"recipients": [ALICE, DRILL], "targets": [DISK]})
    knows(home, differs=True)
    assert home.plan.actions == ()
    assert home.condition("BackedUp") == ("False", "AcknowledgementMissing")
    assert home.condition("Stalled") == ("True", "AcknowledgementMissing")
    home.spec(acknowledge=[{"edge": "SingleRecipient", "value": "alice"}])
    (action,) = home.plan.actions
    assert action.policy["singleRecipient"] == "alice"


def test_a_server_without_backup_is_not_ready(home: Any) -> None:
    assert home.condition("BackedUp") == ("False", "BackupMissing")
    assert home.condition("Ready") == ("False", "BackupMissing")
    assert home.condition("Stalled") == ("True", "BackupMissing")
    message = next(c["message"] for c in home.status()["conditions"] if c["type"] == "Ready")
    assert "{edge: NoBackup, value: home}" in message
    home.spec(acknowledge=[{"edge": "NoBackup", "value": "home"}])
    assert home.condition("BackedUp") == ("False", "NoBackup")
    assert home.condition("Ready") == ("True", "Ready")
    assert home.plan.findings == ()


def test_ready_waits_for_a_verified_archive(home: Any) -> None:
    home.spec(backup={**POLICY, "targets": [DISK]})
    broken = {"name": "disk", "problem": {"reason": "TargetFull", "message": "no space left"}}
    knows(home, configured=True, targets=[broken])
    assert home.condition("Ready") == ("False", "BackupMissing")
    assert home.condition("Stalled") == ("False", "Reconciled")
    message = next(c["message"] for c in home.status()["conditions"] if c["type"] == "BackedUp")
    assert "target disk: TargetFull: no space left" in message
    knows(home, configured=True, covered=True, generation=1, signer="ed25519:x", targets=[stored("disk")])
    status = home.status()
    assert home.condition("Ready") == ("True", "Ready")
    assert home.condition("BackedUp") == ("True", "Stored")
    assert status["identity"]["signer"] == "ed25519:x"
    assert status["backup"] == {
        "configured": True,
        "covers": True,
        "generation": 1,
        "lastVerified": "2026-05-04T11:00:00Z",
        "targets": [{"name": "disk", "covered": True, "archive": "a.rop", "storedAt": "2026-05-04T11:00:00Z"}],
    }


def test_a_broken_target_is_told_while_another_has_the_keys(home: Any) -> None:
    home.spec(backup=POLICY)
    home.secrets = SECRETS
    lost = stored("offsite", covered=False, problem={"reason": "TargetUnreachable", "message": "no answer"})
    knows(home, configured=True, covered=True, generation=1, targets=[stored("disk"), lost])
    assert home.condition("BackedUp") == ("True", "TargetUnreachable")
    assert home.condition("Ready") == ("True", "Ready")
    assert home.status()["backup"]["targets"][1]["reason"] == "TargetUnreachable"


def test_what_the_server_refuses_is_told(home: Any) -> None:
    home.spec(backup={**POLICY, "targets": [DISK]})
    knows(home, differs=True)
    (action,) = home.plan.actions
    outcome = [(action, Failed("InvalidConfig", "policy.schedule: no such minute"))]
    assert home.condition("BackedUp", outcome) == ("False", "InvalidConfig")
    assert home.condition("Ready", outcome) == ("False", "InvalidConfig")


def test_a_server_that_cannot_tell_is_not_blamed(home: Any) -> None:
    home.facts = home.facts.model_copy(update={"backup": None})
    assert home.condition("BackedUp") == ("Unknown", "NotObservable")
    assert home.condition("Ready") == ("True", "Ready")


def test_an_unreachable_server_keeps_what_was_known(home: Any) -> None:
    knows(home, configured=True, covered=True, generation=1, targets=[stored("disk")])
    before = home.status()
    home.facts = home.facts.model_copy(update={"reachable": False, "error": "no answer"})
    home.now += timedelta(hours=1)
    after = home.status()
    assert after["backup"] == before["backup"]
    facts = server_facts_of(after)
    assert facts is not None
    assert facts.keys_backed_up is True
    assert home.condition("BackedUp") == ("Unknown", "Observing")


def test_plans_of_a_settled_status_are_quiet(home: Any) -> None:
    knows(home, configured=True, covered=True, generation=1)
    status = home.status()
    known = server_facts_of(status)
    assert known is not None
    assert replace(home, facts=known).plan.findings == ()
