"""The targets of a policy as things that take archives, with their credentials from the data directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rop_data.archive.create import check_place
from rop_data.archive.errors import ArchiveError, Reason
from rop_data.archive.policy import Place
from rop_data.archive.s3 import Credentials, S3Target, decode_credentials
from rop_data.archive.target import DirectoryTarget, Target
from rop_data.layout import DataDir


@dataclass(frozen=True, slots=True)
class Places:
    """Opens targets. `loopback` permits S3 on this machine: a flag of the program, never of a document."""

    directory: DataDir
    loopback: bool = False

    def open(self, place: Place, credentials: Credentials | None = None) -> Target:
        """The target; `credentials` instead of the stored ones. Raises ArchiveError."""
        if place.s3 is None:
            folder = Path(str(place.directory))
            check_place(self.directory, folder)
            return DirectoryTarget(folder)
        stored = credentials or self.credentials(place)
        if stored is None:
            raise ArchiveError(
                Reason.TARGET_REFUSED, f"the credentials of target {place.name} are missing; set them again"
            )
        return S3Target(place.s3, stored, self.loopback)

    def inside(self, path: str) -> bool:
        """Whether a path lies in the data directory."""
        return Path(path).resolve().is_relative_to(self.directory.root.resolve())

    def has_credentials(self, place: Place) -> bool:
        """Whether nothing is missing to open a target."""
        return place.s3 is None or (self.directory.root / place.credentials_file).is_file()

    def credentials(self, place: Place) -> Credentials | None:
        """The stored credentials of a bucket, None when there are none that can be used."""
        try:
            return decode_credentials(json.loads((self.directory.root / place.credentials_file).read_bytes()))
        except (OSError, ValueError):
            return None
