"""Why an archive cannot be made, trusted or restored."""

from enum import Enum


class Reason(Enum):
    """What is wrong, as reports and conditions name it."""

    ITEM_MISSING = "ItemMissing"
    ITEM_INVALID = "ItemInvalid"
    DAMAGED = "Damaged"
    SIGNATURE_INVALID = "SignatureInvalid"
    FOREIGN_SIGNER = "ForeignSigner"
    FOREIGN_ROOT = "ForeignRoot"
    DECRYPT_FAILED = "DecryptFailed"
    STALE = "ArchiveStale"
    READ_BACK = "ReadBackMismatch"
    TARGET = "TargetNotUsable"
    TARGET_UNREACHABLE = "TargetUnreachable"
    TARGET_REFUSED = "TargetRefused"
    TARGET_FULL = "TargetFull"
    CLOCK = "ClockImplausible"
    RECIPIENTS = "RecipientsInvalid"


class ArchiveError(Exception):
    """`reason` for programs, the text for people; never a secret."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason.value}: {text}")
        self.reason = reason

    @classmethod
    def invalid(cls, text: str) -> "ArchiveError":
        """An item that cannot be used."""
        return cls(Reason.ITEM_INVALID, text)
