"""Reads after all what a start left unread, in a process of its own and only when nobody else wants the CPU.

    worker  --segments, signed size and root-->  python -m authz.ledger.scrub  --a fault, or null-->  worker

In: what was left Unread. Out: nothing, or damage: it is marked in the epoch's directory and `on_damage` is
called. Run by the worker while it serves, so that a long epoch keeps nobody waiting. The process reads, and
changes nothing; it ends with the worker's stop, or by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from authz.errors import EvidenceUnavailable
from authz.ledger import held
from authz.ledger.journal import SEGMENT_ENTRIES, Disk
from authz.ledger.recovery import mark_damaged
from authz.ledger.report import Fault
from authz.ledger.unread import Unread

log = structlog.get_logger(__name__)

LOWEST_PRIORITY: Final = 19


class Scrub:
    """What one start left unread, until it is read."""

    def __init__(self, on_damage: Callable[[], None]) -> None:
        self._on_damage = on_damage
        self._left: list[Unread] = []

    @property
    def entries(self) -> int:
        """How many entries have not been read yet."""
        return sum(unread.segments * SEGMENT_ENTRIES for unread in self._left)

    def leave(self, unread: Unread) -> None:
        self._left.append(unread)

    async def run(self) -> None:
        """Read it all. What cannot be read stays in `entries`, and is logged."""
        for unread in [*self._left]:
            try:
                fault = await scrub(unread)
            except EvidenceUnavailable as error:
                log.error("ledger_not_read", problem=str(error))  # noqa: TRY400 - the text says where
                continue
            if fault is None:
                self._left.remove(unread)
                continue
            log.critical("ledger_damaged", log=unread.log, what=str(fault))
            try:
                mark_damaged(unread.directory, str(fault), Disk())
            except OSError as error:  # the next start does not know, reads it while serving, and ends as well
                log.error("ledger_damage_not_marked", error=error.strerror)  # noqa: TRY400 - where
            self._on_damage()


async def scrub(unread: Unread) -> Fault | None:
    """What is wrong with the entries under the checkpoint. Raises EvidenceUnavailable if they cannot be read.
    A caller that is cancelled ends the reading.
    """
    request = msgspec.json.encode(unread, enc_hook=str)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise EvidenceUnavailable(f"{unread.directory}: cannot be read once more: {error.strerror}") from None
    try:
        answer, _ = await process.communicate(request)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
    if process.returncode:
        raise EvidenceUnavailable(f"{unread.directory}: reading it once more ended with {process.returncode}")
    return msgspec.json.decode(answer, type=Fault | None)


def check(unread: Unread) -> Fault | None:
    """The first fault below the signed size. Raises OSError."""
    found = held.read(unread.directory, unread.log, [(unread.size, unread.root)])
    if found.size >= unread.size and not found.contradicts:
        return None
    what = f"{unread.size} entries were signed, {found.size} are here"
    return found.fault or Fault(what, str(unread.directory), seq=found.size)


def main() -> int:
    """Reads an Unread from standard input, writes the fault in it to standard output, as JSON."""
    unread = msgspec.json.decode(sys.stdin.buffer.read(), type=Unread, dec_hook=lambda _, text: Path(text))
    os.nice(LOWEST_PRIORITY)
    try:
        fault = check(unread)
    except OSError as error:
        sys.stderr.write(f"{error.filename or unread.directory}: {error.strerror}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(fault))
    return 0


if __name__ == "__main__":
    sys.exit(main())
