"""What `aegis policy matrix` prints: one line a cell, for people in 120 columns or for programs.

In: a `policy.matrix.Matrix`. Out: text. Nothing is decided here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rich import box
from rich.markup import escape
from rich.table import Table

from authz.ledger.report import plain
from authz.policy.matrix import Cell, Matrix

WIDTH: Final = 120
_STYLES: Final = {"allow": "green", "approval": "yellow", "deny": "red"}


def table(matrix: Matrix) -> Table:
    """A row a cell. Of a cell that denies, only that is shown: the rest of it holds for nothing."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("category", "sensitivity", "decision", "identity", "reply", "capture"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("keep days", justify="right", no_wrap=True)
    shown.add_column("session", overflow="fold")
    shown.add_column("caller says", overflow="fold", min_width=23)
    for category, row in matrix.items():
        for number, (sensitivity, cell) in enumerate(row.items()):
            last = number == len(row) - 1
            shown.add_row("" if number else _shown(category), sensitivity, *_cells(cell), end_section=last)
    return shown


def _shown(text: str) -> str:
    """A foreign bundle's text: neither markup nor a command to the terminal."""
    return escape(plain(text))


def _cells(cell: Cell) -> list[str]:
    decision = "approval" if cell.decision == "approval_needed" else cell.decision
    word = f"[{_STYLES[decision]}]{decision}[/]"
    if decision == "deny":
        return [word]
    days = str(cell.retention_days)
    return [
        word,
        cell.assurance,
        cell.durability,
        cell.capture,
        days,
        _shown(_session(cell)),
        _shown(" ".join(cell.claims)),
    ]


def _session(cell: Cell) -> str:
    words: list[str] = [] if cell.session == "any" else [cell.session]
    words += [f"+{label}" for label in cell.session_labels] + [f"!{label}" for label in cell.session_refuses]
    return " ".join(words)


def as_object(matrix: Matrix) -> dict[str, Any]:
    """The same for programs, as the data has it."""
    tree: dict[str, Any] = msgspec.to_builtins(matrix)
    return tree
