"""Serves the active policy version to a stock OPA, and says how that OPA is started.

In: Versions (`policy/versions.py`), in a directory or a bucket. Out: OPA's bundle protocol with ETag and long
polling (https://www.openpolicyagent.org/docs/management-bundles). The follower mounts `bundle_app` on
loopback. A store that is away changes nothing: what was served is served. OPA itself refuses what is not
signed, since any local process could take the port.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from authz.config import Settings
from authz.errors import AegisError
from authz.policy.activation import REPORTING
from authz.policy.making import ALGORITHM, KEY_ID
from authz.policy.store import DirectoryStore
from authz.policy.store_s3 import S3Store
from authz.policy.versions import SUFFIX, Activation, Versions, written

log = structlog.get_logger(__name__)

RESOURCE: Final = "bundles/aegis"
# OPA polls long only where the server answers with this type.
CONTENT_TYPE: Final = "application/vnd.openpolicyagent.bundles"
LONGEST_WAIT_S: Final = 60
COPIED: Final = "copied"  # the folder with the entries whose bundles were copied out of a bucket
LOOK_EVERY_S: Final = 0.05
MAX_FILE: Final = 64 << 20  # bytes that one file of a bundle may unpack to; OPA's own bound is 1 GiB
_WAIT: Final = re.compile(r"(?:^|;)\s*wait=(\d{1,4})\s*(?:;|$)")


def versions_of(settings: Settings) -> Versions:
    """Where the settings say that versions are. Raises ConfigError for credentials that cannot be used."""
    s3 = settings.follower.bundle_s3
    if s3.url:
        return Versions(S3Store(s3, settings.state))
    return Versions(DirectoryStore(settings.path(settings.follower.bundle_directory)))


def copies_of(settings: Settings) -> Path:
    """The directory with every published version's bundle, for whoever reads files: that of the settings.
    With a bucket it gets what it has not yet. Raises StoreUnavailable, ConfigError.
    """
    directory = settings.path(settings.follower.bundle_directory)
    if settings.follower.bundle_s3.url:
        versions, local = versions_of(settings), DirectoryStore(directory)
        for entry in versions.entries(after=len(local.names(COPIED))):
            local.create(f"{entry.revision}{SUFFIX}", versions.published_bundle(entry))
            local.create(f"{COPIED}/{entry.number:08d}.json", written(entry))
    return directory


class Served:
    """The version that is served now; `look` finds out whether another one is to be.

    `tell` is called with each activation before it is served, and may be called with one again. One that
    cannot be told is not served.
    """

    def __init__(self, versions: Versions, tell: Callable[[Activation], None] | None = None) -> None:
        self._versions, self._tell = versions, tell
        self._turn = asyncio.Lock()
        self._looked = float("-inf")
        self.last: Activation | None = None
        self.current, self.fault = ("", b""), ""  # revision and bundle: a thread replaces both at once

    async def look(self) -> None:
        """At most as often as the store may be asked."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now - self._looked < self._versions.store.look_every_s:
                return
            try:
                await asyncio.to_thread(self._take)
            except AegisError as error:
                if self.fault != str(error):
                    log.error("policy_not_served", error=str(error))  # noqa: TRY400 - where is in the text
                self.fault = str(error)
            else:
                self.fault = ""
            self._looked = asyncio.get_running_loop().time()

    def _take(self) -> None:
        """Every activation since the last look; only the last one's bundle is read."""
        found = self._next()
        while found is not None:
            if self._tell:
                self._tell(found)
            following = self._versions.after(found.number)
            if following is None and found.revision != self.current[0]:
                self.current = (found.revision, self._versions.bundle(found.revision))
            self.last, found = found, following

    def _next(self) -> Activation | None:
        return self._versions.after(self.last.number) if self.last else self._versions.active()


def bundle_app(served: Served, stopping: Callable[[], bool] = lambda: False) -> Starlette:
    """The application; `stopping` ends waiting polls when the server wants to stop."""

    async def bundle(request: Request) -> Response:
        known = request.headers.get("if-none-match", "")
        prefer = _WAIT.search(request.headers.get("prefer", ""))
        wait = min(int(prefer[1]), LONGEST_WAIT_S) if prefer else 0
        await _newer(served, known, wait, request, stopping)
        revision, data = served.current
        if not revision:
            if served.fault:
                return PlainTextResponse("the versions cannot be read\n", status_code=503)
            return PlainTextResponse("no version is active\n", status_code=404)
        headers = {"ETag": _etag(revision), "Content-Type": CONTENT_TYPE}
        if headers["ETag"] == known:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers)

    return Starlette(routes=[Route(f"/{RESOURCE}", bundle, methods=["GET"])])


async def _newer(
    served: Served, known: str, wait_s: float, request: Request, stopping: Callable[[], bool]
) -> None:
    """Back at once if the active version is not the `known` one, else when it changes or the wait ends."""
    until = asyncio.get_running_loop().time() + wait_s
    while True:
        await served.look()
        if _etag(served.current[0]) != known or stopping():
            return
        if asyncio.get_running_loop().time() >= until or await request.is_disconnected():
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _etag(revision: str) -> str:
    return f'"{revision}"'


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
