"""XML documents: a writer that reproduces the vendor's layout, a tolerant and bounded reader.

A document is a tree of dicts: element name -> text (empty for an empty element), subtree, or list of those for a
repeated element. The writer also takes numbers, booleans and None.
Source: ROP v1.0 wire specification, device-protocol 4; attributes are dropped (discrepancies C3.11).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.parsers import expat

from rop_wire.errors import EncodeError, ProtocolError

Node = dict[str, Any]
Tree = Mapping[str, Any]

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
MAX_BYTES = 65535
MAX_DEPTH = 16
MAX_NODES = 20_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Characters that no XML document can carry.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"\s*-?[0-9]{1,18}\s*", re.ASCII)


def build(tree: Tree, root: str = "body") -> bytes:
    """The document `<root>` with the tree inside, byte for byte as the vendor writes it.

    Raises EncodeError for a name or a character that XML cannot carry, or a tree deeper than 16.
    """
    lines = [DECLARATION]
    _write(lines, root, tree, 0)
    return "\n".join(lines).encode()


def _write(lines: list[str], name: str, value: Any, depth: int) -> None:
    if depth >= MAX_DEPTH or not _NAME.fullmatch(name):
        raise EncodeError("XML tree too deep, or a name that XML cannot carry")
    pad = "  " * depth
    if isinstance(value, Mapping):
        if not value:
            lines.append(f"{pad}<{name}/>")
            return
        lines.append(f"{pad}<{name}>")
        for child, content in value.items():
            _write(lines, child, content, depth + 1)
        lines.append(f"{pad}</{name}>")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            _write(lines, name, each, depth)
    else:
        content = _escape(value)
        lines.append(f"{pad}<{name}>{content}</{name}>" if content else f"{pad}<{name}/>")


def _escape(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = str(value)
    if _ILLEGAL.search(plain):
        raise EncodeError("a character that XML cannot carry")
    if any(mark in plain for mark in "&<>"):
        # Every end mark is split, not only the first: the text must not be able to leave its element. A carriage
        # return leaves the section for a reference, which would be literal inside.
        inside = plain.replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#xD;<![CDATA[")
        return f"<![CDATA[{inside}]]>"
    return plain.replace("\r", "&#xD;")


class _Reader:
    """Collects expat's events into a tree, within limits."""

    def __init__(self, max_depth: int, max_nodes: int) -> None:
        self.root: Node | None = None
        self.root_name = ""
        self._stack: list[tuple[str, Node, list[str]]] = []
        self._max_depth = max_depth
        self._left = max_nodes

    def start(self, name: str, _attributes: list[str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._stack) >= self._max_depth:
            raise ProtocolError("XML document too deep or too large")
        self._stack.append((name, {}, []))

    def text(self, data: str) -> None:
        if self._stack:
            self._stack[-1][2].append(data)

    def end(self, _name: str) -> None:
        name, children, pieces = self._stack.pop()
        value: Any = children or "".join(pieces)
        if not self._stack:
            self.root_name = name
            self.root = children
            return
        parent = self._stack[-1][1]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]


def _refuse(*_: Any) -> None:
    raise ProtocolError("XML document with a DTD or an entity")


def parse(data: bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES) -> Node:
    """The tree below the root element. ProtocolError when empty, malformed, with a DTD or too big."""
    return parse_document(data, max_bytes, max_depth, max_nodes)[1]


def parse_document(
    data: bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES
) -> tuple[str, Node]:
    """Name of the root element and the tree below it; errors as `parse`."""
    if len(data) > max_bytes:
        raise ProtocolError(f"XML document of {len(data)} bytes")
    reader = _Reader(max_depth, max_nodes)
    parser = expat.ParserCreate("UTF-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as failure:
        raise ProtocolError(f"malformed XML: {failure}") from None
    if reader.root is None:
        raise ProtocolError("empty XML document")
    return reader.root_name, reader.root


def text(node: Any, *path: str) -> str | None:
    """The text at a path, None when it is absent or a container. A repeated element gives its first."""
    found = _walk(node, path)
    return found if isinstance(found, str) else None


def child(node: Any, *path: str) -> Node:
    """The container at a path, empty when it is absent or plain text."""
    found = _walk(node, path)
    return found if isinstance(found, dict) else {}


def present(node: Any, *path: str) -> bool:
    """Whether the element is there at all, even empty."""
    parent = _walk(node, path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def items(node: Any, *path: str) -> list[Node]:
    """Every container at a path: an element that occurs once, several times or not at all."""
    if not path:
        return []
    parent = _walk(node, path[:-1])
    found = parent.get(path[-1]) if isinstance(parent, dict) else None
    every = found if isinstance(found, list) else [found]
    return [each for each in every if isinstance(each, dict)]


def _walk(node: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(node, dict):
            return None
        node = node.get(name)
        if isinstance(node, list):
            node = node[0]
    return node


def integer(node: Any, *path: str) -> int | None:
    """A decimal integer at a path, None when it is absent or not a short decimal number."""
    found = text(node, *path)
    return int(found) if found is not None and _INTEGER.fullmatch(found) else None


def flag(node: Any, *path: str) -> bool:
    """A flag: false only if its text is exactly `0`; a missing flag counts as true (device-protocol 4.2)."""
    return text(node, *path) != "0"
