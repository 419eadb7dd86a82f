"""What `-f` names: files, directories, standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rop_operator.documents import Fleet, RawDocument, load, parse_all
from rop_operator.errors import DocumentError, DocumentsRefused

SUFFIXES = (".yaml", ".yml", ".json")


def read_sources(names: Sequence[str]) -> list[RawDocument]:
    """The documents of every file; directories give their *.yaml, *.yml and *.json, below them too.

    DocumentsRefused with the errors of all files.
    """
    documents: list[RawDocument] = []
    errors: list[DocumentError] = []
    for name in names:
        try:
            documents += _read(name)
        except DocumentsRefused as refused:
            errors += refused.errors
    if errors:
        raise DocumentsRefused(errors)
    return documents


def read_fleet(names: Sequence[str], namespace: str) -> Fleet:
    """The accepted documents of every file; `namespace` is for those that name none. DocumentsRefused."""
    return parse_all(read_sources(names), namespace)


def _read(name: str) -> list[RawDocument]:
    if name == "-":
        return load(_text(sys.stdin.buffer.read(), "standard input"), "standard input")
    path = Path(name)
    if not path.is_dir():
        return _read_file(path)
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file() and not _hidden(p, path))
    if not files:
        raise DocumentsRefused([DocumentError(name, "", "", f"no {', '.join(SUFFIXES)} file in this directory")])
    documents: list[RawDocument] = []
    errors: list[DocumentError] = []
    for file in files:
        try:
            documents += _read_file(file)
        except DocumentsRefused as refused:
            errors += refused.errors
    if errors:
        raise DocumentsRefused(errors)
    return documents


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def _read_file(path: Path) -> list[RawDocument]:
    try:
        data = path.read_bytes()
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
        raise DocumentsRefused([DocumentError(str(path), "", "", rule)]) from None
    return load(_text(data, str(path)), str(path))


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        rule = f"not UTF-8 text (byte {error.start})"
        raise DocumentsRefused([DocumentError(source, "", "", rule, "save it as UTF-8")]) from None
