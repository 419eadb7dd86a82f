"""YAML files as the Kubernetes tools read them, and documents of group rop.dev out of them.

Scalars resolve as in sigs.k8s.io/yaml (go-yaml v2, YAML 1.1 with Go's number syntax): `NO` is false, `0123` is 83,
`1E5` is 100000, an all-digit UID is a number. Stricter than it: duplicate keys, foreign tags, deep nesting and
aliases that blow up are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from rop_operator.api.facts import Ref
from rop_operator.api.parse import json_type, problems_of
from rop_operator.api.registry import API_VERSION, GROUP, KINDS, Kind, kind_of
from rop_operator.errors import DocumentError, DocumentsRefused, Problem

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 400_000
MAX_DOCUMENTS = 20_000
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NOT_FINITE = frozenset(sign + dot for sign in ("", "+", "-") for dot in (".inf", ".Inf", ".INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT = re.compile(r"\.[0-9](_?[0-9])*([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}")
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PLAIN = "plain"
_TAGS = {_PLAIN, *(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))}


class YamlError(Exception):
    """The text is no YAML that is accepted. `line` counts from 1."""

    def __init__(self, line: int, rule: str, remedy: str = "") -> None:
        super().__init__(rule)
        self.line = line
        self.rule = rule
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One object of a file. `number` counts the file's YAML documents from 1, `line` is where it begins."""

    source: str
    number: int
    line: int
    value: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """Its kind, empty when it has none."""
        return str(self.value.get("kind") or "")

    @property
    def label(self) -> str:
        """`document 2 (Camera/video/front-door)`, with what is known of it."""
        metadata = self.value.get("metadata")
        names = metadata if isinstance(metadata, Mapping) else {}
        parts = [self.kind, names.get("namespace"), names.get("name")]
        known = "/".join(str(part) for part in parts if isinstance(part, str) and part)
        return f"document {self.number} ({known})" if known else f"document {self.number}"

    def error(self, problem: Problem) -> DocumentError:
        """The problem with this document's place."""
        return DocumentError(self.source, self.label, problem.field, problem.rule, problem.remedy)


@dataclass(frozen=True, slots=True)
class Parsed:
    """An accepted document. `spec`, `labels` and `annotations` are as written (JSON values)."""

    ref: Ref
    kind: Kind
    spec: Mapping[str, Any] = field(repr=False)
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    raw: RawDocument = field(repr=False)

    def as_object(self) -> dict[str, Any]:
        """The Kubernetes-shaped object, without status."""
        metadata: dict[str, Any] = {"name": self.ref.name, "namespace": self.ref.namespace}
        if self.labels:
            metadata["labels"] = dict(self.labels)
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        return {"apiVersion": API_VERSION, "kind": self.ref.kind, "metadata": metadata, "spec": dict(self.spec)}


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a set of files holds: accepted documents, and objects of other groups that are left alone."""

    documents: tuple[Parsed, ...]
    foreign: tuple[RawDocument, ...]


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar. ValueError for one that JSON cannot say (`.inf`, `.nan`)."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _NOT_FINITE:
        raise ValueError("infinite and not-a-number values do not exist in JSON")
    if text[0] == "." and _POINT.fullmatch(text):
        return _number(text.replace("_", ""))
    if text[0] not in "+-0123456789" or _DATE.match(text):
        return text
    plain = text.replace("_", "")
    found = _INTEGER.fullmatch(plain)
    if found:
        value = _integer(found[2]) * (-1 if found[1] == "-" else 1)
        if -(2**63) <= value < 2**64:
            return value
    return _number(plain, text) if _FLOAT.fullmatch(plain) else text


def _integer(digits: str) -> int:
    """Go's base prefixes: a leading 0 alone means octal."""
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return int(digits, 8)
    return int(digits, 0)


def _number(digits: str, text: str = "") -> int | float | str:
    """As it comes out of JSON: a float without a fraction below 1e21 is written, and read, as a whole number. One
    that no float can hold stays text.
    """
    value = float(digits)
    if math.isinf(value):
        return text or digits
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


