"""Follows the bundles' server as OPA would: ETag, long polling, signature, and the last good version on disk.

In: what an OPA would be told (`aegis policy opa-config`). Out: every new signed bundle, given to `take` on a
thread of this module; why the last one was not taken. Started by `engine_wasm.py`. What `take` refuses, or
what is not signed, changes nothing: the version before stays, and the same bytes are not tried again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from authz import http_client
from authz.errors import ConfigError, PolicyRejected
from authz.policy.activation import NOT_DOWNLOADED, Failure
from authz.policy.signed import MAX_BUNDLE, BundleRejected, verified

log = structlog.get_logger(__name__)

PAUSE_S: Final = 1.0
_FIRST_TIMEOUT_S: Final = 2.0
_SLACK_S: Final = 10.0  # of an answer to a long poll

Files = dict[str, bytes]


class Told(Struct, frozen=True):
    """Of OPA's configuration what is needed here. `wait_s`: of one long poll."""

    url: str
    key_id: str
    algorithm: str
    public_key: str
    wait_s: int


def read_told(file: Path) -> Told:
    """Raises ConfigError, naming the file, for a configuration of another form than we print."""
    try:
        tree: dict[str, Any] = json.loads(file.read_text())
        (bundle,) = tree["bundles"].values()
        key = tree["keys"][bundle["signing"]["keyid"]]
        return Told(
            url=f"{tree['services'][bundle['service']]['url'].rstrip('/')}/{bundle['resource']}",
            key_id=bundle["signing"]["keyid"],
            algorithm=key["algorithm"],
            public_key=key["key"],
            wait_s=int(bundle["polling"].get("long_polling_timeout_seconds", 20)),
        )
    except OSError as error:
        raise ConfigError(f"policy.wasm.opa_config: {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"policy.wasm.opa_config: {file}: not what `aegis policy opa-config` prints"
        ) from None


class BundleSource:
    """One thread that asks for the next bundle, and has the last good one in `kept`.

    `take` gets a bundle's files and raises PolicyRejected for those it cannot use. `failure` is why what the
    server has is not in force: that it is away, or what was wrong with its bundle; None while it is.
    """

    def __init__(self, told: Told, kept: Path, take: Callable[[Files], None]) -> None:
        self.failure: Failure | None = None
        self._told, self._kept, self._take = told, kept, take
        self._url = urlsplit(told.url)
        self._etag = ""
        self._refusal: Failure | None = None  # of the bundle that has the ETag
        self._active = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="policy bundles", daemon=True)

    def first(self) -> None:
        """Look once without waiting; without a version from it take what was kept. Called before `start`."""
        self._look(0, _FIRST_TIMEOUT_S)
        if not self._active:
            self._from_disk()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A poll that is under way ends by itself, and changes nothing any more."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            if not self._look(self._told.wait_s, self._told.wait_s + _SLACK_S):
                self._stopping.wait(PAUSE_S)

    def _look(self, wait_s: int, timeout_s: float) -> bool:
        """Ask once; whether there was an answer that says what is active."""
        headers = {"Prefer": f"modes=snapshot;wait={wait_s}"} if wait_s else {}
        if self._etag:
            headers["If-None-Match"] = self._etag
        tls = http_client.trust(None) if self._url.scheme == "https" else None
        try:
            answer = http_client.request(
                self._url, most=MAX_BUNDLE, timeout_s=timeout_s, tls=tls, headers=headers
            )
        except http_client.Unanswered as error:
            self._say(Failure(NOT_DOWNLOADED, str(error)))
            return False
        if answer.status == 304:
            self._say(self._refusal)
            return True
        if answer.status != 200:
            self._say(Failure(NOT_DOWNLOADED, f"{self._told.url}: HTTP {answer.status}"))
            return False
        self._etag, self._refusal = answer.headers.get("ETag", ""), self._refused(answer.body)
        if self._refusal is None:
            self._keep(answer.body)
        self._say(self._refusal)
        return bool(self._etag)

    def _refused(self, bundle: bytes) -> Failure | None:
        """Take it; why that was not possible, None if it is in force."""
        told = self._told
        try:
            files = verified(bundle, told.public_key, told.key_id, told.algorithm)
            if not self._stopping.is_set():
                self._take(files)
        except PolicyRejected as error:
            code = error.code if isinstance(error, BundleRejected) else "not_activated"
            return Failure(code, str(error))
        except Exception as error:  # a fault of ours: the next version may be well, so that following goes on
            log.exception("policy_bundle_fault")
            return Failure("not_activated", f"a fault of ours: {type(error).__name__}")
        self._active = True
        return None

    def _say(self, failure: Failure | None) -> None:
        if failure and (self.failure is None or self.failure.code != failure.code):
            log.warning("policy_bundle_not_taken", code=failure.code, detail=failure.detail)
        self.failure = failure

    def _from_disk(self) -> None:
        try:
            bundle = self._kept.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("policy_kept_unreadable", file=str(self._kept), error=error.strerror)
            return
        refusal = self._refused(bundle)
        if refusal:
            log.warning(
                "policy_kept_not_taken", file=str(self._kept), code=refusal.code, detail=refusal.detail
            )
        else:
            log.warning("policy_from_disk", file=str(self._kept))

    def _keep(self, bundle: bytes) -> None:
        """So that a worker that starts while the server is away has policy. Without a disk it goes on."""
        beside = self._kept.with_name(f".{self._kept.name}.{os.getpid()}")
        try:
            self._kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(bundle)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._kept)
        except OSError as error:
            log.warning("policy_not_kept", file=str(self._kept), error=error.strerror)
