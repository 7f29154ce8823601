"""Finds and opens the disclosures of entries where they lie.

In: an epoch's directory, its log's name, a segment's number, a vault or none. Out: Kept lines with their
place. Called by `aegis disclose`, `erase` and `verify`. A line that is none, or does not open with its key,
raises IntegrityViolation; one whose key is gone is erased, which is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
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
            try:
                line = form.read(data[:-1])
            except ValueError as error:
                raise IntegrityViolation(str(error), file=str(file), line=count) from None
            yield Kept(file, count, line, line.sd or None)


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
