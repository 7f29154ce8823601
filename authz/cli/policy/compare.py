"""`aegis policy compare`: which captured requests a running opa-envoy-plugin answers otherwise than we would.

    exit status    0 none    3 some    2 could not run

For those who come from that plugin. Each request goes to the plugin and through our own reading, policy and
answer; nothing is recorded, and nobody is let through. The report names what differs, never its value.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
from msgspec import Struct, field

from authz import programs
from authz.cli.ledger import ConfigFile, Json, State, explained
from authz.cli.policy.common import settings_of
from authz.cli.recorded import watched
from authz.config import Settings
from authz.controls.shadow import Shadow
from authz.errors import ConfigError, Denied, PolicyRejected
from authz.identity.jwks import open_keys
from authz.identity.jwt import Identifier
from authz.ledger.report import plain
from authz.policy.engine_opa import OpaEngine
from authz.policy.opa_tool import OpaTool
from authz.policy.stage import PolicyStage, open_stage
from authz.values import UNKNOWN, Request, Subject

DIFFERS: Final = 3
SHOWN: Final = 10  # lines of each kind of difference
START_S: Final = 30.0
Identify = Callable[[Request], Subject]


class Report(Struct):
    """What came of it. `differences`: what differs -> the lines of the requests."""

    requests: int = 0
    same: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    differences: dict[str, list[int]] = field(default_factory=dict)
    fields: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, fields: list[str], what: str) -> None:
        self.requests += 1
        if not fields:
            self.same += 1
            return
        self.fields.update(fields)
        self.differences.setdefault(what, []).append(line)

    def as_object(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "same": self.same,
            "unreadable": [{"line": line, "why": why} for line, why in self.unreadable.items()],
            "fields": dict(self.fields.most_common()),
            "differences": [{"what": what, "lines": lines} for what, lines in self.differences.items()],
        }

    def lines(self) -> Iterator[str]:
        yield f"{self.requests:,} requests answered by both, {self.same:,} of them alike"
        for what, lines in sorted(self.differences.items(), key=lambda item: -len(item[1])):
            named = ", ".join(map(str, lines[:SHOWN])) + (", ..." if len(lines) > SHOWN else "")
            yield f"  {len(lines):,}  {what}; line {named}"
        for line, why in self.unreadable.items():
            yield f"line {line} could not be read: {why}"


def compare(
    captured: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="CheckRequests or decision log events, one a line."),
    ],
    plugin: Annotated[str, typer.Option(metavar="HOST:PORT", help="The plugin's address, or unix:PATH.")],
    policy: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Ask this Rego in an OPA of its own."),
    ] = None,
    entry: Annotated[str, typer.Option(help="The plugin's `path`; else `policy.entry_point`.")] = "",
    state: State = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Put CAPTURED requests to a running opa-envoy-plugin and to ourselves, and show what differs.

    Without --policy the deployment's running OPA is asked. With --config identities are judged by its
    settings, at the time of each request; without, nobody's.
    """
    with explained():
        settings = _compatible(settings_of(state, config, there=policy is None), entry)
        _warnings_only()
        lines = captured.read_bytes().splitlines()
        asked = watched(enumerate(lines, 1), len(lines), "requests")
        with _opa(settings, policy) as (settings, started), _identities(settings, config) as identify:
            report = asyncio.run(_compare(settings, plugin, asked, identify, unsigned=started))
    if as_json:
        typer.echo(json.dumps(report.as_object(), indent=1))
    else:
        for text in report.lines():
            typer.echo(plain(text))
    raise typer.Exit(DIFFERS if report.differences else 2 if report.unreadable else 0)


