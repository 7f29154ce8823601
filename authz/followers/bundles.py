"""Serves the active policy version to a stock OPA, and says how that OPA is started.

In: a bundle directory with published versions (`policy/version.py`) and a pointer file `active`, one line
with the file name of the version to serve. Out: OPA's bundle protocol with ETag and long polling
(https://www.openpolicyagent.org/docs/management-bundles). The follower mounts `bundle_app` on loopback. It
never changes a published file; OPA itself refuses what is not signed, since any local process could take
the port.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from authz.errors import PolicyRejected
from authz.policy.activation import REPORTING
from authz.policy.manifest import split_revision
from authz.policy.version import ALGORITHM, KEY_ID, SUFFIX, sync_directory

RESOURCE: Final = "bundles/aegis"
# OPA polls long only where the server answers with this type.
CONTENT_TYPE: Final = "application/vnd.openpolicyagent.bundles"
POINTER: Final = "active"
LONGEST_WAIT_S: Final = 60
LOOK_EVERY_S: Final = 0.05
MAX_FILE: Final = 64 << 20  # bytes that one file of a bundle may unpack to; OPA's own bound is 1 GiB
_WAIT: Final = re.compile(r"(?:^|;)\s*wait=(\d{1,4})\s*(?:;|$)")


def activate(directory: Path, version: str) -> str:
    """Make the published `version` (its name, or a whole revision) the one that is served; its revision.

    Raises PolicyRejected if no such version is published.
    """
    revision = published(directory, version)
    beside = directory / f".{POINTER}.{os.getpid()}"
    with beside.open("w") as file:
        file.write(f"{revision}{SUFFIX}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(directory / POINTER)
    sync_directory(directory)  # or an older version could be active after a loss of power
    return revision


def published(directory: Path, version: str) -> str:
    """The revision of the published `version` (its name, or a whole revision). Raises PolicyRejected."""
    found = [file for file in directory.glob(f"*{SUFFIX}") if version in _names(file)]
    if len(found) != 1:
        raise PolicyRejected(f"{version} is not published in {directory}")
    return revision_of(found[0])


def active(directory: Path) -> Path | None:
    """The file of the active version, None before the first activation."""
    try:
        name = (directory / POINTER).read_text().strip()
    except FileNotFoundError:
        return None
    file = directory / name
    return file if "/" not in name and split_revision(revision_of(file)) and file.is_file() else None


def bundle_app(directory: Path, stopping: Callable[[], bool] = lambda: False) -> Starlette:
    """The application; `stopping` ends waiting polls when the server wants to stop."""

    async def bundle(request: Request) -> Response:
        known = request.headers.get("if-none-match", "")
        prefer = _WAIT.search(request.headers.get("prefer", ""))
        wait = min(int(prefer[1]), LONGEST_WAIT_S) if prefer else 0
        file = await _newer(directory, known, wait, request, stopping)
        if file is None:
            return PlainTextResponse("no version is active\n", status_code=404)
        headers = {"ETag": _etag(file), "Content-Type": CONTENT_TYPE}
        if headers["ETag"] == known:
            return Response(status_code=304, headers=headers)
        return Response(await asyncio.to_thread(file.read_bytes), headers=headers)

    return Starlette(routes=[Route(f"/{RESOURCE}", bundle, methods=["GET"])])


async def _newer(
    directory: Path, known: str, wait_s: float, request: Request, stopping: Callable[[], bool]
) -> Path | None:
    """The active version, at once if it is not the `known` one, else when it changes or the wait ends."""
    until = asyncio.get_running_loop().time() + wait_s
    while True:
        file = active(directory)
        current = file is not None and _etag(file) == known
        if not current or stopping() or asyncio.get_running_loop().time() >= until:
            return file
        if await request.is_disconnected():
            return file
        await asyncio.sleep(LOOK_EVERY_S)


def revision_of(file: Path) -> str:
    """What a published version's file is called after."""
    return file.name.removesuffix(SUFFIX)


def _names(file: Path) -> tuple[str, ...]:
    """What the version in `file` may be called: its revision, or the part before the `+`."""
    halves = split_revision(revision_of(file))
    return (revision_of(file), halves[0]) if halves else ()


def _etag(file: Path) -> str:
    return f'"{revision_of(file)}"'


def opa_config(
    bundles_url: str, public_key: str, *, wait_s: int = 20, persist: Path | None = None
) -> dict[str, Any]:
    """OPA's configuration: one signed bundle from `bundles_url` (`http://HOST:PORT`), nothing else.

    `public_key` is PEM. With `persist` OPA keeps the last bundle there and starts with it (signature checked
    again) while the follower is down.
    """
    bundle: dict[str, Any] = {
        "service": "aegis",
        "resource": RESOURCE,
        "signing": {"keyid": KEY_ID},
        "size_limit_bytes": MAX_FILE,
        "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1, "long_polling_timeout_seconds": wait_s},
    }
    config: dict[str, Any] = {
        "services": {"aegis": {"url": bundles_url}},
        "keys": {KEY_ID: {"algorithm": ALGORITHM, "key": public_key}},
        "bundles": {"aegis": bundle},
        "status": REPORTING,
    }
    if persist is not None:
        bundle["persist"] = True
        config["persistence_directory"] = str(persist)
    return config


def opa_command(socket: Path, config: Path, *, opa: str = "opa") -> list[str]:
    """The command line of a private OPA: a Unix socket of mode 0700, no TCP, errors logged only (info
    logging adds 60 to 90 us to every decision), data kept in the form that Rego reads (saves 20 of the
    default library's 350 us), no calls home. The socket's directory should be 0700 too: OPA binds before it
    sets the mode.
    """
    return [
        *(opa, "run", "--server", "--config-file", str(config)),
        *("--addr", f"unix://{socket.absolute()}", "--unix-socket-perm", "0700"),
        *("--log-level", "error", "--skip-version-check", "--optimize-store-for-read-speed"),
    ]
