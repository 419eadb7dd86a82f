"""Errors of documents: every one names file, document, field, rule and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken rule inside a document. `field` is dotted (`spec.acknowledge[0].edge`), empty for the whole."""

    field: str
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        """`field: rule; remedy`."""
        said = f"{self.field}: {self.rule}" if self.field else self.rule
        return f"{said}; {self.remedy}" if self.remedy else said


@dataclass(frozen=True, slots=True)
class DocumentError:
    """One broken rule of one document. `document` is its number with its identity, such as
    `document 2 (Camera/video/front-door)`; empty when the file as a whole cannot be read.
    """

    file: str
    document: str
    field: str
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        """`FILE: document N (Camera/ns/name): spec.uid: rule; remedy`."""
        parts = [part for part in (self.file, self.document, self.field) if part]
        said = ": ".join([*parts, self.rule])
        return f"{said}; {self.remedy}" if self.remedy else said

    def as_json(self) -> dict[str, str]:
        """The members above and `text`, the line a person reads."""
        return {
            "file": self.file,
            "document": self.document,
            "field": self.field,
            "rule": self.rule,
            "remedy": self.remedy,
            "text": str(self),
        }


class DocumentsRefused(Exception):
    """Nothing of these documents is applied: `errors` lists every broken rule, in order of appearance."""

    def __init__(self, errors: Sequence[DocumentError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)
