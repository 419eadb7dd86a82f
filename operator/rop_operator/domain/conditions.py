"""Conditions: types and reasons a user meets, and how they end up in a status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `reason` is CamelCase, `message` for people."""

    type: str
    status: Status
    reason: str
    message: str = ""


# What each type of condition says when it is True.
TYPES: Mapping[str, str] = {
    "Accepted": "The document is valid and everything it refers to exists.",
    "Ready": "What the document asks for is so. A sleeping battery camera is Ready.",
    "Reconciling": "Work is under way or waited for.",
    "Stalled": "Nothing will happen until a person changes something; the reason says what.",
    "Online": "The camera is connected; reason Asleep for a battery camera that can be woken.",
    "Provisioned": "The camera was set up for this server and has talked to it.",
    "SettingsInSync": "The camera's settings, as last seen, are those of the document.",
    "CertificateValid": "The camera's certificate has not expired and is renewed in time.",
    "Serving": "The server answers and all its ports listen.",
    "CertificatesValid": "The server's own certificate is valid.",
    "ConfigInSync": "The members of config.json that the document names have its values.",
    "BackedUp": "The present keys are in an archive that was read back from a target.",
    "DrillPassed": "The newest recovery drill passed: virtual cameras lived on the newest archive.",
    "GatewayReady": "The gateway serves clients as the document says.",
    "Progressing": "The run goes on; False while it is held, the reason says by what.",
    "Complete": "The run ended as it was meant to.",
    "Failed": "The run ended without; the reason says what to do before another one.",
    "FullyObserved": "The server offers the management interface, so that everything is known without polling.",
}

