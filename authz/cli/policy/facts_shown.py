"""What `aegis policy facts` prints, for people and for programs.

In: Explained entry points, Hits or none. Out: text. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as Directory
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from authz.ledger.report import plain
from authz.policy.document import FIELDS
from authz.policy.facts import is_volatile
from authz.policy.lint.program import Path, text_of
from authz.policy.lint.syntax import Place
from authz.policy.reads import How, Read
from authz.policy.width import Cause, Explained, Wide
from authz.replay.hits import Hits, Split
from authz.replay.recorded import WORDS

WIDTH: Final = 140
_MOST_PLACES: Final = 6


def show(console: Console, source: Directory, name: str, found: Explained, hits: Hits | None) -> None:
    """One entry point."""
    for line in _head(name, found):
        _say(console, line)
    if found.reads:
        console.print(_reads(found))
    for line in (*_notes(source, found), *_cost(hits)):
        _say(console, line)
    if hits and hits.splits:
        console.print(_splits(hits))


def _say(console: Console, line: str) -> None:
    console.print(escape(plain(line)), soft_wrap=True, highlight=False)


def _head(name: str, found: Explained) -> Iterator[str]:
    asked = f"{len(found.entry.facts)} facts" if found.entry.prune else "the whole input"
    kept = "its verdicts are kept" if found.kept else "no verdict is kept: each decision asks OPA"
    yield f"{name}: asked {asked}; {kept}"


def _reads(found: Explained) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rule", overflow="fold")
    table.add_column("reads", overflow="fold", min_width=30)
    table.add_column("where", overflow="fold", min_width=20)
    table.add_column("", overflow="fold", min_width=16)
    before = ""
    for read in _first_of_each(found):
        rule = ".".join(read.rule)
        where = f"{read.place.file}:{read.place.row}:{read.place.col}"
        cells = ("" if rule == before else rule, text_of(read.path), where, _note(read.path))
        table.add_row(*(escape(plain(cell)) for cell in cells))
        before = rule
    return table


def _first_of_each(found: Explained) -> Iterator[Read]:
    """What a rule reads, once; not what it only gives a name to."""
    seen: set[tuple[Path, Path]] = set()
    for read in found.reads:
        if read.how is not How.ALIAS and (read.rule, read.path) not in seen:
            seen.add((read.rule, read.path))
            yield read


def _note(path: Path) -> str:
    if not any(path[: len(field)] == field or field[: len(path)] == path for field in FIELDS):
        return "no such field: always undefined"
    return "volatile" if is_volatile(path) else ""


def _where(source: Directory, place: Place) -> str:
    return f"{source / place.file}:{place.row}:{place.col}"


def _notes(source: Directory, found: Explained) -> Iterator[str]:
    if not found.entry.prune:
        yield "the whole input is asked, and no verdict kept, since opa does not say what is read:"
    yield from _causes(source, found.prints)
    if found.changing:
        yield "no verdict is kept:"
    yield from _causes(source, found.changing)
    if found.wide:
        yield "what makes its questions large:"
    for each in found.wide:
        yield from _wide(source, each)


def _causes(source: Directory, causes: tuple[Cause, ...]) -> Iterator[str]:
    for cause in causes:
        yield f"    {_where(source, cause.place)}: {cause.what}"
    for advice in dict.fromkeys(cause.advice for cause in causes):
        yield f"    -> {advice}"


def _wide(source: Directory, wide: Wide) -> Iterator[str]:
    volatile = "volatile: no verdict is kept" if is_volatile(wide.path) else ""
    yield f"  {text_of(wide.path)}: {', '.join(filter(None, (wide.what, volatile)))}"
    for read in wide.reads[:_MOST_PLACES]:
        to = ".".join(read.to) if isinstance(read.to, tuple) else read.to
        what = f"{read.how} {to}".strip()
        yield f"    {_where(source, read.place)}: {'.'.join(read.rule)}: `{read.text}` is {what}"
    if len(wide.reads) > _MOST_PLACES:
        yield f"    and in {len(wide.reads) - _MOST_PLACES} more places"
    if not wide.reads:
        yield "    not by a name that could be followed, but by what a rule makes of it"
    for advice in wide.advice:
        yield f"    -> {advice}"


def _cost(hits: Hits | None) -> Iterator[str]:
    if hits is None:
        yield "what that costs in hits is not known: --state DIR --why REASON counts it in recorded decisions"
        return
    yield f"{hits.decisions:,} decisions recorded, {hits.counted:,} of them with what this policy reads"
    for why, count in sorted(hits.unknown.items()):
        yield f"  not counted: {why}: {count:,} ({WORDS[why]})"
    if hits.by_parameters:
        yield f"  of {hits.by_parameters:,} the payload was not kept: its hash counts as one fact, parameters"
    yield f"  {hits.keys:,} different questions"
    share = f"{hits.hits / hits.counted:.1%}" if hits.counted else "none"
    yield f"  a cache of {hits.ttl_s:g} s would have answered {hits.hits:,} of them ({share})"
    said = ", ".join(f"{name} {count:,}" for name, count in sorted(hits.recorded.items()))
    yield f"  recorded then: {said}"


def _splits(hits: Hits) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("without", overflow="fold", min_width=30)
    for name in ("its values", "questions left", "answered by the cache"):
        table.add_column(name, justify="right")
    for split in hits.splits:
        share = f"{split.hits_without:,} ({split.hits_without / hits.counted:.1%})"
        cells = (_fact(split), f"{split.values:,}", f"{split.keys_without:,}", share)
        table.add_row(*(escape(plain(cell)) for cell in cells))
    return table


def _fact(split: Split) -> str:
    return split.path if isinstance(split.path, str) else text_of(split.path)


# -- for programs


def as_object(found: Mapping[str, Explained], hits: Mapping[str, Hits]) -> dict[str, Any]:
    """Paths as arrays of names, places below the source."""
    return {
        "entry_points": {
            name: {
                "facts": [list(path) for path in each.entry.facts],
                "prune": each.entry.prune,
                "kept": each.kept,
                "reads": [_read(read) for read in each.reads],
                "wide": [_wide_object(wide) for wide in each.wide],
                "prints": [_cause(cause) for cause in each.prints],
                "changing": [_cause(cause) for cause in each.changing],
                "hits": _hits(hits[name]) if name in hits else None,
            }
            for name, each in found.items()
        }
    }


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "row": place.row, "col": place.col}


def _read(read: Read) -> dict[str, Any]:
    to = ".".join(read.to) if isinstance(read.to, tuple) else read.to
    said = {
        "rule": ".".join(read.rule),
        "path": list(read.path),
        "text": read.text,
        "how": read.how.name.lower(),
    }
    return said | ({"to": to} if to else {}) | _place(read.place)


def _wide_object(wide: Wide) -> dict[str, Any]:
    return {
        "path": list(wide.path),
        "what": wide.what,
        "volatile": is_volatile(wide.path),
        "reads": [_read(read) for read in wide.reads],
        "advice": list(wide.advice),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {"what": cause.what, "advice": cause.advice} | _place(cause.place)


def _hits(hits: Hits) -> dict[str, Any]:
    return {
        "decisions": hits.decisions,
        "counted": hits.counted,
        "unknown": {str(why): count for why, count in hits.unknown.items()},
        "by_parameters": hits.by_parameters,
        "keys": hits.keys,
        "hits": hits.hits,
        "ttl_s": hits.ttl_s,
        "recorded": hits.recorded,
        "splits": [
            {
                "path": split.path if isinstance(split.path, str) else list(split.path),
                "values": split.values,
                "keys_without": split.keys_without,
                "hits_without": split.hits_without,
            }
            for split in hits.splits
        ],
    }
