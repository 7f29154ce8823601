"""Puts members into YAML files that people write: everything else stays as it is, comments too.

In: the text of a file of the library's data, where, what. Out: the text with it. Called by `proposal.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node

from authz.errors import PolicyRejected


def put(text: str, path: Sequence[str], name: str, value: Any) -> str:
    """`text` with `name: value` as the last member of the mapping at `path`. Raises PolicyRejected where
    there is no mapping, or where it has that name.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PolicyRejected(f"not YAML: {error}") from None
    node = _at(root, path)
    if any(key.value == name for key, _ in node.value):
        raise PolicyRejected(f"{'/'.join((*path, name))}: already there")
    if node.flow_style:
        if not path and not node.value:  # an empty file of data
            return (
                text[: node.start_mark.index]
                + _block(name, value, 0)
                + text[node.end_mark.index :].lstrip("\n")
            )
        at = node.end_mark.index - 1
        return text[:at] + (", " if node.value else "") + _flow(name, value) + text[at:]
    column = node.value[0][0].start_mark.column
    lines = text.splitlines(keepends=True)
    row = _last_row(node) + 1
    if not lines[row - 1].endswith("\n"):
        lines[row - 1] += "\n"
    gap = "\n" if not path else ""  # between members of the whole file
    return "".join(lines[:row]) + gap + _block(name, value, column) + "".join(lines[row:])


def _at(root: Node | None, path: Sequence[str]) -> MappingNode:
    node: Node | None = root
    for step in path:
        members = node.value if isinstance(node, MappingNode) else []
        node = next((value for key, value in members if key.value == step), None)
    if not isinstance(node, MappingNode):
        raise PolicyRejected(f"{'/'.join(path) or 'the file'}: no mapping")
    return node


def _last_row(node: Node) -> int:
    """The row, from 0, on which the last of what is in `node` ends."""
    if isinstance(node, MappingNode) and not node.flow_style:
        return max(_last_row(value) for _, value in node.value)
    mark = node.end_mark
    return int(mark.line if mark.column else mark.line - 1)


def _block(name: str, value: Any, column: int) -> str:
    text: str = yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=False, width=100)
    return "".join(" " * column + line for line in text.splitlines(keepends=True))


def _flow(name: str, value: Any) -> str:
    text: str = yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=True, width=1 << 20)
    return text.strip()[1:-1]
