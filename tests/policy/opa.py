"""Real policy versions and real OPA processes on Unix sockets, for every test that asks policy."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn

from authz.config import Settings
from authz.errors import Denied
from authz.followers.bundles import Served, bundle_app, opa_command, opa_config
from authz.policy.cache import VerdictCache
from authz.policy.engine_opa import OpaEngine
from authz.policy.making import DEFAULT_ENTRY_POINTS
from authz.policy.manifest import Changes, Release
from authz.policy.signing import ensure_signing_key, public_key
from authz.policy.stage import PolicyStage
from authz.policy.store import DirectoryStore
from authz.policy.version import utc_now
from authz.policy.versions import SUFFIX, Activation, Versions
from authz.testing import PlainAttributes, a_request
from authz.values import Assurance, Facts, Request, Subject, Verdict
from tests.policy.bundles import PolicyVersion, build_bundle

NOW = datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
SUBJECT = Subject("agent-1", Assurance.JWT, claims={"role": "clerk"})
DENY = 'default decision := {"decision": "deny", "reason_code": "no_rule", "rule": "default"}\n'
ALLOW = '{"decision": "allow", "reason_code": "permitted", "rule": "allow"}'


@cache
def signing_key() -> Path:
    path = Path(tempfile.mkdtemp(prefix="aegis-key-")) / "policy.pem"
    ensure_signing_key(path)
    return path


def write(directory: Path, files: dict[str, str]) -> Path:
    """`files` below `directory`, which is emptied first."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


def version_of(
    directory: Path,
    rego: str,
    version: str = "v1",
    *,
    entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS,
    wasm: bool = False,
    **files: str,
) -> PolicyVersion:
    """A signed version of `package aegis` with the body `rego`, published in `directory/bundles`."""
    tree = {"aegis/decision.rego": f"package aegis\n\n{rego}"} | files
    source = write(directory / f"source-{version}", tree)
    return build_bundle(
        source,
        directory / "bundles",
        version=version,
        signing_key=signing_key(),
        entry_points=entry_points,
        wasm=wasm,
    )


def activate(directory: Path, name: str) -> str:
    """Make the version that is published in `directory` the active one, telling nobody; its revision."""
    versions = Versions(DirectoryStore(directory))
    revision, current = versions.find(name).revision, versions.active()
    number = current.number + 1 if current else 1
    versions.activate(Activation(number, "activate", revision, utc_now(), "a test"))
    return revision


def listed(directory: Path, revision: str, bundle: bytes) -> None:
    """Publish any bytes under any revision in `directory`."""
    versions = Versions(DirectoryStore(directory))
    release = Release(published=utc_now(), author="a test", opa="none", changes=Changes(sha256="0" * 64))
    there = versions.put(revision, bundle)
    versions.add(revision, there, key_id="none", who="a test", release=release)


def active(directory: Path) -> Path | None:
    """The file of the active version in `directory`."""
    found = Versions(DirectoryStore(directory)).active()
    return directory / f"{found.revision}{SUFFIX}" if found else None


