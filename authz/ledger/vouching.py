"""Finds the certificates that a log brings for its own record keys, before its entries are walked.

In: segments, pinned root certificates, the log's name. Out: Certified keys. Called by the verifier, whose
segments are walked apart from each other, and by `aegis show`: an entry of a later segment is by a key whose
certificate stands in an earlier one. What is found here counts by its certificate alone; whether it stands
where a log may bring one is for the walk to judge.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509

from authz import canonical
from authz.ledger import attestation, certificates, files, keys, pruned
from authz.ledger.certificates import Certified
from authz.ledger.form import MAX_ENTRY
from authz.ledger.journal import SEGMENT_ENTRIES

_MARKS: Final = (b'"kind":"open"', b'"kind":"key"')  # within a string their quotes would be escaped


def find(segments: Iterable[Path], roots: tuple[x509.Certificate, ...], log: str) -> Iterator[Certified]:
    """Every key that one of `roots` vouches for in an `open` or `key` entry of `segments`. Raises OSError."""
    for certified, _ in texts(segments, roots, log):
        yield certified


def texts(
    segments: Iterable[Path], roots: tuple[x509.Certificate, ...], log: str
) -> Iterator[tuple[Certified, str]]:
    """The same with each certificate in base64."""
    for segment in segments if roots else ():
        for line in _lines(segment) if segment.suffix != files.PRUNED else _left(segment):
            with suppress(ValueError):
                text = canonical.parse(line).get("certificate", "")
                yield certificates.check(text, roots, log), text


def of_entry(
    entry: bytes, file: Path, seq: int, roots: tuple[x509.Certificate, ...]
) -> tuple[Certified, str] | None:
    """What vouches for the key that attests `entry`, which is number `seq` of its log and stands in the
    segment `file`; None if that has no certificate by one of `roots`. Raises OSError.
    """
    members = canonical.parse(entry)
    log = file.parent.parent
    segments = files.segments(log).parts(log)[: seq // SEGMENT_ENTRIES + 1]
    kid = attestation.kid_of(members)
    for certified, text in texts(segments, roots, members["log"]):
        if keys.thumbprint(certified.public) == kid:
            return certified, text
    return None


def _left(marker: Path) -> tuple[bytes, ...]:
    """What a pruned segment left that may bring a certificate."""
    try:
        found = pruned.read_file(marker)
    except ValueError:
        return ()
    return (*found.opening, found.key)


def _lines(segment: Path) -> Iterator[bytes]:
    with files.open_regular(segment) as stream:
        try:
            stored = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # nothing is in it
            return
        with stored:
            for mark in _MARKS:
                at = stored.find(mark)
                while at >= 0:
                    start = stored.rfind(b"\n", max(0, at - MAX_ENTRY), at) + 1
                    end = stored.find(b"\n", at, at + MAX_ENTRY)
                    yield stored[start : end if end >= 0 else at + MAX_ENTRY]
                    at = stored.find(mark, at + 1)
