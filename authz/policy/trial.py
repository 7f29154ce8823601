"""Everything that is asked of a policy source before it is published, at once and for whoever writes it.

In: a directory in bundle layout. Out: Steps, in one order: format, check, lint, test; each with what it has
to say, as `file:row: text` lines that editors jump to. Called by `aegis policy test`. Nothing is written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy import checks
from authz.policy.checks import Standards
from authz.policy.lint.finding import Finding
from authz.policy.lint.run import errors, lint
from authz.policy.opa_tool import OpaTool

_PLACE: Final = re.compile(
    r"(?m)^(?:bundle \.: )?(?:\d+ errors? occurred: )?([^\s:]+\.(?:rego|json|ya?ml)):(?=\d)"
)
_WATCHED: Final = (".rego", ".json", ".yaml", ".yml")


class Step(Struct, frozen=True):
    """`said`: why it is not `ok`, or what is worth knowing. `findings`: the linter's."""

    name: str
    ok: bool
    seconds: float
    said: str = ""
    findings: tuple[Finding, ...] = ()


def trial(
    source: Path, entry_points: Sequence[str], standards: Standards, *, opa: str = "opa"
) -> Iterator[Step]:
    """Whether `source` is up to the standards; the format is looked at always. The steps run side by side,
    and none waits for another to be right.
    """
    tool = OpaTool(opa)

    def tested() -> str:
        percent = checks.run_tests(source, standards.coverage, tool)
        return f"tests run {percent} % of the lines" if percent else ""

    steps: dict[str, Callable[[], str | tuple[Finding, ...] | None]] = {
        "format": lambda: checks.check_format(source, tool),
        "check": lambda: checks.check_rego(source, tool, schema=standards.schema),
        "lint": lambda: lint(source, entry_points, opa=opa),
        "test": tested,
    }
    with ThreadPoolExecutor(len(steps), thread_name_prefix="trial") as pool:
        running = [pool.submit(_timed, name, step, source) for name, step in steps.items()]
        for each in running:
            yield each.result()


def stamp(source: Path) -> frozenset[tuple[str, int, int]]:
    """Another value whenever a file that a policy is made of has changed, came or went."""
    found: set[tuple[str, int, int]] = set()
    for path in source.rglob("*"):
        if path.suffix in _WATCHED:
            try:
                seen = path.stat()
            except OSError:  # an editor puts files in each other's place
                continue
            found.add((str(path), seen.st_mtime_ns, seen.st_size))
    return frozenset(found)


def _timed(name: str, step: Callable[[], str | tuple[Finding, ...] | None], source: Path) -> Step:
    start = time.monotonic()
    ok, said = True, ""
    findings: tuple[Finding, ...] = ()
    try:
        done = step()
    except PolicyRejected as error:
        ok, said = False, _placed(str(error), source)
    else:
        if isinstance(done, tuple):
            ok, findings = not errors(done), done
        else:
            said = done or ""
    return Step(name, ok, time.monotonic() - start, said, findings)


def _placed(said: str, source: Path) -> str:
    """What opa said, with files named as they are seen from here."""
    text = re.sub(r"^opa \w+: ", "", said)
    return _PLACE.sub(lambda found: f"{source / found[1]}:", text)
