"""Where policy takes a whole package, or an object made of rules, as a value: all rules in it are evaluated.

In: the Rego of a bundle. Out: for rules, the paths below `data` that they take as a whole. Called by
`analysis.py`. Of `x := data.lib` and `not x.holds` opa deps names what `holds` reads alone. But OPA makes all
of `data.lib` for `x`, and another rule of it may fail by an error, which denies: if what that rule reads was
left out, it is undefined instead, and the answer another one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from authz.policy.manifest import Path as Fact
from authz.policy.opa_tool import OpaTool

_PARSE: Final = "[rego.parse_module(name, text) | some name, text in input]"
_Pattern = tuple[str | None, ...]  # None: any name


def taken(modules: Mapping[str, str], opa: OpaTool) -> list[tuple[Fact, Fact]]:
    """Each a rule and what it takes as a whole, both as paths below `data`, up to the first unknown name."""
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        (Path(name) / "modules.json").write_bytes(orjson.dumps(dict(modules)))
        found = opa.json(["eval", "-f", "json", "-i", "modules.json", _PARSE], Path(name))
    trees: list[dict[str, Any]] = found["result"][0]["expressions"][0]["value"]
    rules = [path for tree in trees for path, _ in _rules(tree)]
    pairs = {
        (_known(owner), _known(pattern))
        for tree in trees
        for owner, rule in _rules(tree)
        for pattern in _values(rule, _Names(tree))
        if any(_above(pattern, path) for path in rules)
    }
    return sorted(pairs)


class _Names:
    """What names of one module stand for, below `data`."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._package = _package(tree)
        self._imports: dict[str, _Pattern] = {}
        for each in tree.get("imports") or ():
            head, *rest = (part["value"] for part in each["path"]["value"])
            self._imports[each.get("alias") or [head, *rest][-1]] = tuple(rest) if head == "data" else (None,)

    def path(self, name: str) -> _Pattern:
        return () if name == "data" else self._imports.get(name, (*self._package, name))


def _package(tree: dict[str, Any]) -> Fact:
    return tuple(part["value"] for part in tree["package"]["path"][1:])


def _rules(tree: dict[str, Any]) -> Iterator[tuple[_Pattern, dict[str, Any]]]:
    """With the path of each; an `else` belongs to the rule before it."""
    for rule in tree.get("rules") or ():
        head, *rest = rule["head"]["ref"]
        yield (*_package(tree), head["value"], *map(_name, rest)), rule


def _name(term: dict[str, Any]) -> str | None:
    return term["value"] if term["type"] == "string" else None


def _values(node: Any, names: _Names) -> Iterator[_Pattern]:
    """The paths of all refs and names in a tree; what a local name gives is hardly ever that of a rule."""
    if isinstance(node, list):
        for item in node:
            yield from _values(item, names)
    elif isinstance(node, dict):
        kind, value = node.get("type"), node.get("value")
        if kind == "var" and isinstance(value, str):
            yield names.path(value)
        elif kind == "ref" and isinstance(value, list) and value[0]["type"] == "var":
            yield (*names.path(value[0]["value"]), *map(_name, value[1:]))
            yield from _values(value[1:], names)
        else:
            for item in node.values():
                yield from _values(item, names)


def _above(pattern: _Pattern, rule: _Pattern) -> bool:
    """Whether `pattern` may be something that `rule` is only a part of."""
    return len(pattern) < len(rule) and all(
        one is None or other is None or one == other for one, other in zip(pattern, rule, strict=False)
    )


def _known(pattern: _Pattern) -> Fact:
    names: list[str] = []
    for name in pattern:
        if name is None:
            break
        names.append(name)
    return tuple(names)
