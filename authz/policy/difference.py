"""What differs between two policy versions: files, rules, and data by JSON pointer (RFC 6901).

In: the files of two bundles. Out: Difference, a unified diff, or a summary of bounded size for the manifest.
Called when a version is published and by `aegis policy diff`. Rules are compared as OPA parses them, so
comments and layout are no change of a rule.
"""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson
from msgspec import Struct

from authz.policy.manifest import Changes
from authz.policy.opa_tool import OpaTool

DATA: Final = "/data.json"
MADE_HERE: Final = ("/.manifest", "/.signatures.json")
MOST_SUMMARY: Final = 20  # of each sort
MOST_WHERE: Final = 160  # characters
MOST_VALUE: Final = 120

Files = dict[str, bytes]
_PARSE: Final = "{name: module | some name, text in input; module := rego.parse_module(name, text)}"


class Change(Struct, frozen=True, omit_defaults=True):
    """`old` and `new`: values of data as JSON, cut where they are long."""

    what: Literal["added", "removed", "changed"]
    where: str
    old: str = ""
    new: str = ""


class Difference(Struct, frozen=True):
    """Each sorted by `where`: a file's path, `data.package.rule`, or a pointer into `data`."""

    files: tuple[Change, ...]
    rules: tuple[Change, ...]
    data: tuple[Change, ...]

    def sha256(self) -> str:
        """Of its compact JSON with sorted members, lowercase hex."""
        return hashlib.sha256(
            orjson.dumps(msgspec.to_builtins(self), option=orjson.OPT_SORT_KEYS)
        ).hexdigest()

    def summary(self) -> Changes:
        """At most `MOST_SUMMARY` lines of each sort, and the hash of all of it."""
        sorts = (self.files, self.rules, self.data)
        files, rules, data = (tuple(_line(each) for each in sort[:MOST_SUMMARY]) for sort in sorts)
        left_out = sum(max(0, len(sort) - MOST_SUMMARY) for sort in sorts)
        return Changes(files, rules, data, left_out, self.sha256())


def compare(before: Files, after: Files, tool: OpaTool) -> Difference:
    """Of two bundles' files by their paths. Raises PolicyRejected for Rego that OPA does not parse."""
    old, new = _content(before), _content(after)
    modules = [{path: text for path, text in each.items() if path.endswith(".rego")} for each in (old, new)]
    changed = {path for path in modules[0].keys() | modules[1].keys() if old.get(path) != new.get(path)}
    rules = [_rules({path: each[path] for path in changed & each.keys()}, tool) for each in modules]
    files = [{path: text for path, text in each.items() if path != DATA} for each in (old, new)]
    return Difference(
        tuple(_changes(*files)),
        tuple(_changes(*rules)),
        tuple(sorted(_data("", _tree(old), _tree(new)), key=lambda change: change.where)),
    )


def unified(before: Files, after: Files) -> Iterator[str]:
    """The lines of a unified diff, data as indented JSON."""
    old, new = _content(before), _content(after)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        one, two = (_text(path, each.get(path)) for each in (old, new))
        names = (f"a{path}" if path in old else "/dev/null", f"b{path}" if path in new else "/dev/null")
        yield from difflib.unified_diff(one, two, names[0], names[1], lineterm="")


def _content(files: Files) -> Files:
    return {path: data for path, data in files.items() if path not in MADE_HERE}


def _text(path: str, data: bytes | None) -> list[str]:
    if data is None:
        return []
    if path == DATA:
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
        return orjson.dumps(orjson.loads(data), option=options).decode().splitlines()
    if path.endswith(".rego"):
        return data.decode().splitlines()
    return [f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"]


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for where in sorted(old.keys() | new.keys()):
        if where not in old:
            yield Change("added", where)
        elif where not in new:
            yield Change("removed", where)
        elif old[where] != new[where]:
            yield Change("changed", where)


def _rules(modules: Files, tool: OpaTool) -> dict[str, list[Any]]:
    """Every rule's definitions, by its name with the package's; files are in the order of their paths."""
    if not modules:
        return {}
    given = orjson.dumps({path: text.decode() for path, text in modules.items()}, option=orjson.OPT_SORT_KEYS)
    with tempfile.TemporaryDirectory(prefix="aegis-diff-") as name:
        (Path(name) / "input.json").write_bytes(given)
        answer = tool.json(["eval", "--strict-builtin-errors", "-i", "input.json", _PARSE], Path(name))
    parsed = answer["result"][0]["expressions"][0]["value"]
    found: dict[str, list[Any]] = {}
    for path in sorted(parsed):
        package = ".".join(str(term["value"]) for term in parsed[path]["package"]["path"])
        for rule in parsed[path].get("rules", []):
            found.setdefault(f"{package}.{_rule_name(rule)}", []).append(rule)
    return found


def _rule_name(rule: Any) -> str:
    """Of `a.b[x]` the part that does not vary, `a.b`."""
    terms: list[str] = []
    for position, term in enumerate(rule["head"].get("ref", [])):
        if position and term["type"] != "string":
            break
        terms.append(str(term["value"]))
    return ".".join(terms) or str(rule["head"].get("name", "?"))


def _tree(files: Files) -> Any:
    return orjson.loads(files.get(DATA, b"{}"))


def _data(where: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            below = f"{where}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in old:
                yield Change("added", below, new=_value(new[name]))
            elif name not in new:
                yield Change("removed", below, old=_value(old[name]))
            else:
                yield from _data(below, old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, pair in enumerate(zip(old, new, strict=True)):
            yield from _data(f"{where}/{position}", *pair)
    elif type(old) is not type(new) or old != new:
        yield Change("changed", where, _value(old), _value(new))


def _value(value: Any) -> str:
    return _cut(orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode(), MOST_VALUE)


def _line(change: Change) -> str:
    return f"{change.what} {_cut(change.where, MOST_WHERE)}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
