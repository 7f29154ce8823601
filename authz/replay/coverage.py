"""Whether the facts that were kept for one version answer the question that another version asks.

In: what both read, pointers to what is masked. Out: None, or why not. Called before a recorded question is
put to a version. A field that was never asked for is not in the facts; a version that reads it would find it
undefined, and a negation over it would turn true: better no answer than that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from authz.controls.facts import PAYLOAD
from authz.policy.document import FIELDS as OURS
from authz.policy.manifest import EntryPoint, Path
from authz.replay.recorded import Why

FIELDS = (*OURS, ("source_principal",))  # and what only opa-envoy-plugin's policies are shown


def obstacle(kept: EntryPoint, asked: EntryPoint, masked: Iterable[str]) -> Why | None:
    """Why what was `kept` of a question does not say what `asked` reads; `masked`: JSON pointers."""
    if not _covers(kept, asked):
        return Why.NOT_CAPTURED
    hidden = missed(asked, masked)
    if any(part in PAYLOAD for part in hidden):  # no obligation permitted it to be kept
        return Why.NOT_CAPTURED
    return Why.REDACTED if hidden else None


def missed(asked: EntryPoint, masked: Iterable[str]) -> list[Path]:
    """What is masked of that which `asked` reads."""
    wanted = _paths(asked)
    parts = [_parts(pointer) for pointer in masked]
    return [part for part in parts if any(_overlap(path, part) for path in wanted)]


@lru_cache(maxsize=64)
def _covers(kept: EntryPoint, asked: EntryPoint) -> bool:
    had = _paths(kept)
    return all(_covered(path, had) for path in _paths(asked))


def _paths(entry: EntryPoint) -> list[Path]:
    return list(entry.facts) if entry.prune else [()]


def _covered(path: Path, had: list[Path]) -> bool:
    """Whether the facts hold all that there is at `path`, as it is or field by field."""
    if any(path[: len(each)] == each for each in had):
        return True
    below = [field for field in FIELDS if len(field) > len(path) and field[: len(path)] == path]
    if not below:  # a part of a field, of which another part was kept at most; or no field at all
        return not any(path[: len(field)] == field for field in FIELDS)
    return all(_covered(field, had) for field in below)


def _parts(pointer: str) -> Path:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _overlap(one: Path, other: Path) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]
