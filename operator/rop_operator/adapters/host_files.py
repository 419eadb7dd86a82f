"""Documents in a directory of YAML files: reading all of them, writing one."""

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rop_operator.api.facts import Ref
from rop_operator.documents import MAX_BYTES, Parsed, load, parse_all, scalar
from rop_operator.errors import DocumentError, DocumentsRefused, Problem

SUFFIXES = (".yaml", ".yml", ".json")
FRESH_NANOSECONDS = 100_000_000
Signature = tuple[int, int, int, int]
Content = tuple[tuple[Parsed, ...], int]


@dataclass
class Scan:
    """What a directory holds. `documents`: accepted ones with their file. `twice`: refused because two files have
    them. `broken`: files of which nothing is applied. `objects`: objects per file, foreign ones included.
    """

    documents: dict[Ref, tuple[Parsed, str]] = field(default_factory=dict)
    twice: dict[Ref, tuple[str, ...]] = field(default_factory=dict)
    broken: dict[str, tuple[DocumentError, ...]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    missing: bool = False

    def errors(self) -> list[DocumentError]:
        """Every error found, in order of files."""
        found = [error for name in sorted(self.broken) for error in self.broken[name]]
        for ref, files in sorted(self.twice.items()):
            rule = f"{ref} is in {len(files)} files: {', '.join(files)}"
            found += [DocumentError(name, f"({ref})", "", rule, "remove all but one") for name in files]
        return found

    def break_file(self, name: str, errors: tuple[DocumentError, ...]) -> None:
        """Take everything of a file back out."""
        self.broken[name] = (*self.broken.get(name, ()), *errors)
        self.documents = {ref: entry for ref, entry in self.documents.items() if entry[1] != name}


class Directory:
    """Reads every YAML file below a directory; hidden ones are left out. Files that did not change are not read
    again.
    """

    def __init__(self, folder: Path, namespace: str = "default") -> None:
        self._folder = folder
        self._namespace = namespace
        self._read: dict[str, tuple[Signature, Content]] = {}

    def scan(self) -> Scan:
        """What is there now."""
        scan = Scan()
        try:
            names = _names(self._folder)
        except OSError:
            scan.missing = True
            return scan
        self._read = {name: known for name, known in self._read.items() if name in names}
        held: dict[Ref, list[str]] = {}
        for name in names:
            try:
                documents, objects = self._content(name)
            except DocumentsRefused as refused:
                scan.broken[name] = refused.errors
                continue
            except FileNotFoundError:
                continue
            scan.objects[name] = objects
            for parsed in documents:
                held.setdefault(parsed.ref, []).append(name)
                scan.documents[parsed.ref] = (parsed, name)
        for ref, files in held.items():
            if len(files) > 1:
                scan.twice[ref] = tuple(files)
                del scan.documents[ref]
        return scan

    def _content(self, name: str) -> Content:
        path = self._folder / name
        now = path.stat()
        signature = (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino)
        known = self._read.get(name)
        if known is not None and known[0] == signature:
            return known[1]
        content = _read(path, name, self._namespace)
        # Time stamps are coarse: a file written just now may change again without a new one.
        if time.time_ns() - now.st_mtime_ns > FRESH_NANOSECONDS:
            self._read[name] = (signature, content)
        return content


def _names(folder: Path) -> list[str]:
    found: list[str] = []
    if not folder.is_dir():
        raise NotADirectoryError(folder)

    def failed(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        relative = Path(parent).relative_to(folder)
        found += [str(relative / f) for f in files if f.endswith(SUFFIXES) and not f.startswith(".")]
    return sorted(found)


def _read(path: Path, name: str, namespace: str) -> Content:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DocumentsRefused([DocumentError(name, "", "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise DocumentsRefused([DocumentError(name, "", "", "is not UTF-8")]) from None
    raws = load(text, name)
    return parse_all(raws, namespace).documents, len(raws)


def transition_errors(name: str, parsed: Parsed, problems: list[Problem]) -> tuple[DocumentError, ...]:
    """Broken rules over two versions, with their place."""
    return tuple(DocumentError(name, parsed.raw.label, p.field, p.rule, p.remedy) for p in problems)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some YAML reader would take for something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    try:
        plain = isinstance(scalar(value), str)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if plain else '"')


_Dumper.add_representer(str, _text)


def document_text(document: Mapping[str, Any]) -> str:
    """A document as YAML."""
    return str(yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def write_file(path: Path, text: str) -> None:
    """Replace a file at once and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o644
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode & 0o777
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file durably."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