class OpaProcess:
    """One `opa run --server`; `arguments` say what it loads."""

    def __init__(self, *arguments: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="opa-"))
        self.socket = self.directory / "opa.sock"
        self.log = self.directory / "opa.log"
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        command = ["opa", "run", "--server", "--addr", f"unix://{self.socket}", "--log-level", "error"]
        await self._spawn([*command, "--skip-version-check", *self._arguments])

    async def start_with(self, config: dict[str, Any]) -> None:
        """As the product starts it."""
        file = self.directory / "opa.json"
        file.write_text(json.dumps(config))
        await self._spawn(opa_command(self.socket, file))

    async def _spawn(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        await until(self._answers)

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        return await self.get("/health") is not None

    async def get(self, path: str) -> Any:
        """The JSON at `path`, None while OPA does not answer."""
        engine = OpaEngine(self.socket, "none", connections=1)
        try:
            return await engine.get(path, 2.0)
        except Denied:
            return None
        finally:
            await engine.close()

    async def revision(self) -> str:
        """What OPA has activated."""
        bundles = (await self.get("/v1/data/system/bundles") or {}).get("result", {})
        return ",".join(bundle["manifest"]["revision"] for bundle in bundles.values())

    async def pause(self) -> None:
        """Stop it in the middle of whatever it does; back when no thread of it runs any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        await until(lambda: all(_state(thread) == "T" for thread in threads.iterdir()))

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()
        self._process = None


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


@asynccontextmanager
async def opa(*arguments: str) -> AsyncIterator[OpaProcess]:
    process = OpaProcess(*arguments)
    try:
        await process.start()
        yield process
    finally:
        await process.stop()
        shutil.rmtree(process.directory, ignore_errors=True)


@asynccontextmanager
async def opa_with(version: PolicyVersion) -> AsyncIterator[OpaProcess]:
    """An OPA that has checked and loaded the file of `version`."""
    key = version.file.parent / "policy.pub"
    key.write_text(public_key(signing_key()))
    verify = (
        "--verification-key",
        str(key),
        "--verification-key-id",
        "aegis-policy",
        "--signing-alg",
        "ES256",
    )
    async with opa(*verify, "-b", str(version.file)) as process:
        yield process


@asynccontextmanager
async def bundle_server(directory: Path) -> AsyncIterator[str]:
    """The bundle server on a free port of loopback; yields its URL."""
    stopping = False
    app = bundle_app(Served(Versions(DirectoryStore(directory))), lambda: stopping)
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        stopping = server.should_exit = True
        await task


@asynccontextmanager
async def opa_pulling(directory: Path) -> AsyncIterator[OpaProcess]:
    """An OPA that pulls what is active in the bundle `directory`, as in production."""
    async with bundle_server(directory) as url:
        process = OpaProcess()
        try:
            await process.start_with(opa_config(url, public_key(signing_key()), wait_s=5))
            yield process
        finally:
            await process.stop()
            shutil.rmtree(process.directory, ignore_errors=True)


def stage(socket: Path, **members: Any) -> PolicyStage:
    """A stage on `socket`, not started."""
    entry = members.pop("entry_point", Settings().policy.entry_point)
    strict = not members.get("compat", False)
    engine = OpaEngine(socket, entry, connections=members.pop("connections", 4), strict=strict)
    store = VerdictCache(members.pop("size", 1000), members.pop("ttl_s", 30.0))
    times = {"timeout_s": members.pop("timeout_s", 5.0), "poll_s": members.pop("poll_s", 0.05)}
    return PolicyStage(engine, cache=store, **times, **members)


@asynccontextmanager
async def started(socket: Path, **members: Any) -> AsyncIterator[PolicyStage]:
    policy = stage(socket, **members)
    await policy.start()
    try:
        yield policy
    finally:
        await policy.stop()


def asking(policy: PolicyStage, request: Request, subject: Subject = SUBJECT) -> Callable[[], Facts]:
    return lambda: policy.question(request, subject, NOW)


async def decide(
    policy: PolicyStage, request: Request, timeout_s: float = 5.0, *, subject: Subject = SUBJECT
) -> Verdict:
    """As the pipeline does it."""
    again = asking(policy, request, subject)
    facts = again()
    return policy.lookup(facts) or await policy.evaluate(facts, again, timeout_s)


def with_headers(headers: dict[str, str], **members: Any) -> Request:
    """A request whose attributes and headers agree."""
    attributes = {"request": {"http": {"headers": headers, "method": "GET", "path": "/v1"}}}
    return a_request(headers=headers, attributes=PlainAttributes(attributes), **members)


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for `condition`, which may be a coroutine function."""
    async with asyncio.timeout(timeout_s):
        while True:
            seen = condition()
            if asyncio.iscoroutine(seen):
                seen = await seen
            if seen:
                return
            await asyncio.sleep(0.01)
