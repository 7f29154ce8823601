"""Finds and opens the disclosures of entries where they lie.

In: an epoch's directory, its log's name, a segment's number, a vault or none. Out: Kept lines with their
place. Called by `aegis disclose`, `erase` and `verify`. A line that is none, or does not open with its key,
raises IntegrityViolation; one whose key is gone is erased, which is no fault.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from authz.errors import IntegrityViolation
from authz.ledger import files
from authz.ledger.disclosures import form, place
from authz.ledger.disclosures.form import Line
from authz.ledger.disclosures.vault import Vault
from authz.ledger.journal import SEGMENT_ENTRIES


class Kept(Struct, frozen=True):
    """`line` (as read) at line `number` of `file`, counted from 1. `sd`: its disclosures, None while they are
    encrypted; `erased`: for ever, since their key is gone.
    """

    file: Path
    number: int
    line: Line
    sd: tuple[str, ...] | None
    erased: bool = False

    def violated(self, what: str) -> IntegrityViolation:
        return IntegrityViolation(what, file=str(self.file), line=self.number, seq=self.line.seq)


class Opener:
    """Opens the lines of one epoch with the keys that are there; without a vault it leaves them encrypted."""

    def __init__(self, epoch: Path, log: str, vault: Vault | None) -> None:
        self._log, self._vault = log, vault
        self._stored = {stored.id: stored for stored in vault.stored(epoch)} if vault else {}
        self._ciphers: dict[str, AESGCM] = {}

    def open(self, kept: Kept) -> Kept:
        """Raises IntegrityViolation for a line that its key does not open, KeyUnusable, OSError."""
        line = kept.line
        if line.sd:
            return kept
        if line.key not in self._stored:
            return Kept(kept.file, kept.number, line, None, erased=self._vault is not None)
        try:
            return Kept(
                kept.file, kept.number, line, form.decrypt(self._log, line, self._cipher(line.key)).sd
            )
        except ValueError as error:
            raise kept.violated(str(error)) from None

    def _cipher(self, key_id: str) -> AESGCM:
        if key_id not in self._ciphers:
            assert self._vault
            self._ciphers[key_id] = self._vault.cipher(self._stored[key_id])
        return self._ciphers[key_id]


def kept(epoch: Path, number: int) -> Iterator[Kept]:
    """The lines of segment `number`, unopened. An unfinished last line is not one yet."""
    file = place.file(epoch, number)
    try:
        stream = files.open_regular(file)
    except FileNotFoundError:
        return
    with stream:
        for count, data in enumerate(iter(partial(stream.readline, form.MAX_LINE), b""), start=1):
            if not data.endswith(b"\n"):
                if len(data) == form.MAX_LINE:
                    raise IntegrityViolation(f"longer than {form.MAX_LINE} bytes", file=str(file), line=count)
                return
            line = _line(data, file, count)
            yield Kept(file, count, line, line.sd or None)


class Added:
    """The lines of one epoch as they are added, each opened once. A file that was replaced (somebody erased)
    is read again from its beginning.
    """

    def __init__(self, epoch: Path, log: str, vault: Vault | None) -> None:
        self._epoch, self._log, self._vault = epoch, log, vault
        self._number, self._offset, self._inode, self._count = -1, 0, -1, 0
        self._waiting: dict[int, list[Kept]] = {}

    def of(self, seqs: Collection[int]) -> dict[int, list[Kept]]:
        """The opened lines of these entries, which are asked for once, in order. Raises as `Opener.open`."""
        found: dict[int, list[Kept]] = {}
        for number in sorted({seq // SEGMENT_ENTRIES for seq in seqs}):
            self._read(number)
            opener = Opener(self._epoch, self._log, self._vault)
            for seq in sorted(seq for seq in seqs if seq // SEGMENT_ENTRIES == number):
                found[seq] = [opener.open(each) for each in self._waiting.pop(seq, ())]
        return found

    def _read(self, number: int) -> None:
        file = place.file(self._epoch, number)
        try:
            stream = files.open_regular(file)
        except FileNotFoundError:
            return
        with stream:
            inode = os.fstat(stream.fileno()).st_ino
            if (number, inode) != (self._number, self._inode):
                self._number, self._inode, self._offset, self._count = number, inode, 0, 0
                self._waiting.clear()
            stream.seek(self._offset)
            for data in iter(partial(stream.readline, form.MAX_LINE), b""):
                if not data.endswith(b"\n"):
                    return
                self._offset += len(data)
                self._count += 1
                line = _line(data, file, self._count)
                self._waiting.setdefault(line.seq, []).append(Kept(file, self._count, line, line.sd or None))


def _line(data: bytes, file: Path, count: int) -> Line:
    try:
        return form.read(data[:-1])
    except ValueError as error:
        raise IntegrityViolation(str(error), file=str(file), line=count) from None


def of_entry(epoch: Path, log: str, seq: int, vault: Vault) -> list[Kept]:
    """What is kept of entry `seq`, opened as far as its keys are there."""
    opener = Opener(epoch, log, vault)
    number = seq // SEGMENT_ENTRIES
    return [opener.open(each) for each in kept(epoch, number) if each.line.seq == seq]


def fitting(found: Kept, digests: object) -> list[form.Disclosure]:
    """The disclosures of an opened line, each of which is among the entry's `_sd`. Raises IntegrityViolation
    for one that is not: another salt, another entry's, changed.
    """
    known = set(digests) if isinstance(digests, list) else set()
    fit: list[form.Disclosure] = []
    for text in found.sd or ():
        if form.digest(text) not in known:
            raise found.violated("a disclosure that is not among the digests of its entry")
        try:
            fit.append(form.parse(text))
        except ValueError as error:
            raise found.violated(str(error)) from None
    return fit
