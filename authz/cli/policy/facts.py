"""`aegis policy facts`: which fields of the input document a policy source reads, for whoever writes it.

In: a source in bundle layout. Out: a table, and what makes it slow.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from authz.cli.policy.common import Entries, Source, explained, warn
from authz.policy.document import FIELDS
from authz.policy.facts import is_volatile
from authz.policy.making import DEFAULT_ENTRY_POINTS, analyse_source
from authz.policy.manifest import Analysis


def facts(source: Source, entry: Entries = None) -> None:
    """Show which fields of the input document SOURCE reads, by entry point."""
    with explained():
        analysis = analyse_source(source, entry or DEFAULT_ENTRY_POINTS)
        Console().print(_table(analysis))
        warn(analysis)


def _table(analysis: Analysis) -> Table:
    table = Table("entry point", Column("reads", overflow="fold"), "note")
    for name, found in analysis.entry_points.items():
        for path in found.facts:
            table.add_row(name, "input" + "".join(f"[{term!r}]" for term in path), _note(path))
        if not found.facts:
            table.add_row(name, "nothing", "")
    return table


def _note(path: tuple[str, ...]) -> str:
    if not any(path[: len(field)] == field or field[: len(path)] == path for field in FIELDS):
        return "no such field: always undefined"
    return "volatile: verdicts are not cached" if is_volatile(path) else ""