def _warnings_only() -> None:
    """What a worker says of itself is no part of the report; what goes wrong stands on stderr."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _compatible(settings: Settings, entry: str) -> Settings:
    update: dict[str, Any] = {"compat": "opa-envoy-plugin", "engine": "opa"}
    if entry:
        update["entry_point"] = entry.strip("/")
    return settings.model_copy(update={"policy": settings.policy.model_copy(update=update)})


async def _compare(
    settings: Settings,
    address: str,
    lines: Iterable[tuple[int, bytes]],
    identify: Identify,
    *,
    unsigned: bool,
) -> Report:
    """Raises ConfigError when nothing answers at `address`, or no policy can be asked."""
    from authz.wire.plugin import captured, comparing  # here, so that other commands need not load gRPC

    report = Report()
    shadow = Shadow(settings.shadow.scope, settings.shadow.versions)
    async with _stage(settings, shadow, unsigned) as stage:
        ours, theirs = comparing.Ours(settings, stage, identify, shadow), comparing.Plugin(address)
        try:
            for number, line in lines:
                if not line.strip():
                    continue
                try:
                    message = captured.read(line)
                except ValueError as error:
                    report.unreadable[number] = str(error)
                    continue
                one, other = await theirs.ask(message), await ours.ask(message)
                report.add(number, comparing.differing(one, other), comparing.described(one, other))
        except comparing.Unreachable as error:
            raise ConfigError(f"{address}: no opa-envoy-plugin answers there: {error}") from None
        finally:
            await theirs.close()
    return report


@asynccontextmanager
async def _stage(settings: Settings, shadow: Shadow, unsigned: bool) -> AsyncIterator[PolicyStage]:
    policy = settings.policy.model_copy(update={"development_unsigned": unsigned, "timeout_ms": 10_000})
    stage = open_stage(settings.model_copy(update={"policy": policy}), activated=shadow.activated)
    await stage.start()
    try:
        if not stage.ready:
            raise ConfigError(
                f"{settings.path(policy.opa_socket)}: no OPA with a policy version; --policy names Rego"
            )
        yield stage
    finally:
        await stage.stop()


@contextmanager
def _identities(settings: Settings, config: Path | None) -> Iterator[Identify]:
    if config is None:
        yield lambda request: UNKNOWN
        return
    now = [time.time()]
    keys = open_keys(settings.identity, settings.state, time.time)
    identifier = Identifier(settings.identity, keys=keys, protected=settings.protected, wall=lambda: now[0])

    def identify(request: Request) -> Subject:
        now[0] = _asked_at(request) or time.time()
        return identifier.identify(request)

    try:
        yield identify
    finally:
        keys.close()


def _asked_at(request: Request) -> float:
    """Seconds since 1970 by Envoy's clock, 0 if it did not say."""
    attributes = request.plugin.document.get("attributes", {}) if request.plugin else {}
    return float(attributes.get("request", {}).get("time", {}).get("seconds", 0))


@contextmanager
def _opa(settings: Settings, source: Path | None) -> Iterator[tuple[Settings, bool]]:
    """Settings whose OPA has `source`, and whether it was started here; without one the running OPA's."""
    if source is None:
        yield settings, False
        return
    OpaTool().run(["check", "--bundle", "."], source)
    with tempfile.TemporaryDirectory(prefix="aegis-compare-") as name:
        socket = Path(name) / "opa.sock"
        command = [str(programs.find("opa") or "opa"), "run", "--server", "--addr", f"unix://{socket}"]
        command += ["--log-level", "error", "--skip-version-check", "--bundle", str(source.absolute())]
        process = subprocess.Popen(  # noqa: S603 - arguments are ours, no shell
            programs.tethered(*command), cwd=name, stderr=subprocess.DEVNULL
        )
        try:
            asyncio.run(_ready(process, socket))
            policy = settings.policy.model_copy(update={"opa_socket": socket})
            yield settings.model_copy(update={"policy": policy}), True
        finally:
            process.kill()
            process.wait()


async def _ready(process: subprocess.Popen[bytes], socket: Path) -> None:
    engine = OpaEngine(socket, "", connections=1)
    until = time.monotonic() + START_S
    while True:
        try:
            await engine.get("/health", 1.0)
        except Denied:
            if process.poll() is not None or time.monotonic() > until:
                raise PolicyRejected("OPA did not start with this policy") from None
            await asyncio.sleep(0.02)
        else:
            await engine.close()
            return
