"""What can be known of a deployment from outside: its files, its loopback metrics, and OPA's socket.

In: the settings. Out: a Deployment; what does not answer is None, with the reason in `away`. Nothing is
written, and nothing is asked of a worker but what a scrape asks. What others wrote may be hostile: nothing of
it is for a terminal yet.
"""

from __future__ import annotations

import http.client
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from authz import canonical
from authz.config import Settings
from authz.errors import AegisError, IntegrityViolation
from authz.followers import bundles
from authz.ledger import files, notes
from authz.ledger.recent import Cursor
from authz.policy.activation import Failure, read_failure
from authz.policy.engine import BUNDLES, STATUS
from authz.up.probe import get


class Scrape(Struct, frozen=True):
    """One process's metrics, `values[name, labels]`, and why it calls itself not ready."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    not_ready: tuple[str, ...]

    def value(self, name: str) -> float:
        """The sum over all labels, 0 where there is none."""
        return sum(value for (found, _), value in self.values.items() if found == name)

    def of(self, name: str, label: str) -> dict[str, float]:
        """By the value of `label`."""
        series = ((dict(labels), value) for (found, labels), value in self.values.items() if found == name)
        return {labels.get(label, ""): value for labels, value in series}

    def labels(self, name: str) -> dict[str, str]:
        """Of the one series that is there; {} without any."""
        return next((dict(labels) for found, labels in self.values if found == name), {})


class Opa(Struct, frozen=True):
    """`revision` is "" where it has none of ours; `activated` as it says itself, RFC 3339."""

    revision: str
    activated: str
    version: str
    failure: Failure | None


class Log(Struct, frozen=True):
    """A worker's newest log: `entries` on disk, `sealed` of them by its checkpoint; the time of the last."""

    worker: str
    name: str
    entries: int
    sealed: int
    last: str


class Deployment(Struct):
    """`away`: by worker, follower, opa, why it does not answer. `named`: the revision that is to be active,
    "" where none is, None where the versions are not here or cannot be read.
    """

    worker: Scrape | None = None
    follower: Scrape | None = None
    opa: Opa | None = None
    named: str | None = None
    logs: list[Log] = []
    damage: str = ""
    away: dict[str, str] = {}


def read(settings: Settings) -> Deployment:
    """Everything that there is to be known now."""
    found = Deployment()
    for name, address in (("worker", settings.listen.metrics), ("follower", settings.follower.metrics)):
        try:
            setattr(found, name, scrape(address))
        except (OSError, http.client.HTTPException, ValueError) as error:
            found.away[name] = _why(error)
    try:
        found.opa = ask(settings.path(settings.policy.opa_socket))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        found.away["opa"] = _why(error)
    follower = settings.follower
    if follower.bundle_s3.url or settings.path(follower.bundle_directory).is_dir():
        with suppress(AegisError):
            active = bundles.versions_of(settings).active()
            found.named = active.revision if active else ""
    try:
        found.logs = newest(settings.ledger_directory.parent)
    except (IntegrityViolation, OSError) as error:
        found.damage = str(error)
    return found


def scrape(address: str) -> Scrape:
    """Raises OSError, HTTPException or ValueError without an answer in the form of Prometheus."""
    if not address:
        raise ValueError("its metrics are turned off")
    status, text = get(address, "/metrics")
    if status != 200:
        raise ValueError(f"HTTP {status} for /metrics")
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode("utf-8", "replace"))
        for sample in family.samples
    }
    status, said = get(address, "/readyz")
    return Scrape(values, () if status == 200 else tuple(said.decode("utf-8", "replace").splitlines()))


def ask(socket: Path) -> Opa:
    """What the OPA at `socket` has. Raises OSError, HTTPException, or for an answer of another form
    ValueError, TypeError, KeyError or AttributeError.
    """
    loaded = _json(socket, BUNDLES).get("result") or {}
    revisions = [str(bundle["manifest"].get("revision", "")) for bundle in loaded.values()]
    status = _json(socket, STATUS)  # an OPA that was told nothing of it answers with an error
    told = status.get("result") or {}
    bundle: dict[str, Any] = next(iter((told.get("bundles") or {}).values()), {})
    return Opa(
        revisions[0] if len(revisions) == 1 else "",
        str(bundle.get("last_successful_activation", "")),
        str((told.get("labels") or {}).get("version", "")),
        read_failure(status),
    )


def _json(socket: Path, path: str) -> dict[str, Any]:
    _, body = get(socket, path)
    answer = orjson.loads(body)
    if not isinstance(answer, dict):
        raise TypeError(f"{path}: not an object")
    return answer


def newest(ledgers: Path) -> list[Log]:
    """The newest log of each worker below `ledgers`. Raises IntegrityViolation, OSError."""
    if not ledgers.is_dir():
        return []
    places = sorted(files.discover(ledgers)[0], key=lambda place: place.below)
    latest = {place.below[:-1]: place for place in places}  # names of epochs begin with the time
    return [_log(place) for place in latest.values()]


def _log(place: files.Place) -> Log:
    last = next(Cursor.at_end(place.path).back(), b"{}")
    checkpoint, fault = files.checkpoint(place.path)
    try:
        entry = canonical.parse(last)
        sealed = notes.parse(checkpoint).size if checkpoint else 0
        entries = int(entry.get("seq", -1)) + 1
    except (ValueError, TypeError) as error:
        raise IntegrityViolation(str(error), file=str(place.path)) from None
    if fault:
        raise IntegrityViolation(fault.what, file=fault.file)
    return Log("/".join(place.below[:-1]), place.path.name, entries, sealed, str(entry.get("timestamp", "")))


def _why(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said or type(error).__name__
