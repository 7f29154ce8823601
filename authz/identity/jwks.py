"""The public keys that sign agents' tokens, from the issuer's own URL, fetched in the background.

In: answers of `identity.jwks_url`. Out: what `keyset.KeySet` gives for a file. Called by `jwt.py`, which
never waits: a thread of its own asks, and `refresh` takes what has arrived. An answer that cannot be used
leaves the keys of before; `age_s` counts from when the last good answer was asked for, and beyond
`identity.keys_max_age_s` nobody is believed any more (`identity_keys_stale`).

    next request = the answer's max-age, at least `jwks_early_s`, at most `jwks_refresh_s`
    an unknown kid: at once, but never within `jwks_early_s` of the last request, however many ask
    after a failure: 1 s, 2 s, 4 s, ... up to `jwks_refresh_s`
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import structlog
from jwt import PyJWK

from authz import http_client
from authz.config_identity import Identity
from authz.errors import KeyUnusable
from authz.identity.fetch import Fetched, fetch
from authz.identity.keyset import Keys, KeySet, parse_keys

log = structlog.get_logger(__name__)

_LONGEST_BACK_OFF: Final = 16  # doublings: beyond every `jwks_refresh_s`


class _Known(NamedTuple):
    """What the thread knows; replaced as a whole, so that the event loop reads it without a lock."""

    keys: dict[str, PyJWK]
    digest: bytes
    asked_at: float  # wall
    problem: str


class Schedule:
    """When to ask. Times are of a monotonic clock, seconds."""

    def __init__(self, refresh_s: float, early_s: float) -> None:
        self._refresh_s, self._early_s = refresh_s, early_s
        self._failures = 0
        self._last = -math.inf
        self._next = -math.inf

    def due(self, wanted: bool) -> float:
        """From when on to ask; `wanted`: a key is missing."""
        return min(self._next, self._last + self._early_s) if wanted else self._next

    def asked(self, now: float) -> None:
        self._last = now

    def succeeded(self, max_age_s: float | None) -> None:
        self._failures = 0
        wanted = self._refresh_s if max_age_s is None else max_age_s
        self._next = self._last + min(max(wanted, self._early_s), self._refresh_s)

    def failed(self) -> None:
        wait = 2.0 ** min(self._failures, _LONGEST_BACK_OFF)
        self._failures += 1
        self._next = self._last + min(wait, self._refresh_s)


class RemoteKeys:
    """The keys at `settings.jwks_url`. `wall` gives seconds since 1970."""

    def __init__(
        self,
        settings: Identity,
        authorities: Path | None,
        wall: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins to ask. `authorities`: CAs in PEM instead of the system's. Raises KeyUnusable for them."""
        self._url = urlsplit(settings.jwks_url)
        self._algorithms = frozenset(settings.algorithms)
        self._timeout_s = settings.jwks_timeout_s
        self._tls = http_client.trust(authorities) if self._url.scheme == "https" else None
        self._wall, self._monotonic = wall, monotonic
        self._schedule = Schedule(settings.jwks_refresh_s, settings.jwks_early_s)
        self._etag = ""
        self._known = self._taken = _Known({}, b"", -math.inf, "")  # what has arrived, what is in use
        self._wanted = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="agent keys", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why the last answer could not be used, "" when it could."""
        return self._known.problem

    @property
    def keys(self) -> dict[str, PyJWK]:
        """Those in use."""
        return self._taken.keys

    @property
    def age_s(self) -> float:
        """Seconds since the keys in use were last asked for with success; infinite before that."""
        return self._wall() - self._taken.asked_at

    def refresh(self) -> bool:
        """Take what has arrived; True if `keys` changed."""
        before, self._taken = self._taken, self._known
        return before.digest != self._taken.digest

    def missing(self) -> None:
        """A token named a key that is not there: perhaps it is new."""
        if not self._wanted:
            with self._changed:
                self._wanted = True
                self._changed.notify()

    def close(self) -> None:
        """End asking. A request that is under way ends by its time-out, and is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            self._schedule.asked(self._monotonic())
            asked_at = self._wall()
            try:
                answer = fetch(self._url, self._etag, self._timeout_s, self._tls)
                self._take(answer, asked_at)
            except KeyUnusable as error:
                self._schedule.failed()
                self._fail(str(error))
            else:
                self._schedule.succeeded(answer.max_age_s)

    def _wait(self) -> bool:
        """Until it is time to ask; False once closed."""
        with self._changed:
            while not self._closed:
                left = self._schedule.due(self._wanted) - self._monotonic()
                if left <= 0:
                    self._wanted = False
                    return True
                self._changed.wait(left)
        return False

    def _take(self, answer: Fetched, asked_at: float) -> None:
        known = self._known._replace(asked_at=asked_at, problem="")
        if answer.body is not None:
            digest = hashlib.sha256(answer.body).digest()
            if digest != known.digest:
                keys = parse_keys(answer.body, self._algorithms, self._url.geturl())
                known = known._replace(keys=keys, digest=digest)
                log.info("agent_keys_read", url=self._url.geturl(), keys=len(keys))
            self._etag = answer.etag
        self._known = known

    def _fail(self, why: str) -> None:
        if why != self._known.problem:
            log.error("agent_keys_unusable", why=why, kept=len(self._known.keys))
        self._known = self._known._replace(problem=why)


def open_keys(settings: Identity, state: Path, wall: Callable[[], float]) -> Keys:
    """The keys that the settings name: at a URL, else in a file. Raises KeyUnusable."""
    if settings.jwks_url:
        return RemoteKeys(settings, settings.jwks_ca and state / settings.jwks_ca, wall)
    return KeySet(state / settings.jwks, settings.algorithms, wall)
