"""What an entry point of a built bundle reads: `opa deps` and `opa inspect`, read with suspicion.

In: a built bundle without its tests. Out: `manifest.Analysis`. Called by `version.py`. It must never name
less than policy reads: a field left out is undefined, and a negation over it may allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from authz.errors import PolicyRejected
from authz.policy.manifest import FORMAT, Analysis, EntryPoint
from authz.policy.manifest import Path as Fact
from authz.policy.opa_tool import OpaTool


def analyse(bundle: Path, entry_points: Sequence[str], opa: OpaTool) -> Analysis:
    """Raises PolicyRejected for an entry point that no rule of the bundle defines."""
    inspected = opa.json(["inspect", "-f", "json", bundle.name], bundle.parent)
    builtins = inspected.get("capabilities", {}).get("builtins", [])
    return Analysis(
        format=FORMAT,
        entry_points={name: _entry_point(bundle, name, opa) for name in sorted(set(entry_points))},
        nondeterministic=tuple(sorted(item["name"] for item in builtins if item.get("nondeterministic"))),
    )


def _entry_point(bundle: Path, name: str, opa: OpaTool) -> EntryPoint:
    terms = ("data", *name.split("/"))
    found = opa.json(["deps", "-f", "json", "-b", bundle.name, ".".join(terms)], bundle.parent)
    # opa deps exits 0 on a misspelt name, calls it a base document and then names nothing.
    if terms not in {_strings(path) for path in found.get("virtual", [])}:
        raise PolicyRejected(f"{name}: no rule of the bundle defines this entry point")
    base = [_strings(path) for path in found.get("base", [])]
    return EntryPoint(
        facts=minimal(path[1:] for path in base if path[0] == "input"),
        # With `data` itself read by an unknown name opa deps cannot say which rules that reaches.
        prune=("data",) not in base,
    )


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