class _Builder:
    """Builds JSON values from a node graph within a budget shared by the whole file."""

    def __init__(self) -> None:
        self.nodes = 0

    def build(self, node: yaml.Node, depth: int, open_: frozenset[int] = frozenset()) -> Any:
        line = node.start_mark.line + 1
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise YamlError(line, "too many values, counted with every use of an alias", "split the file")
        if depth > MAX_DEPTH:
            raise YamlError(line, f"nested deeper than {MAX_DEPTH} levels")
        if id(node) in open_:
            raise YamlError(line, "an alias that contains itself")
        if node.tag not in _TAGS:
            shown = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise YamlError(line, f"tag {shown[:60]} is not accepted", "write the plain value")
        inner = open_ | {id(node)}
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, depth + 1, inner) for item in node.value]
        return self._mapping(node, depth, inner)

    @staticmethod
    def _scalar(node: yaml.ScalarNode, line: int) -> Any:
        text = str(node.value)
        if node.tag != _PLAIN:
            return text
        try:
            return scalar(text)
        except ValueError as failure:
            raise YamlError(line, str(failure)) from None

    def _mapping(self, node: yaml.Node, depth: int, inner: frozenset[int]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if _is_merge(key_node):
                value = self.build(value_node, depth + 1, inner)
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise YamlError(line, "<< merges mappings only")
                    merged = {**source, **merged}
                continue
            key = _key(self.build(key_node, depth + 1, inner), line)
            if key in own:
                raise YamlError(line, f"key {key[:60]!r} is there twice", "remove one of them")
            own[key] = self.build(value_node, depth + 1, inner)
        return {**merged, **own}


def _is_merge(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "<<" and node.tag == _PLAIN


def _key(value: Any, line: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise YamlError(line, "a key is text", "quote it")


class _Loader(yaml.SafeLoader):
    """Marks plain scalars; `_Builder` resolves them by the rules above."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that names none."""
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(
            super().resolve(  # type: ignore[no-untyped-call]
                kind, value, (False, True) if kind is yaml.ScalarNode else implicit
            )
        )


def _compose(text: str) -> Iterator[yaml.Node]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield node
    finally:
        loader.dispose()


def read_yaml(text: str) -> list[tuple[int, Any]]:
    """Every YAML document with its first line. YamlError when the text is refused."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlError(1, f"larger than {MAX_BYTES} bytes", "split the file")
    builder = _Builder()
    found: list[tuple[int, Any]] = []
    try:
        for node in _compose(text):
            found.append((node.start_mark.line + 1, builder.build(node, 0)))
            if len(found) > MAX_DOCUMENTS:
                raise YamlError(node.start_mark.line + 1, f"more than {MAX_DOCUMENTS} documents", "split the file")
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        said = " ".join(part for part in (failure.context, failure.problem) if part)
        raise YamlError(mark.line + 1 if mark else 1, f"not YAML: {said}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as failure:
        raise YamlError(1, f"not YAML: {str(failure)[:200] or 'nested too deeply'}") from None
    return found


def load(text: str, source: str) -> list[RawDocument]:
    """The objects of a text, Lists expanded, empty documents left out. DocumentsRefused when it cannot be read."""
    try:
        values = read_yaml(text)
    except YamlError as failure:
        error = DocumentError(source, f"line {failure.line}", "", failure.rule, failure.remedy)
        raise DocumentsRefused([error]) from None
    found: list[RawDocument] = []
    for number, (line, value) in enumerate(values, 1):
        if value is None:
            continue
        if not isinstance(value, dict):
            rule = f"a document is an object, not {json_type(value)}"
            raise DocumentsRefused([DocumentError(source, f"document {number}", "", rule)])
        found += _expanded(RawDocument(source, number, line, value))
    return found


def _expanded(raw: RawDocument) -> list[RawDocument]:
    items = raw.value.get("items")
    if raw.kind != "List" and not (raw.kind.endswith("List") and raw.value.get("apiVersion") == API_VERSION):
        return [raw]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DocumentsRefused([raw.error(Problem("items", "a List has items, each an object"))])
    return [RawDocument(raw.source, raw.number, raw.line, item) for item in items]


def is_ours(raw: RawDocument) -> bool:
    """Whether the object is of group rop.dev, in whatever version."""
    return str(raw.value.get("apiVersion") or "").split("/", maxsplit=1)[0] == GROUP


def _head_problems(raw: RawDocument, kind: Kind | None) -> Iterator[Problem]:
    if raw.value.get("apiVersion") != API_VERSION:
        yield Problem("apiVersion", f"this program knows {API_VERSION}", f"write {API_VERSION}")
    if kind is None:
        known = ", ".join(row.kind for row in KINDS)
        yield Problem("kind", f"no kind {raw.kind[:60]!r} in {API_VERSION}", f"known kinds: {known}")
    for member in raw.value:
        if member not in ("apiVersion", "kind", "metadata", "spec", "status"):
            yield Problem(member, f'unknown field "{member[:60]}"', "documents have metadata and spec")
    metadata = raw.value.get("metadata")
    if not isinstance(metadata, Mapping):
        yield Problem("metadata.name", "Required value", "write metadata: {name: ...}")
        return
    yield from _metadata_problems(metadata)


def _metadata_problems(metadata: Mapping[str, Any]) -> Iterator[Problem]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if name is None:
        yield Problem("metadata.name", "Required value", "write metadata: {name: ...}")
    elif not isinstance(name, str):
        yield Problem("metadata.name", f'must be of type string: "{json_type(name)}"', "quote it")
    elif not _NAME.fullmatch(name) or len(name) > 253:
        rule = "a name is made of lower-case letters, digits, - and . and begins and ends with a letter or digit"
        yield Problem("metadata.name", rule)
    if namespace is not None and not (isinstance(namespace, str) and _LABEL.fullmatch(namespace)):
        yield Problem("metadata.namespace", "a namespace has 1 to 63 lower-case letters, digits and -")
    for member in ("labels", "annotations"):
        given = metadata.get(member)
        if given is None:
            continue
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
            yield Problem(f"metadata.{member}", "keys and values are text", "quote values such as true and 1")


def _parse_one(raw: RawDocument, namespace: str) -> tuple[Parsed | None, list[DocumentError]]:
    kind = kind_of(raw.kind)
    problems = list(_head_problems(raw, kind))
    if kind is not None:
        problems += problems_of(kind, raw.value.get("spec"))
    if problems or kind is None:
        return None, [raw.error(problem) for problem in problems]
    metadata = raw.value["metadata"]
    ref = Ref(kind.kind, metadata.get("namespace") or namespace, metadata["name"])
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return Parsed(ref, kind, raw.value["spec"], dict(labels), dict(annotations), raw), []


def parse_all(raws: Sequence[RawDocument], namespace: str = "default") -> Fleet:
    """Every document of group rop.dev as accepted. DocumentsRefused with all errors when one of them is bad: then
    nothing of them may be applied. `namespace` is for documents that name none.
    """
    documents: list[Parsed] = []
    foreign: list[RawDocument] = []
    errors: list[DocumentError] = []
    seen: dict[Ref, RawDocument] = {}
    for raw in raws:
        if raw.kind == "Secret":
            rule = "secrets do not lie among documents"
            errors.append(raw.error(Problem("kind", rule, "use ropctl secret set, or a Secret on the cluster")))
        elif not is_ours(raw):
            foreign.append(raw)
        else:
            parsed, found = _parse_one(raw, namespace)
            errors += found
            if parsed is not None and parsed.ref in seen:
                first = seen[parsed.ref]
                rule = f"{parsed.ref} is there twice, first in {first.source} document {first.number}"
                errors.append(raw.error(Problem("metadata.name", rule, "remove one of them")))
            elif parsed is not None:
                seen[parsed.ref] = raw
                documents.append(parsed)
    if errors:
        raise DocumentsRefused(errors)
    return Fleet(tuple(documents), tuple(foreign))
