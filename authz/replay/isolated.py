"""Puts recorded questions to a policy version in isolation: a private OPA that nothing else asks.

    with Isolated(version) as opa:
        answers = opa.ask(questions)        one Answered for each, in order

In: a Version, the bytes of questions. Out: what the entry point says to each. Called by whatever replays, in
a thread without an event loop. The OPA has no configuration, no environment of ours, no port, bounded memory
and time; and a version that calls a built-in whose answer changes or that reaches the network (`http.send`,
`time.now_ns`, `opa.runtime`, `rand.intn`, ...) is not started at all: NotJudged names it.

Questions go over in batches, answered by a rule that is put beside the version: three times as fast as one by
one. Where a batch has no answer (one error spoils it) its questions are asked one by one, as a worker does.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import orjson
from msgspec import Struct

from authz import programs
from authz.errors import Denied, PolicyRejected
from authz.policy.analysis import TIME_DEPENDENT
from authz.policy.engine_opa import OpaEngine
from authz.policy.making import DEFAULT_ENTRY_POINTS
from authz.policy.opa_tool import OpaTool
from authz.replay.version import GivenUp, NotJudged, NotRepeatable, Version
from authz.values import MISSING, Reason

START_S: Final = 30.0
BATCH_QUESTIONS: Final = 100
BATCH_BYTES: Final = 256 << 10
CONNECTIONS: Final = 4
_BATCH: Final = """package {name}

