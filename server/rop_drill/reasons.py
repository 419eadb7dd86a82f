"""Why a drill fails: the reason for conditions and reports, and the exit code of the program."""

from collections.abc import Mapping
from enum import Enum

from rop_data.archive import errors


class Reason(Enum):
    """Name, exit code, meaning."""

    TARGET_UNREACHABLE = ("TargetUnreachable", 10, "the place of the archives, or an archive, cannot be read")
    BACKUP_MISSING = ("BackupMissing", 11, "there is no archive of this site")
    ARCHIVE_STALE = ("ArchiveStale", 12, "the archive is too old, or its keys are not the newest ones")
    READ_BACK = ("ReadBackMismatch", 13, "the bytes of the archive are not those that were written")
    SIGNATURE_INVALID = ("SignatureInvalid", 14, "the signature of the archive does not hold")
    FOREIGN_SIGNER = ("ForeignSigner", 15, "somebody else signed the archive")
    FOREIGN_ROOT = ("ForeignRoot", 16, "the archive is of a site with another root CA")
    DECRYPT_FAILED = ("DecryptFailed", 17, "the identity does not open the archive")
    ITEM_MISSING = ("ItemMissing", 18, "the archive lacks something that a site needs")
    ITEM_INVALID = ("ItemInvalid", 19, "something in the archive is damaged or of another site")
    DENY_LIST_LOST = ("DenyListLost", 20, "a device that is denied was let in, or the deny list is not whole")
    CAMERA_INVALID = ("CameraInvalid", 21, "the drill camera cannot be used; enrol it again")
    SCRATCH = ("ScratchNotUsable", 22, "there is no place in memory for the restored site")
    SERVER_FAILED = ("ServerFailed", 30, "the restored server does not start")
    SERVER_NOT_TRUSTED = ("ServerNotTrusted", 31, "a camera does not trust the restored server")
    RENEWAL_REFUSED = ("RenewalRefused", 32, "a camera cannot renew its certificate with its long-term code")
    REGISTRATION_REFUSED = ("RegistrationRefused", 33, "a camera with a renewed certificate cannot register")
    CONNECTION_REFUSED = ("ConnectionRefused", 34, "a registered camera does not come online")
    COMMAND_FAILED = ("CommandFailed", 35, "a command does not reach the camera")
    STREAM_FAILED = ("StreamFailed", 36, "no pictures arrive")
    ALARM_LOST = ("AlarmLost", 37, "an alarm does not arrive")
    ENROLMENT_REFUSED = ("EnrolmentRefused", 38, "a new camera cannot enrol")
    TIMED_OUT = ("TimedOut", 39, "the drill did not end within its time")
    INTERRUPTED = ("Interrupted", 40, "the drill was stopped")

    @property
    def text(self) -> str:
        """As conditions and reports name it."""
        return self.value[0]

    @property
    def code(self) -> int:
        """Exit code of `rop-drill run`."""
        return self.value[1]

    @property
    def meaning(self) -> str:
        """What it says, for people."""
        return self.value[2]


OF_ARCHIVES: Mapping[errors.Reason, Reason] = {
    errors.Reason.ITEM_MISSING: Reason.ITEM_MISSING,
    errors.Reason.ITEM_INVALID: Reason.ITEM_INVALID,
    errors.Reason.DAMAGED: Reason.READ_BACK,
    errors.Reason.SIGNATURE_INVALID: Reason.SIGNATURE_INVALID,
    errors.Reason.FOREIGN_SIGNER: Reason.FOREIGN_SIGNER,
    errors.Reason.FOREIGN_ROOT: Reason.FOREIGN_ROOT,
    errors.Reason.DECRYPT_FAILED: Reason.DECRYPT_FAILED,
    errors.Reason.STALE: Reason.ARCHIVE_STALE,
    errors.Reason.READ_BACK: Reason.READ_BACK,
    errors.Reason.TARGET: Reason.TARGET_UNREACHABLE,
    errors.Reason.TARGET_UNREACHABLE: Reason.TARGET_UNREACHABLE,
    errors.Reason.TARGET_REFUSED: Reason.TARGET_UNREACHABLE,
    errors.Reason.TARGET_FULL: Reason.TARGET_UNREACHABLE,
    errors.Reason.CLOCK: Reason.ARCHIVE_STALE,
    errors.Reason.RECIPIENTS: Reason.ITEM_INVALID,
}


class DrillFailed(Exception):
    """The drill is red. The text is for people and holds no secret."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason.text}: {text}")
        self.reason = reason
        self.told = text

    @classmethod
    def of(cls, failure: errors.ArchiveError) -> "DrillFailed":
        """From what the archive says."""
        return cls(OF_ARCHIVES[failure.reason], str(failure).partition(": ")[2])


def table() -> str:
    """Exit codes for the help text and the documentation."""
    return "\n".join(f"{each.code}  {each.text:<20} {each.meaning}" for each in Reason)
