"""Deletes whole segments in two phases, so that nothing goes unsaid and every proof of the rest holds.

    may go -> plan: said, due after the grace -> still may, no hold: archived, said -> said durably in the
    control log -> hashes kept, disclosures and their keys gone, file removed

    <state>/retention/<worker>/<epoch>/<segment>.json     how far a segment is

In: the ledgers, holds, the outbox. Out: what a round did. Called by the follower, and by `aegis prune`, one
round at a time. It may be killed anywhere: each step is done again, or was. It never touches the epochs that
a worker's start reads, one that is not sealed to its end, the control log, nor a segment in which a hold
covers an entry. What cannot be read raises, and is deleted by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from authz.config_retention import Retention as Settings
from authz.errors import IntegrityViolation
from authz.followers.durable import Extent
from authz.followers.durable_files import make_directories, sync_directory
from authz.followers.durable_files import replace as write
from authz.followers.retention.archived import Archive
from authz.followers.retention.terms import held, term
from authz.ledger import control, files, pruned, reader
from authz.ledger.disclosures import place
from authz.ledger.disclosures.vault import Vault
from authz.ledger.journal import SEGMENT_ENTRIES, Disk, segment_name

WHO: Final = "retention"
KEPT_EPOCHS: Final = 2  # of more than one entry, the newest of a worker: what a start may read


class Step(Struct, frozen=True, omit_defaults=True):
    """`rule`: the settings by which `until` was found. `due`: when a `planned` segment goes."""

    rule: str
    until: str
    by: str
    phase: Literal["stays", "planned", "deleting"] = "stays"
    due: str = ""
    archive: str = ""
    archive_sha256: str = ""


class Did(Struct, frozen=True):
    """What a round did with segment `number` of `log`: `what` is planned, waits, deleted or held."""

    log: str
    number: int
    what: str


class Outbox(Protocol):
    def put(self, kind: str, members: Mapping[str, Any], *, once: str = "") -> None: ...
    def waits(self, kind: str, members: Mapping[str, Any]) -> bool: ...


class Pruning:
    """`extents()` are the epochs below the ledgers; `covering()` gives what names the hold over an entry."""

    def __init__(
        self,
        settings: Settings,
        steps: Path,
        extents: Callable[[], list[Extent]],
        covering: Callable[[], Callable[[Mapping[str, Any]], str]],
        outbox: Outbox,
        *,
        vault: Vault | None = None,
        archive: Archive | None = None,
        dry_run: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._steps, self._extents, self._covering = settings, steps, extents, covering
        self._outbox, self._vault, self._archive, self._now = outbox, vault, archive, now
        self._dry_run = dry_run
        self._rule = msgspec.json.encode(settings.model_dump(mode="json", exclude={"archive"})).decode()

    def round(self) -> list[Did]:
        """Raises OSError, EvidenceUnavailable, IntegrityViolation, ConfigError; what was done stays."""
        covering = self._covering()
        looked = (
            Did(extent.log, number, self._look(extent, number, covering))
            for extent in self._prunable()
            for number in files.segments(extent.directory).numbers
        )
        return [did for did in looked if did.what]

    def _prunable(self) -> Iterator[Extent]:
        """Epochs that are whole, all of them under a checkpoint, and not among those a start may read."""
        newest: dict[str, int] = {}
        for extent in reversed(self._extents()):
            seen = newest.get(extent.worker, 0)
            newest[extent.worker] = seen + (extent.size > 1)
            note, _ = files.checkpoint(extent.directory)
            sealed = int(note.split(b"\n", 2)[1]) if note else 0
            whole = extent.whole and sealed == extent.size > 0
            if seen >= KEPT_EPOCHS and whole and extent.worker != control.WORKER:
                yield extent

    def _look(self, extent: Extent, number: int, covering: Callable[[Mapping[str, Any]], str]) -> str:
        """One step with one segment; what it was, "" for none."""
        step = self._step(extent, number)
        now = _text(self._now())
        if step is None or step.until > now:
            return ""
        if holder := held(self._entries(extent, number), covering):
            if step.phase != "stays" and not self._dry_run:
                self._store(extent, number, Step(step.rule, step.until, step.by))
            return f"held by {holder}"
        if self._dry_run:
            return f"may go since {step.until}: {step.phase}"
        if step.phase == "stays":
            return self._plan(extent, number, step)
        if step.phase == "planned":
            return self._announce(extent, number, step) if step.due <= now else f"planned, due {step.due}"
        return self._delete(extent, number, step)

    # -- the steps

    def _plan(self, extent: Extent, number: int, step: Step) -> str:
        due = _text(self._now() + timedelta(days=self._settings.grace_days))
        planned = replace(step, phase="planned", due=due)
        said = self._said(extent, number, planned) | {"action": "plan", "due": due}
        self._outbox.put("prune", said, once=f"prune plan {extent.log} {number} {due}")
        self._store(extent, number, planned)
        return f"planned, due {due}"

    def _announce(self, extent: Extent, number: int, step: Step) -> str:
        if self._archive:
            file = extent.directory / "entries" / segment_name(number * SEGMENT_ENTRIES)
            archived = self._archive.put(extent.log, number, file)
            step = replace(step, archive=archived.place, archive_sha256=archived.sha256)
        deleting = replace(step, phase="deleting")
        said = self._deletion(extent, number, deleting)
        self._outbox.put("prune", said, once=f"prune delete {extent.log} {number} {step.due}")
        self._store(extent, number, deleting)
        return "announced"

    def _delete(self, extent: Extent, number: int, step: Step) -> str:
        if self._outbox.waits("prune", self._deletion(extent, number, step)):
            return "announced; the control log has not got it yet"
        directory, disk = extent.directory, Disk()
        file = directory / "entries" / segment_name(number * SEGMENT_ENTRIES)
        try:
            pruned.keep(directory, number, _size(extent, number), disk)
        except ValueError as error:
            raise IntegrityViolation(str(error), file=str(file)) from None
        self._drop_disclosures(directory, number)
        file.unlink()
        disk.sync_directory(file.parent)
        self._file(extent, number).unlink()
        return "deleted"

    def _drop_disclosures(self, directory: Path, number: int) -> None:
        if not (directory / place.DIRECTORY).is_dir():
            return
        with place.changing(directory):
            place.file(directory, number).unlink(missing_ok=True)
            sync_directory(directory / place.DIRECTORY)
            for stored in list(self._vault.stored(directory)) if self._vault else ():
                if self._vault and stored.number == number:
                    self._vault.destroy(stored)

    def _said(self, extent: Extent, number: int, step: Step) -> dict[str, Any]:
        return {
            "who": WHO,
            "why": f"kept until {step.until}",
            "class": step.by,
            "of": extent.log,
            "first_segment": number,
            "last_segment": number,
            "entries": _size(extent, number),
        }

    def _deletion(self, extent: Extent, number: int, step: Step) -> dict[str, Any]:
        said = self._said(extent, number, step) | {"action": "delete"}
        if step.archive:
            said |= {"archive": step.archive, "archive_sha256": step.archive_sha256}
        return said

    # -- what is known of a segment

    def _step(self, extent: Extent, number: int) -> Step | None:
        """None while a look at its last entry is enough to say that it stays."""
        stored = self._load(extent, number)
        if stored and (stored.rule == self._rule or stored.phase == "deleting"):
            return stored
        end = number * SEGMENT_ENTRIES + _size(extent, number)
        last = next(reader.entries(extent.directory, end - 1), None)
        if last is None:
            return None
        latest = datetime.fromisoformat(str(last.members().get("timestamp")))
        if latest + timedelta(days=self._settings.least_days) > self._now():
            return None
        found = term(self._entries(extent, number), self._settings)
        step = Step(self._rule, found.until, found.by)
        if stored and stored.phase == "planned":
            step = replace(step, phase="planned", due=stored.due)
        self._store(extent, number, step)
        return step

    def _entries(self, extent: Extent, number: int) -> Iterator[Mapping[str, Any]]:
        first = number * SEGMENT_ENTRIES
        for found in reader.entries(extent.directory, first):
            if found.seq >= first + SEGMENT_ENTRIES:
                return
            yield found.members()

    def _load(self, extent: Extent, number: int) -> Step | None:
        try:
            return msgspec.json.decode(self._file(extent, number).read_bytes(), type=Step)
        except (FileNotFoundError, msgspec.DecodeError):  # found again from the entries
            return None

    def _store(self, extent: Extent, number: int, step: Step) -> None:
        file = self._file(extent, number)
        make_directories(file.parent)
        write(file, msgspec.json.encode(step))

    def _file(self, extent: Extent, number: int) -> Path:
        return self._steps / extent.worker / extent.directory.name / f"{number:08d}.json"


def _size(extent: Extent, number: int) -> int:
    """How many entries a segment of a whole epoch has."""
    return min(SEGMENT_ENTRIES, extent.size - number * SEGMENT_ENTRIES)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
