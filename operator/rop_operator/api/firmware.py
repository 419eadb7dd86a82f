"""Kind `FirmwareImage`: one firmware file, known by its hash."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from rop_operator.api.base import Model
from rop_operator.api.rules import Relation, Transition, fixed, matching, unchangeable

ANOTHER = "make another FirmwareImage"
Text = Annotated[str, matching(r"[!-~]([ -~]{0,62}[!-~])?", "this has 1 to 64 printable ASCII characters", 64)]


class HttpSource(Model):
    """A file on a web server."""

    url: Annotated[
        str,
        matching(r"https?://[!-~]{1,1000}", "url begins with http:// or https:// and has no blanks", 1024),
    ]
    """Where it is fetched from, once. No redirect is followed, no address of this machine dialled."""


class UploadSource(Model):
    """A file that a person brings with `ropctl firmware upload`."""


class ImageSource(Model):
    """Where the file comes from: exactly one member."""

    http: HttpSource | None = None
    """A web server."""
    upload: UploadSource | None = None
    """A person, with `ropctl firmware upload FILE`."""
    relations: ClassVar[tuple[Relation, ...]] = (
        Relation(
            cel="has(self.http) != has(self.upload)",
            message="source has exactly one of http and upload",
            check=lambda m: (m.http is None) != (m.upload is None),
        ),
    )


class FirmwareImageSpec(Model):
    """A firmware file. Nothing of it can be changed: another file is another FirmwareImage."""

    transitions: ClassVar[tuple[Transition, ...]] = (
        unchangeable("sha256", ANOTHER),
        unchangeable("version", ANOTHER),
        unchangeable("source", ANOTHER),
        fixed("models", ANOTHER),
    )

    sha256: Annotated[str, matching(r"[0-9a-f]{64}", "sha256 is 64 lower-case hexadecimal digits", 64)]
    """Hash of the file; a file with another one is never installed. Immutable."""
    version: Text
    """The firmware text that a camera tells once it runs this image, exactly. Immutable."""
    models: Annotated[
        list[Text], Field(min_length=1, max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Models, as cameras tell them, that it is made for. Others are refused. Immutable."""
    source: ImageSource
    """Where the file comes from. Immutable."""
