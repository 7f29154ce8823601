"""What a policy source must be before a version is made of it, beside what `opa build` refuses by itself.

In: a directory in bundle layout. Out: nothing, or PolicyRejected naming file and line. Called by
`making.py`, in this order: what lies there, how it is written, what its own tests run.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from authz.errors import PolicyRejected
from authz.policy.opa_tool import OpaTool
from authz.policy.schema import as_text

TESTS: Final = "*_test.rego"
MOST_BYTES: Final = 32 << 20  # of all files: OPA keeps them in memory, and every worker's OPA loads them
MOST_FILES: Final = 10_000
MOST_NAMED: Final = 10  # files in a refusal
TEST_TIMEOUT: Final = "60s"  # for each test: opa's five seconds are too few on a machine that is busy
# Without the passes that only say why a line was not run: they double the time.
_COVERAGE: Final = ("--coverage", "--coverage-runs", "")
_MADE_HERE: Final = (".manifest", ".signatures.json")


class Standards(Struct, frozen=True):
    """What is asked of a source beyond being sound. `coverage`: percent of its lines that its tests run;
    with 0 it is not measured. `schema`: it asks for nothing that the input document cannot have.
    """

    formatted: bool = False
    schema: bool = False
    coverage: float = 0.0


def check_files(source: Path) -> None:
    """A source with its own manifest or signatures would change what is built behind our back; one that is
    too large would do so to every OPA.
    """
    sizes: dict[Path, int] = {}
    for path in sorted(source.rglob("*")):
        found = path.lstat()
        if path.name in _MADE_HERE:
            raise PolicyRejected(f"{path}: the manifest, with its roots, and its signature are made here")
        if stat.S_ISLNK(found.st_mode):
            raise PolicyRejected(f"{path}: a symbolic link; opa build would leave it out")
        if stat.S_ISREG(found.st_mode):
            sizes[path] = found.st_size
        elif not stat.S_ISDIR(found.st_mode):
            raise PolicyRejected(f"{path}: neither a file nor a directory")
    if len(sizes) > MOST_FILES:
        raise PolicyRejected(f"{source}: {len(sizes)} files, over the limit of {MOST_FILES}")
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise PolicyRejected(
            f"{source}: {sum(sizes.values())} bytes, over the limit of {MOST_BYTES}; "
            f"the largest file is {largest} with {sizes[largest]}"
        )


def check_format(source: Path, tool: OpaTool) -> None:
    """Every file is as `opa fmt` writes it."""
    files = sorted(path for path in source.rglob("*.rego") if path.is_file())
    formatted = tool.run(["fmt", "--list", "."], source).decode().splitlines() if files else []
    if not formatted:
        return
    said = [f"{source / name}:{_first_difference(source / name, tool)}" for name in formatted[:MOST_NAMED]]
    more = f" and {len(formatted) - MOST_NAMED} more" if len(formatted) > MOST_NAMED else ""
    raise PolicyRejected(
        f"{', '.join(said)}{more}: not as `opa fmt` writes it; `opa fmt --write {source}` does"
    )


def _first_difference(file: Path, tool: OpaTool) -> int:
    theirs = file.read_text(encoding="utf-8").splitlines()
    ours = tool.run(["fmt", file.name], file.parent).decode().splitlines()
    same = (number for number, pair in enumerate(zip(theirs, ours, strict=False), 1) if pair[0] != pair[1])
    return next(same, min(len(theirs), len(ours)) + 1)


def check_rego(source: Path, tool: OpaTool, *, schema: bool = True) -> None:
    """What opa's strict check says; with the input document's `schema` also a name that the input has not."""
    if not schema:
        tool.run(["check", "--strict", "--bundle", "."], source)
        return
    with tempfile.TemporaryDirectory(prefix="aegis-schema-") as name:
        file = Path(name) / "input.json"
        file.write_text(as_text())
        tool.run(["check", "--strict", "--schema", str(file), "--bundle", "."], source)


def check_bundle(bundle: Path, data: Any, tool: OpaTool) -> None:
    """Nothing in it, nor in its `data`, claims what OPA itself keeps below `data.system`: the worker reads
    there which version is active.
    """
    if isinstance(data, dict) and "system" in data:
        raise PolicyRejected("data files: data.system is OPA's own, no policy's")
    namespaces = tool.json(["inspect", "-f", "json", bundle.name], bundle.parent).get("namespaces", {})
    for package, files in namespaces.items():
        if package == "data.system" or package.startswith(("data.system.", 'data["system"]')):
            raise PolicyRejected(f"{', '.join(map(str, files))}: {package} is OPA's own, no policy's")


def run_tests(source: Path, least: float, tool: OpaTool) -> str:
    """The source's own tests; the part of its lines that they run in percent, "" if `least` is 0. What a
    failing test prints says what is wrong with the data.
    """
    tests = any(source.rglob(TESTS))
    if tests:
        test = ["test", "--bundle", ".", "--timeout", TEST_TIMEOUT]
        if least <= 0:
            tool.run(test, source)
            return ""
        try:
            report = tool.json([*test, *_COVERAGE, "--format", "json"], source)
        except PolicyRejected:  # with coverage it keeps to itself what the tests print
            tool.run(test, source)
            raise
    elif least <= 0:
        return ""
    else:
        raise PolicyRejected(
            f"{source}: no {TESTS} anywhere: tests have to run {least:g} % of the lines; write them, or say "
            "--coverage 0"
        )
    return _coverage(source, report, least)


def _coverage(source: Path, report: Any, least: float) -> str:
    """Of what is no test itself."""
    files = {name: each for name, each in report["files"].items() if not name.endswith(TESTS[1:])}
    run = sum(each.get("covered_lines", 0) for each in files.values())
    missed = sum(each.get("not_covered_lines", 0) for each in files.values())
    percent = 100.0 * run / (run + missed) if run + missed else 100.0
    if percent >= least:
        return f"{percent:.1f}"
    missing = {name: _lines(each["not_covered"]) for name, each in files.items() if each.get("not_covered")}
    lines = "".join(f"\n{source / name}:{', '.join(missing[name])}" for name in sorted(missing)[:MOST_NAMED])
    more = f"\nand {len(missing) - MOST_NAMED} files more" if len(missing) > MOST_NAMED else ""
    raise PolicyRejected(
        f"{source}: tests run {percent:.1f} % of the lines, and have to run {least:g} %; they never run"
        f"{lines}{more}"
    )


def _lines(ranges: list[dict[str, Any]]) -> Iterator[str]:
    """`4, 7-9`"""
    rows = sorted({row for each in ranges for row in range(each["start"]["row"], each["end"]["row"] + 1)})
    for _, group in groupby(enumerate(rows), key=lambda pair: pair[1] - pair[0]):
        found = [row for _, row in group]
        yield str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"
