"""What others outside have seen of logs, read from files that somebody gives to a verifier.

    <20-digit size>             a checkpoint as it was given outside
    <20-digit size>.cosigned    the same with the cosignatures of witnesses
    <20-digit size>.tsr         an RFC 3161 response over the bytes of the file without `.tsr`

In: directories of such files (`<log>/<20-digit size>`, as the follower, S3 and the copies have them) or
single files, Trust. Out: Anchors whose every signature was checked, and the first fault of each file that
does not hold. Called by `aegis verify`. Nothing that is given makes it raise; OSError only says that
something could not be read. It does not know the logs: `Given` says what a log must agree with.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from authz.ledger import files, notes, timestamps
from authz.ledger.report import Dated, Fault
from authz.ledger.trust import Trust

MAX_DEPTH: Final = 8  # directories between what was given and an anchor
MAX_FILES: Final = 4_000_000  # taken from what was given: seven years of one a minute
_NAME: Final = re.compile(r"([0-9]{20})(\.cosigned|\.tsr)?")


class Anchor(Struct, frozen=True):
    """`size` entries of `log` had `root`, signed by its key; `at` is when (Unix seconds) according to `by`.

    0 means that nobody whose word counts says when. `until`: when its log key was revoked.
    """

    log: str
    size: int
    root: bytes
    file: str
    by: str = ""
    at: float = 0.0
    until: float = math.inf

    @property
    def counts(self) -> bool:
        """Whether the key had the say: a revoked one has none but for what is dated before that."""
        return self.until == math.inf or (bool(self.by) and self.at < self.until)


class Given(Struct, frozen=True):
    """All anchors, by log. `unused` says what of the given could not count, and why."""

    anchors: dict[str, list[Anchor]] = {}
    faults: tuple[Fault, ...] = ()
    unused: tuple[str, ...] = ()

    def sizes(self, log: str) -> set[int]:
        """The sizes at which the roots of `log` are to be compared."""
        return {anchor.size for anchor in self.anchors.get(log, ())}

    def contradicting(self, log: str, entries: int, roots: dict[int, bytes]) -> Anchor | None:
        """The first anchor that saw more of `log` than the `entries` that are here with these roots by size,
        or saw others.
        """
        for anchor in self.anchors.get(log, ()):
            if anchor.size > entries or roots[anchor.size] != anchor.root:
                return anchor
        return None

    def comparable(self, log: str, entries: int, roots: dict[int, bytes]) -> Given:
        """Without the anchors of `log` at sizes whose roots cannot be had any more, since the entries around
        them were pruned: what is not compared dates nothing.
        """
        known = self.anchors.get(log, [])
        kept = [anchor for anchor in known if anchor.size > entries or anchor.size in roots]
        if len(kept) == len(known):
            return self
        lost = f"{len(known) - len(kept)} anchors of {log}: of sizes whose entries were pruned"
        return Given({**self.anchors, log: kept}, self.faults, (*self.unused, lost))

    def newest(self, log: str) -> tuple[Dated, ...]:
        """For each who dated anchors of `log`, the largest size and the earliest date for that."""
        best: dict[str, Anchor] = {}
        for anchor in self.anchors.get(log, ()):
            known = best.get(anchor.by)
            if known is None or (anchor.size, -anchor.at) > (known.size, -known.at):
                best[anchor.by] = anchor
        return tuple(
            Dated(anchor.size, by, _text(anchor.at), anchor.at, anchor.file)
            for by, anchor in sorted(best.items())
        )

    def size_before(self, log: str, moment: float) -> int:
        """How many entries of `log` are proven to have been there before `moment` (Unix seconds): what a key
        signed below that size counts although it was revoked then (EVIDENCE section 7).
        """
        dated = (anchor.size for anchor in self.anchors.get(log, ()) if anchor.by and anchor.at < moment)
        return max(dated, default=0)


def read(paths: Iterable[Path], trust: Trust) -> Given:
    """Raises OSError for a path that is not there or cannot be read."""
    reading = _Reading(trust)
    for path in paths:
        for file in _files(path, 0):
            reading.take(file)
    return Given(reading.anchors, tuple(reading.faults), tuple(sorted(reading.unused)))


def _files(path: Path, depth: int) -> Iterator[Path]:
    """`path` if it is a file, else the regular files below it that are called like anchors."""
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        if depth == 0 or _NAME.fullmatch(path.name):
            yield path
    elif stat.S_ISDIR(mode) and depth <= MAX_DEPTH:
        for name in sorted(os.listdir(path)):
            yield from _files(path / name, depth + 1)


class _Reading:
    """What was taken so far. Only the first MAX_FILES files are; that there were more is a fault."""

    def __init__(self, trust: Trust) -> None:
        self._trust, self._count = trust, 0
        self.anchors: dict[str, list[Anchor]] = {}
        self.faults: list[Fault] = []
        self.unused: set[str] = set()

    def take(self, file: Path) -> None:
        self._count += 1
        try:
            if self._count > MAX_FILES:
                raise ValueError(f"more than {MAX_FILES} files of anchors")
            for anchor in self._stamped(file) if file.suffix == ".tsr" else self._signed(file):
                if not anchor.counts:
                    self.unused.add(f"{file}: by a log key that was revoked, and not dated before that")
                    continue
                self.anchors.setdefault(anchor.log, []).append(anchor)
        except ValueError as error:
            self.faults.append(Fault(str(error), str(file)))

    def _signed(self, file: Path) -> Iterator[Anchor]:
        """The checkpoint, and what its witnesses say."""
        anchor, checkpoint = self._checkpoint(file, _bytes(file, notes.MAX_NOTE))
        yield anchor
        policy = self._trust.witnesses
        if policy is None:
            if any(line.name != checkpoint.log for line in checkpoint.signatures):
                self.unused.add("cosignatures: the trust file pins no `witnesses`")
            return
        met = policy.met_at(policy.times(checkpoint))
        if met is not None:
            yield _by(anchor, "witnesses", met)
        elif file.suffix == ".cosigned":
            self.unused.add(f"{file}: fewer cosignatures than the quorum of `witnesses`")

    def _stamped(self, file: Path) -> Iterator[Anchor]:
        message = _bytes(file.with_suffix(""), notes.MAX_NOTE)
        anchor, _ = self._checkpoint(file.with_suffix(""), message)
        if not self._trust.tsa_roots:
            self.unused.add("time stamps: the trust file pins no `tsa_roots`")
            return
        latest = timestamps.check(_bytes(file, timestamps.MAX_RESPONSE), message, self._trust.tsa_roots)
        yield _by(anchor, "time stamp", latest.timestamp())

    def _checkpoint(self, file: Path, note: bytes) -> tuple[Anchor, notes.Checkpoint]:
        checkpoint = notes.parse(note)
        publics = self._trust.log_keys_of(checkpoint.log)
        if not publics:
            raise ValueError(f"no key is pinned for {checkpoint.log}")
        signers = notes.signers(checkpoint, publics)
        if not signers:
            raise ValueError("not signed by a pinned key of its log")
        found = _NAME.fullmatch(file.name)
        if found and int(found[1]) != checkpoint.size:
            raise ValueError(f"a checkpoint of {checkpoint.size} entries under the name of another size")
        until = self._trust.counts_until(signers)
        return Anchor(checkpoint.log, checkpoint.size, checkpoint.root, str(file), until=until), checkpoint


def _by(anchor: Anchor, by: str, at: float) -> Anchor:
    return structs.replace(anchor, by=by, at=at)


def _bytes(file: Path, most: int) -> bytes:
    """Raises ValueError if it is missing, longer or not a regular file."""
    try:
        with files.open_regular(file) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ValueError(f"{file.name}: not a regular file")
            data = stream.read(most + 1)
    except FileNotFoundError:
        raise ValueError(f"{file.name}, which it is about, is missing") from None
    if len(data) > most:
        raise ValueError(f"{file.name}: longer than {most} bytes")
    return data


def _text(at: float) -> str:
    """RFC 3339 in UTC, whole seconds rounded up: it was there before that."""
    return datetime.fromtimestamp(-(-at // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""
