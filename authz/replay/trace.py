"""Which rules of a version fired for one question, from OPA's own trace.

In: a Version, a question. Out: a Trace: each rule that fired with its file and line, each expression that did
not hold, in the order of evaluation; or OPA's whole trace as text. Called by `aegis replay` and `aegis
explain`. It runs `opa eval`, as anybody can who has the bundle, with the bounds of `isolated.py`.
"""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from msgspec import Struct

from authz import programs
from authz.policy.opa_tool import OpaTool
from authz.replay import isolated
from authz.replay.isolated import Limits
from authz.replay.version import GivenUp, NotJudged, Version


class Explain(StrEnum):
    """How much of a trace is wanted: rules that fired; also expressions that did not hold; the policy's own
    notes; all of it, as OPA prints it.
    """

    FIRED = "fired"
    FAILS = "fails"
    NOTES = "notes"
    FULL = "full"


MAX_TRACE: Final = 256 << 20  # bytes that OPA may write
MAX_STEPS: Final = 500
TIMEOUT_S: Final = 20.0
_TREE: Final = "tree/"
_PACKAGE: Final = re.compile(rb"^package\s+([\w.\[\]\"-]+)", re.MULTILINE)
_SHOWN: Final = 110  # characters of a value or an expression


class Step(Struct, frozen=True):
    """A rule that `fired` (its path, and its value where that is written there), an expression that `failed`,
    or a `note` of the policy's own (`trace(...)`), at `place` (file:line in the bundle).
    """

    what: Literal["fired", "failed", "note"]
    place: str
    text: str


class Trace(Struct, frozen=True):
    """`steps` as far as MAX_STEPS, then `left` more; or `text`, OPA's own, for `full`."""

    steps: tuple[Step, ...] = ()
    left: int = 0
    text: str = ""


def trace(
    version: Version,
    entry_point: str,
    question: bytes,
    explain: Explain = Explain.FIRED,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    opa: str = "opa",
) -> Trace:
    """Raises NotJudged, OSError."""
    with tempfile.TemporaryDirectory(prefix="aegis-replay-") as name:
        directory = Path(name)
        isolated.write(version.content, directory / "tree")
        isolated.check(directory, version.label, OpaTool(opa))
        (directory / "input.json").write_bytes(question)
        said = _evaluated(version.label, entry_point, explain, directory, limits, opa)
    if explain is Explain.FULL:
        return Trace(text=said.decode(errors="replace").replace(_TREE, ""))
    steps = [step for step in _steps(orjson.loads(said), version) if _wanted(step, explain)]
    return Trace(tuple(steps[:MAX_STEPS]), max(0, len(steps) - MAX_STEPS))


def _evaluated(
    label: str, entry_point: str, explain: Explain, directory: Path, limits: Limits, opa: str
) -> bytes:
    reference = ".".join(["data", *filter(None, entry_point.split("/"))])
    command = [str(programs.find(opa) or opa), "eval", "--bundle", "tree", "--input", "input.json"]
    command += ["--capabilities", "capabilities.json", "--strict-builtin-errors", "--explain", "full"]
    command += ["--format", "pretty" if explain is Explain.FULL else "json", reference]
    output = directory / "trace"
    with output.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - arguments are ours, no shell
            programs.tethered(*command),
            cwd=directory,
            env=isolated.environment(directory, limits),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.DEVNULL,
        )
        try:
            isolated.bound(process.pid, limits)
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_TRACE, MAX_TRACE))
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise GivenUp(f"{label}: no trace within {TIMEOUT_S:g} s") from None
        finally:
            process.kill()
            process.wait()
    said = output.read_bytes()
    if not said or (process.returncode < 0 and explain is not Explain.FULL):
        raise NotJudged(f"{label}: opa eval gave no trace: status {process.returncode}")
    return said


def _wanted(step: Step, explain: Explain) -> bool:
    kinds = {Explain.FIRED: ("fired",), Explain.FAILS: ("fired", "failed"), Explain.NOTES: ("note",)}
    return step.what in kinds[explain]


def _steps(said: Any, version: Version) -> Iterator[Step]:
    """From the events of OPA's trace; what comes again at the same place is said once."""
    sources = {path.lstrip("/"): data for path, data in version.content.items() if path.endswith(".rego")}
    seen: set[Step] = set()
    for event in said.get("explanation", ()) if isinstance(said, dict) else ():
        step = _step(event, sources)
        if step is not None and step not in seen:
            seen.add(step)
            yield step


def _step(event: dict[str, Any], sources: dict[str, bytes]) -> Step | None:
    node, location = event.get("Node"), event.get("Location") or {}
    file, row = str(location.get("file", "")).removeprefix(_TREE), int(location.get("row", 0))
    place = f"{file}:{row}"
    if event.get("Op") == "Note":
        return Step("note", place, str(event.get("Message", "")))
    if file not in sources or not isinstance(node, dict):
        return None
    if event.get("Op") == "Exit" and "head" in node:
        return Step("fired", place, _head(node["head"], sources[file]))
    if event.get("Op") == "Fail" and "terms" in node:
        return Step("failed", place, _line(sources[file], row))
    return None


def _head(head: dict[str, Any], source: bytes) -> str:
    """The rule's path, and what it says where that is a constant."""
    package = _PACKAGE.search(source)
    names = [str(term.get("value")) for term in head.get("ref", ()) if term.get("type") in ("var", "string")]
    path = ".".join([package[1].decode() if package else "data", *(names or [str(head.get("name"))])])
    try:
        value = orjson.dumps(_constant(head["value"]), option=orjson.OPT_SORT_KEYS).decode()
    except (KeyError, ValueError, TypeError):
        return path
    return f"{path} = {_short(value)}" if value != "true" else path


def _constant(term: dict[str, Any]) -> Any:
    """Raises ValueError for what is computed."""
    kind, value = term["type"], term.get("value")
    if kind in ("string", "number", "boolean", "null"):
        return value
    if kind == "array":
        return [_constant(item) for item in value or ()]
    if kind == "object":
        return {str(_constant(name)): _constant(item) for name, item in value or ()}
    raise ValueError(kind)


def _line(source: bytes, row: int) -> str:
    lines = source.splitlines()
    return _short(lines[row - 1].decode(errors="replace").strip()) if 0 < row <= len(lines) else ""


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