# Every reason with what it means and what to do about it: the reference page is made from this.
REASONS: Mapping[str, str] = {
    "Aborted": "spec.abort ended the run; what it had changed was taken back.",
    "Aborting": "spec.abort is being carried out.",
    "Accepted": "Nothing to do.",
    "AcknowledgementMissing": "A dangerous change waits; write the spec.acknowledge entry the message names.",
    "AlarmLost": "In the drill an alarm did not arrive; see the report.",
    "AlreadyTalking": "The camera talks to this server; no hand-over was needed.",
    "AmbiguousAnswers": "Several devices on the LAN claim this UID; write spec.provision.lan.address and port.",
    "Applying": "Configuration is being written.",
    "ApprovalPending": "The next wave waits for a person: write its name into spec.approvedWaves.",
    "ArchiveStale": "The archive is too old, or its keys are not the newest; see BackedUp of the RopServer.",
    "Asleep": "A battery camera sleeps; it is reached by waking it.",
    "AuthorityUnavailable": "The server does not sign the gateway's certificate; the message has its words.",
    "AwaitingOnline": "The hand-over was accepted; the camera has to connect now.",
    "BackupFailed": "The archive is not on every target; the message says why. Mend it, make another document.",
    "BackupMissing": "The keys are in no verified backup; the message says what to write or what is wrong.",
    "BackupRequired": "The new keys are in no verified backup yet; the run goes on once they are.",
    "BatteryLow": "The camera's charge is below spec.gates.battery.minPercent; it goes on once it is charged.",
    "BudgetHeld": "As many cameras are dark as spec.disruptionBudget allows; the rest wait for them.",
    "CameraInvalid": "The drill camera cannot be used; remove its folder below drills of the agent, it is "
    "enrolled again.",
    "CameraSilent": "The camera did not answer on the LAN; check power, address and port.",
    "Canary": "The first cameras get the new thing; they must come back with it before the rest follows.",
    "CanaryLost": "A first camera did not come back with the new thing; look at it, or set spec.abort.",
    "CertificateExpiring": "The gateway's certificate ends within a week and nobody has renewed it.",
    "CertificateMissing": "The gateway has no certificate yet; the message says which file or secret is missing.",
    "ChainInvalid": "The certificate's chain is broken; the old one stays in use.",
    "ClockImplausible": "The clock is before the last archive or the root CA: nothing is signed. Set it right.",
    "CmdExecError": "The camera could not carry out the set-up; it may be busy with another one.",
    "CmdTimeout": "The camera's set-up timed out.",
    "CommandFailed": "In the drill a command did not reach the camera; see the report.",
    "Complete": "Nothing to do.",
    "ConfigDrift": "config.json differs from the document; spec.configPolicy decides whether it is repaired.",
    "ConfigRefused": "nginx refuses the gateway's configuration, the message says why; the old one stays.",
    "Connected": "The camera is connected.",
    "ConnectionRefused": "In the drill a registered camera did not come online; see the report.",
    "Counting": "The document is deleted; its server counts first how many are.",
    "CrossSign": "Both roots are being signed by one another.",
    "DataNotReadable": "The server cannot read its data directory; look at its disk.",
    "DecryptFailed": "The identity of spec.drill does not open the archive; is it a recipient of spec.backup?",
    "DeletionHeld": "Many cameras are deleted at once: they stay allowed until the message's entry is written.",
    "Denied": "spec.access is Denied and the server refuses the device on every port.",
    "DenyListLost": "In the drill a denied device was let in, or the deny list is not whole: do not restore "
    "this archive.",
    "DeviceAsleep": "The camera went to sleep in between; it is tried again.",
    "DeviceOffline": "The camera is not connected; check its power and network.",
    "DownloadCaFailed": "The camera could not fetch the authority's certificate; check host and getCAHttps port.",
    "DownloadPrivateKeyFailed": "The camera got no certificate; the code expired or getCertHttps is unreachable.",
    "Drift": "The camera differs from the document and the policy is Report.",
    "DriftStorm": "Somebody else keeps writing a setting; it is left alone until what is wanted changes, or until "
    "rop.dev/requestedAt.",
    "Drilling": "The newest archive is restored in memory and virtual cameras try it.",
    "DrillNotConfigured": "spec.drill of the RopServer names no identity that opens its archives.",
    "DrillNotPossible": "A drill cannot be begun on this host; the message has the reason.",
    "DuplicateUID": "An older Camera has this UID; delete one of the two.",
    "EgressRefused": "The address may not be dialled from here (loopback, link-local); put the file elsewhere.",
    "Enrolling": "The virtual camera of drills gets a certificate of the real hierarchy.",
    "EnrolmentRefused": "In the drill a new camera could not enrol; see the report.",
    "Expired": "The certificate has expired; a camera needs a new hand-over, a gateway a new pair.",
    "ExternalRequired": "This engine cannot run servers here; write spec.external.",
    "Fenced": "Another engine took the server's management over; it is taken back only by TakeOver.",
    "FetchFailed": "The file could not be fetched; it is tried again. The message has the reason.",
    "Fetching": "The file is being fetched.",
    "FilesUnusable": "The gateway cannot write its directory; check its disk and rights.",
    "ForeignRoot": "The archive is of a site with another root CA, or the root was replaced since the drill "
    "camera was enrolled.",
    "ForeignSigner": "Somebody else signed the archive: do not restore it.",
    "GateUnknown": "The camera has not told its model, firmware or charge yet; nothing is begun without.",
    "GatewayDiffers": "The gateway that reports serves another name or other ports; change its document.",
    "GatewayFailed": "rop-gateway does not start; the message has its reason.",
    "GatewayMissing": "No gateway reports to this server, and this engine does not run it; start rop-gateway.",
    "GatewayStarting": "The gateway is starting.",
    "GenerationGap": "spec.toGeneration is not the next generation; the message says which one is.",
    "HandingOver": "A hand-over is under way.",
    "HashMismatch": "The file there has another hash than spec.sha256; nothing of it is kept.",
    "IdentityConflict": "Two RopServers point at the same server; delete one.",
    "ImageNotFound": "There is no FirmwareImage of this name in this namespace.",
    "ImageNotReady": "The FirmwareImage is not there yet; its conditions say why.",
    "InSync": "Nothing to do.",
    "Interrupted": "The drill was stopped before its end; make another document.",
    "Invalid": "The document breaks a rule; the message names it.",
    "InvalidConfig": "The server refuses a value of its configuration; the message names the member.",
    "InvalidParameter": "The camera or the server refused a value.",
    "ItemInvalid": "A file of the server's data cannot be read as what it is; restore it from an archive.",
    "ItemMissing": "A file of the server's data is missing; restore it from an archive.",
    "KeyMismatch": "The gateway's key does not belong to its certificate; the old pair stays in use.",
    "KeyUnusable": "The gateway's key cannot be used; the message says why. The old pair stays in use.",
    "Making": "The server makes the archive and reads it back from its targets.",
    "ManagedElsewhere": "Another engine manages this server; stop it, or acknowledge TakeOver with its id.",
    "NameMismatch": "The gateway's certificate is for another name; the old pair stays in use.",
    "NameTaken": "An object on the cluster has the name that the server needs; the message says which.",
    "NeverDrilled": "No recovery drill has ended yet.",
    "NeverSeen": "The server has never heard of this UID; hand the camera over.",
    "NginxFailed": "nginx does not serve; the message has its words.",
    "NoBackup": "spec.acknowledge says that the keys may be lost: only for a demo.",
    "NoOnlineProof": "The camera accepted the hand-over but never connected; check its route to the server, then "
    "raise spec.provision.attempt.",
    "NoPolicy": "The server has no backup policy; write spec.backup of the RopServer.",
    "NothingDesired": "The document names no settings.",
    "NothingSelected": "No Camera of this server has the labels of spec.selector.",
    "NotIssued": "No certificate was issued to this camera yet.",
    "NotObservable": "The server's interface cannot tell.",
    "NotReachableFromHere": "The camera's LAN is not reachable from the engine; use ropctl provision on that LAN.",
    "NotRequested": "spec.provision is not set and the camera has never talked to the server.",
    "NotStarted": "The camera did not begin; it is tried again a little later.",
    "NotSupported": "The server's interface cannot do this; the management interface can.",
    "NotYetValid": "The gateway's certificate is not valid yet; the old pair stays in use.",
    "Observe": "Nothing new is issued from the old one from now on.",
    "Observing": "The first observation is under way.",
    "OutsideWindow": "No window of spec.windows is open; the message says when the next one opens.",
    "OwnedByRollout": "Another rollout has the camera; this one goes on with it afterwards.",
    "Passed": "The drill passed.",
    "PasswordsInvalid": "The password file cannot be used; the message names the line. The old one stays in use.",
    "PlayAddressElsewhere": "Play addresses name a port where nobody listens; set spec.rtsp.playURLPrefix.",
    "PolicyUnknown": "The server has no backup policy; write spec.backup of the RopServer.",
    "PollingOnly": "The server is known by its client interface only: no claims, access, certificates or events.",
    "Prepare": "The new thing is being made; nothing uses it yet.",
    "ProfileConflict": "Two CameraProfiles of the same priority disagree; nothing is written until they agree, or "
    "the Camera says it.",
    "ReadBackMismatch": "The target does not give back what it was given; do not trust it.",
    "Ready": "Nothing to do.",
    "Reconciled": "Nothing to do.",
    "RegistrationFailed": "The camera could not register; check the registerHttps port.",
    "RegistrationRefused": "In the drill a camera with a renewed certificate could not register; see the report.",
    "RenewalOverdue": "The certificate ends soon and was not renewed; check that the camera reaches getCertHttps.",
    "RenewalRefused": "In the drill a camera could not renew with its long-term code: the signKey of the archive "
    "is not the one in use.",
    "Restarting": "The server restarts because a member needs it.",
    "RestartNeeded": "A member takes effect at the next start; this server is not run here, restart it.",
    "Retire": "The old one is being given up.",
    "RevocationPending": "The document is deleted, but the server cannot be told yet; it stays until it was.",
    "Roll": "The rest begins to get the new thing.",
    "Rolling": "Devices get the new thing one after the other.",
    "RootSealed": "The root's key is not on the server; put it back as ECC/Root/key.pem for this step.",
    "RunConflict": "The server was asked for this run in another way; make another document.",
    "Running": "The server answers and all its ports listen.",
    "RuntimeFailed": "The server does not start; the message has its reason.",
    "ScratchNotUsable": "There is no place in memory (/dev/shm) for the restored site.",
    "SecretInvalid": "The secret's value cannot be used.",
    "SecretKeyMissing": "The secret lacks the key.",
    "SecretNotFound": "There is no such secret.",
    "SecretNotReferable": 'The Secret lacks the label rop.dev/referable: "true".',
    "SelectsNothing": "No Camera has labels that the profile selects.",
    "ServerFailed": "The restored server does not start; the message has its last words.",
    "ServerGoing": "The RopServer is being deleted.",
    "ServerNotFound": "The RopServer named by serverRef does not exist in this namespace.",
    "ServerNotReady": "The RopServer is not reachable; its conditions say why.",
    "ServerNotTrusted": "In the drill a camera did not trust the restored server; see the report.",
    "SessionsOpen": "Set-up sessions that name the present root are open; none begins until they have ended.",
    "SetUp": "The camera was handed over and has connected.",
    "SignatureInvalid": "The signature of the archive does not hold: do not restore it.",
    "Soaking": "The wave is watched for its soak time before the next one begins.",
    "Starting": "The server is starting.",
    "StepByStep": "Nothing to do: each step is taken when the server allows it.",
    "StillNeeded": "Devices still need the old one; wait for them, or acknowledge what the message names.",
    "Stored": "Nothing to do.",
    "StoreFull": "The folder of firmware files has no room; free some.",
    "StreamFailed": "In the drill no pictures arrived; see the report.",
    "Suspended": "spec.suspend is set here or on the RopServer.",
    "SyncTimeFailed": "The camera could not set its clock.",
    "TargetFull": "Make room on the target, or lower spec.backup.retention.",
    "TargetNotUsable": "The directory is not there (not mounted?), or there is no such bucket.",
    "TargetRefused": "The target refuses: credentials, rights, or a directory that is read-only.",
    "TargetUnknown": "spec.backup of the RopServer has no such target; the message names those it has.",
    "TargetUnreachable": "The target does not answer: network, name, TLS, or the service is down.",
    "ThresholdExceeded": "Too many cameras failed; mend the cause, then make another FirmwareRollout.",
    "TimedOut": "The drill did not end within spec.timeout.",
    "TooLarge": "The file is longer than a firmware file may be.",
    "Unauthorized": "The server refuses the token; make one with rop-server token create.",
    "Unreachable": "The server does not answer.",
    "UpdateHeld": "A newer pod waits: the server is started anew once its keys are in a verified backup.",
    "UploadPending": "The file is to be brought with ropctl firmware upload.",
    "Valid": "Nothing to do.",
    "WaitingForClaim": "The server is about to let this UID enrol.",
    "WaitingForWake": "The camera sleeps and its wake budget is not for settings; they are written when it wakes.",
    "WakeBudgetSpent": "The camera was woken as often today as spec.wakeBudget allows; it goes on after midnight "
    "UTC.",
    "WaveByWave": "Nothing to do: each wave begins when the one before was good.",
    "WindowNeverOpens": "A window of spec.windows can never be used; make another FirmwareRollout with one that "
    "can.",
    "WriteFailed": "The camera did not take a setting; it is tried again later.",
    "Writing": "Settings are being written.",
    "WrongPhase": "The server is in another phase of the rotation; it is looked at again.",
}
_SYMBOLS = {"registe_failed": "RegistrationFailed"}


def reason_of(symbol: str) -> str:
    """The reason for a symbol of the wire: `download_ca_failed` -> `DownloadCaFailed`. A reason stays as it is."""
    if symbol[:1].isupper():
        return symbol
    return _SYMBOLS.get(symbol) or "".join(part.capitalize() for part in symbol.split("_")) or "Failed"


def timestamp(moment: datetime) -> str:
    """RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: Any) -> datetime | None:
    """The moment of an RFC 3339 text, None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def previous(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """A condition of a status as it was written, empty when it is not there."""
    written = status.get("conditions") or ()
    return next((c for c in written if isinstance(c, Mapping) and c.get("type") == type_), {})


def merged(
    status: Mapping[str, Any], conditions: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Conditions for a status, in the order given. `lastTransitionTime` moves only when `status` changes."""
    result = []
    for condition in conditions:
        before = previous(status, condition.type)
        since = before.get("lastTransitionTime") if before.get("status") == condition.status else None
        result.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": since or timestamp(now),
            }
        )
    return result