answers := {{place: answer |
	some place, question in input.questions
	answer := data.{entry} with input as question
}}
"""


class Limits(Struct, frozen=True):
    """What a version may take. `unanswered`: so many questions without an answer in time, and it is given up;
    `memory` in bytes, of OPA's heap; its address space has `address_space`; `nice` is its priority.
    """

    question_s: float = 5.0
    batch_s: float = 60.0
    unanswered: int = 5
    memory: int = 1 << 30
    address_space: int = 4 << 30
    nice: int = 0


class Answered(Struct, frozen=True):
    """`result`: of the entry point, MISSING where that is undefined. `fault` is set instead if there was an
    error, as a worker would record it.
    """

    result: Any = MISSING
    fault: Denied | None = None


class Isolated:
    """A context manager; `ask` within. Raises NotJudged, OSError."""

    def __init__(
        self,
        version: Version,
        entry_point: str = DEFAULT_ENTRY_POINTS[0],
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        strict: bool = True,
        opa: str = "opa",
    ) -> None:
        """`strict`: a built-in that fails is an error, as for a worker without `policy.compat`."""
        found = version.analysis.entry_points.get(entry_point)
        if found is None:
            raise NotJudged(f"{version.label}: no rule defines the entry point {entry_point}")
        self._version, self._entry, self._limits, self._strict = version, entry_point, limits, strict
        # A version that reads `data` by unknown names would read the rule beside it, too.
        self._batched = found.prune
        self._opa = OpaTool(opa), str(programs.find(opa) or opa)
        self._unanswered = 0

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="aegis-replay-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._runner = asyncio.Runner()
        try:
            self._lay_out()
            check(self._directory, self._version.label, self._opa[0])
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, questions: Sequence[bytes]) -> list[Answered]:
        """The answer to each question, in their order; equal ones are asked once."""
        distinct = list(dict.fromkeys(questions))
        answers: dict[bytes, Answered] = {}
        self._runner.run(self._ask(distinct, answers))
        return [answers[question] for question in questions]

    # How it is done.

    async def _ask(self, questions: list[bytes], answers: dict[bytes, Answered]) -> None:
        batches = _batches(questions) if self._batched else ([question] for question in questions)

        async def work() -> None:
            for batch in batches:  # shared: each takes the next one
                answers.update(zip(batch, await self._answers(batch), strict=True))

        fault: BaseException | None = None  # raised in `except*` it would become a group again
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(work())
        except* NotJudged as given_up:
            fault = given_up.exceptions[0]
        if fault:
            raise fault

    async def _answers(self, batch: list[bytes]) -> list[Answered]:
        if len(batch) > 1:
            data = b'{"questions":[' + b",".join(batch) + b"]}"
            try:
                said = (await self._together.decide(data, self._limits.batch_s)).result
                return [Answered(said.get(str(place), MISSING)) for place in range(len(batch))]
            except Denied:  # whose fault it was is found below
                pass
        return [await self._alone(question) for question in batch]

    async def _alone(self, question: bytes) -> Answered:
        try:
            return Answered((await self._single.decide(question, self._limits.question_s)).result)
        except Denied as denied:
            if denied.reason is not Reason.POLICY_ERROR:
                self._unanswered_by(denied.reason)
            return Answered(fault=denied)

    def _unanswered_by(self, reason: Reason) -> None:
        """No answer came: OPA is gone, or slow."""
        label, limits = self._version.label, self._limits
        if reason is Reason.ENGINE_UNAVAILABLE:
            raise GivenUp(f"{label}: it ended its OPA, which may take {limits.memory >> 20} MiB")
        self._unanswered += 1
        if self._unanswered >= limits.unanswered:
            raise GivenUp(
                f"{label}: {self._unanswered} questions unanswered for {limits.question_s:g} s each: given up"
            )

    def _lay_out(self) -> None:
        name = f"aegis_replay_{secrets.token_hex(8)}"
        content = dict(self._version.content)
        if self._batched:
            entry = ".".join(part for part in self._entry.split("/") if part)
            content[f"/{name}.rego"] = _BATCH.format(name=name, entry=entry).encode()
        write(content, self._directory / "tree")
        socket = self._directory / "opa.sock"
        self._single = OpaEngine(socket, self._entry, connections=CONNECTIONS, strict=self._strict)
        together = f"{name}/answers"
        self._together = OpaEngine(socket, together, connections=CONNECTIONS, strict=self._strict)

    def _start(self) -> None:
        command = [self._opa[1], "run", "--server", "--addr", f"unix://{self._directory / 'opa.sock'}"]
        command += ["--unix-socket-perm", "0700", "--log-level", "error", "--skip-version-check"]
        command += ["--optimize-store-for-read-speed", "--bundle", "tree"]
        self._process = subprocess.Popen(  # noqa: S603 - arguments are ours, no shell
            programs.tethered(*command),
            cwd=self._directory,
            env=environment(self._directory, self._limits),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        bound(self._process.pid, self._limits)
        self._runner.run(self._ready(time.monotonic() + START_S))

    async def _ready(self, until: float) -> None:
        assert self._process
        while True:
            try:
                await self._single.get("/health", 1.0)
            except Denied:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise NotJudged(f"{self._version.label}: its OPA did not start") from None
                await asyncio.sleep(0.01)
            else:
                return

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if hasattr(self, "_single"):
            self._runner.run(self._close())
        self._runner.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _close(self) -> None:
        await self._single.close()
        await self._together.close()


def write(content: dict[str, bytes], tree: Path) -> None:
    """The files of a version below `tree`, without signatures, which no longer fit. Raises NotJudged."""
    for path, data in content.items():
        file = tree.joinpath(*path.split("/"))
        if ".." in file.parts:
            raise NotJudged(f"{path}: a path that leads out of the bundle")
        if path != "/.signatures.json":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


def check(directory: Path, label: str, opa: OpaTool) -> None:
    """Whether `directory/tree` compiles with the built-ins of `capabilities.json` beside it, written here:
    those whose answer depends on nothing but their arguments, and none that reaches out. Raises NotJudged.
    """
    known = opa.json(["capabilities", "--current"], directory)
    known["builtins"] = [
        item
        for item in known["builtins"]
        if not item.get("nondeterministic") and item["name"] not in TIME_DEPENDENT
    ]
    known["allow_net"] = []
    (directory / "capabilities.json").write_bytes(orjson.dumps(known))
    try:
        opa.run(["check", "--capabilities", "capabilities.json", "--bundle", "tree"], directory)
    except PolicyRejected as error:
        raise NotRepeatable(f"{label}: not repeatable: {error}") from None


def bound(pid: int, limits: Limits) -> None:
    """Bound what a process takes; with `nice` whoever decides goes before it."""
    most = limits.address_space
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        if limits.nice:
            os.setpriority(os.PRIO_PROCESS, pid, limits.nice)


def environment(directory: Path, limits: Limits) -> dict[str, str]:
    """Of an isolated `opa`: nothing of ours, since OPA takes settings from OPA_* and proxies from others."""
    return {"HOME": str(directory), "GOMEMLIMIT": str(limits.memory), "GOGC": "400"}


def _batches(questions: list[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for question in questions:
        if batch and (len(batch) == BATCH_QUESTIONS or size + len(question) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(question)
        size += len(question)
    if batch:
        yield batch
