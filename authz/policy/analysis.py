"""What an entry point of a built bundle reads: `opa deps` and `opa inspect`, read with suspicion.

In: a built bundle without its tests. Out: `manifest.Analysis`. Called by `making.py`. It must never name
less than policy reads: a field left out is undefined, and a negation over it may allow. Nor may it miss a
built-in whose answer changes: its verdict would be kept.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from authz.errors import PolicyRejected
from authz.policy import packages
from authz.policy.manifest import FORMAT, Analysis, EntryPoint, entry_name
from authz.policy.manifest import Path as Fact
from authz.policy.opa_tool import OpaTool

# These compare with the current time, and opa does not call them non-deterministic.
TIME_DEPENDENT: Final = frozenset(
    f"crypto.x509.parse_and_verify_certificates{ending}" for ending in ("", "_with_options")
)


def analyse(bundle: Path, entry_points: Sequence[str], opa: OpaTool) -> Analysis:
    """`a/b` names a rule; `/a/b` may also name a part of a rule's value, a package of rules, or data, as the
    path of opa-envoy-plugin may. Raises PolicyRejected for an entry point that nothing in the bundle defines.
    """
    called = _called(bundle, opa)
    # What is printed is evaluated by an OPA that logs `info`, and may be an error there. opa deps skips it.
    prints = "print" in called
    names = {entry_name(name): name for name in entry_points}
    reader = _Reader(bundle, opa)
    return Analysis(
        format=FORMAT,
        entry_points={name: _entry_point(reader, names[name], prints) for name in sorted(names)},
        nondeterministic=tuple(sorted(_nondeterministic(bundle, called, opa))),
    )


def _called(bundle: Path, opa: OpaTool) -> set[str]:
    """The built-ins that are called anywhere in the bundle."""
    inspected = opa.json(["inspect", "-f", "json", bundle.name], bundle.parent)
    return {item["name"] for item in inspected.get("capabilities", {}).get("builtins", [])}


def _nondeterministic(bundle: Path, called: set[str], opa: OpaTool) -> set[str]:
    """Built-ins that may answer differently to the same input, called or named anywhere in the bundle.

    What replaces a function (`f(1) with f as rand.intn`) is called, too, and `opa inspect` does not name it;
    so are looked for in the text, where a comment may name one for nothing. `opa build` has formatted it:
    no escape and no line break hides a name.
    """
    known = opa.json(["capabilities", "--current"], bundle.parent)["builtins"]
    names = {item["name"] for item in known if item.get("nondeterministic")} | TIME_DEPENDENT
    text = "\n".join(_modules(bundle).values())
    found = {name for name in names if _mention(name).search(text)}
    return found | (names & called)


def _modules(bundle: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    with tarfile.open(bundle, "r:gz") as tar:
        for member in tar:
            module = tar.extractfile(member) if member.name.endswith(".rego") else None
            if module is not None:
                found[member.name] = module.read().decode()
    return found


def _mention(name: str) -> re.Pattern[str]:
    """`a.b` and `a["b"]`."""
    return re.compile(r"\b" + r"\s*(?:\.|\[\s*[\"`])\s*".join(map(re.escape, name.split("."))) + r"\b")


def reached(bundle: Path, name: str, opa: OpaTool) -> frozenset[Fact]:
    """The rules that entry point `name` may come to, by their paths below `data`."""
    rules, _ = _Reader(bundle, opa).read(_named(name)[0])
    return frozenset(path[1:] for path in rules)


class _Reader:
    """`opa deps` of one bundle, and of each package that is taken as a whole on the way (`packages.py`)."""

    def __init__(self, bundle: Path, opa: OpaTool) -> None:
        self.bundle, self.opa = bundle, opa
        self._taken = packages.taken(_modules(bundle), opa)

    def read(self, terms: Fact) -> tuple[set[Fact], list[Fact]]:
        """The rules that are reached from what `terms` name, and what they read, as paths with their root."""
        rules: set[Fact] = set()
        base: list[Fact] = []
        waiting, seen = [terms], set[Fact]()
        while waiting:
            seen.add(terms := waiting.pop())
            found = _deps(self.bundle, _reference(terms), self.opa)
            rules.update(_strings(path) for path in found.get("virtual", []))
            base += _base(found)
            whole = {("data", *what) for owner, what in self._taken if _any_related(("data", *owner), rules)}
            waiting = sorted(whole - seen)
        return rules, base


def _any_related(terms: Fact, rules: Iterable[Fact]) -> bool:
    return any(_related(terms, rule) for rule in rules)


def _entry_point(reader: _Reader, name: str, prints: bool) -> EntryPoint:
    terms, reference = _named(name)
    rules, base = reader.read(terms)
    # opa deps exits 0 on a misspelt name, calls it a base document and then names nothing.
    wide = name.startswith("/") and (
        _any_related(terms, rules) or _is_data(reference, reader.bundle, reader.opa)
    )
    if terms not in rules and not wide:
        raise PolicyRejected(f"{name}: no rule of the bundle defines this entry point")
    return EntryPoint(
        facts=minimal(path[1:] for path in base if path[0] == "input"),
        # With `data` itself read by an unknown name opa deps cannot say which rules that reaches.
        prune=("data",) not in base and not prints,
    )


def dependencies(bundle: Path, name: str, opa: OpaTool) -> tuple[Fact, ...]:
    """What an entry point that there is reads of `data`, rules apart, as paths from `data` on. Raises
    PolicyRejected for what lies below `data.system`: OPA keeps that, and no version has it.
    """
    found = minimal(path for path in _base(_deps(bundle, _named(name)[1], opa)) if path[0] == "data")
    if any(path[1:2] == ("system",) for path in found):
        raise PolicyRejected(f"{name}: reads data.system, which is no part of a version")
    return found


def _named(name: str) -> tuple[Fact, str]:
    """An entry point's terms, and how OPA is asked for it."""
    terms = ("data", *filter(None, name.split("/")))
    return terms, _reference(terms)


def _deps(bundle: Path, reference: str, opa: OpaTool) -> Any:
    return opa.json(["deps", "-f", "json", "-b", bundle.name, reference], bundle.parent)


def _base(found: Any) -> list[Fact]:
    return [_strings(path) for path in found.get("base", [])]


def _reference(terms: Fact) -> str:
    """As OPA's API reads a path: a number is an index, whatever else is in a name belongs to it."""
    inner = (f"[{term if term.isdecimal() else orjson.dumps(term).decode()}]" for term in terms[1:])
    return terms[0] + "".join(inner)


def _related(terms: Fact, rule: Fact) -> bool:
    """Whether `rule` is what `terms` name, lies in the package that they name, or holds what they name."""
    shared = min(len(terms), len(rule))
    return terms[:shared] == rule[:shared]


def _is_data(reference: str, bundle: Path, opa: OpaTool) -> bool:
    found = opa.json(["eval", "-f", "json", "-b", bundle.name, reference], bundle.parent)
    return "result" in found


def _strings(path: list[dict[str, Any]]) -> Fact:
    """The terms up to the first that is not a string: an index keeps its whole array."""
    terms: list[str] = []
    for position, term in enumerate(path):
        if term["type"] != ("string" if position else "var"):
            break
        terms.append(term["value"])
    return tuple(terms)


def minimal(paths: Iterable[Fact]) -> tuple[Fact, ...]:
    """Sorted and without repeats. Both an ancestor and what lies below it stay: a credential header is
    sent only where a path names it.
    """
    return tuple(sorted(set(paths)))
