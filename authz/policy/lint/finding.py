"""What a rule of the linter is, and what it finds.

Made by the checks beside this, read by the command line and by whoever publishes a version.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from authz.policy.lint.syntax import Place


class Severity(StrEnum):
    """With an `error` no version is published; a `warning` is printed."""

    ERROR = "error"
    WARNING = "warning"


class LintRule(Struct, frozen=True):
    """`why` it is unsafe and how to `fix` it, with Rego that it finds and Rego that it does not: rules of
    `package aegis` beside a deny by default. `mends`: `--fix` can do it, since the policy then permits less.
    """

    id: str
    severity: Severity
    why: str
    fix: str
    bad: str
    good: str
    mends: bool = False


class Edit(Struct, frozen=True):
    """Put `new` in the place of `old`, which is what stands at `place`."""

    place: Place
    old: str
    new: str


class Finding(Struct, frozen=True):
    """`rule` at `place`; `what` was found there, in one sentence. `edit` mends it."""

    rule: LintRule
    place: Place
    what: str
    edit: Edit | None = None
