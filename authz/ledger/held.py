"""What an epoch holds on disk when nobody writes to it: the verifier's walk, and what recovery needs of it.

In: a directory, the log's name, sizes and roots that were ever signed for it. Out: Held. Called by recovery
for the newest epoch. It reads the disk and not what the page cache still has of it, and changes nothing.

    |---- below the newest seal: hashed, the root is compared ----|---- above: form, place, chain ----| torn
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from authz import canonical
from authz.ledger import files, merkle, segment
from authz.ledger.journal import SEGMENT_ENTRIES, segment_name
from authz.ledger.report import Fault
from authz.ledger.succession import InUse
from authz.ledger.unread import KeyOf, Start, Unread, start
from authz.ledger.unread import Seal as Seal


class Held(Struct):
    """`size` good entries up to the one with hash `tip` (hex) and the `root` over them; then `fault`, or an
    incomplete last line of `torn_bytes` in `last_file`. `opened` and `last` are members of the first and the
    last good entry, `in_use` the record key after it. `sealed` is the largest size that was ever signed;
    `contradicts`: not these entries. `unread`: the part that a checkpoint and its tiles stand for.
    """

    directory: Path
    log: str
    sealed: int = 0
    size: int = 0
    tip: str = merkle.EMPTY_HASH_HEX
    root: bytes = merkle.EMPTY_HASH
    opened: dict[str, Any] = {}
    last: dict[str, Any] = {}
    torn_bytes: int = 0
    last_file: Path | None = None
    fault: Fault | None = None
    contradicts: bool = False
    in_use: InUse = field(default_factory=InUse)
    unread: Unread | None = None

    @property
    def closed(self) -> bool:
        return self.last.get("kind") == "close" and self.fault is None


def read(directory: Path, log: str, seals: Iterable[Seal], key_of: KeyOf | None = None) -> Held:
    """All of it; with `key_of` only what no tiles under a checkpoint stand for, unless something is wrong.
    Raises OSError if something cannot be read or synced.
    """
    seals = [(size, root) for size, root in seals if size]
    begin = start(directory, log, seals, key_of) if key_of else None
    if begin:
        held, roots = _walk(directory, log, seals, begin=begin)
        held.unread = begin.unread
        if held.fault is None and held.size >= held.sealed and not _wrong(seals, roots):
            return _with_ends(held)
    held, roots = _walk(directory, log, seals)
    if wrong := _wrong(seals, roots):
        held, _ = _walk(directory, log, seals, closely=True)  # to find the first line that is wrong
        what = f"the root over {wrong[0]} entries is not the one that was signed"
        held.fault = held.fault or Fault(what, str(directory / "checkpoint"))
        held.contradicts = True
    return _with_ends(held)


def _wrong(seals: list[Seal], roots: dict[int, bytes]) -> list[int]:
    """The sizes whose roots are not those that were signed."""
    return [size for size, root in seals if size in roots and roots[size] != root]


def _walk(
    directory: Path, log: str, seals: list[Seal], *, begin: Start | None = None, closely: bool = False
) -> tuple[Held, dict[int, bytes]]:
    """From the first segment, or where `begin` says. Those that lie whole below a seal are only hashed, if
    not `closely`. With it the roots at the sizes of `seals`.
    """
    listing = files.segments(directory)
    held = Held(directory, log, sealed=max((size for size, _ in seals), default=0))
    tree, roots = merkle.CompactRange(), {0: merkle.EMPTY_HASH}
    numbers, parts, trusted = listing.numbers, listing.files, 0 if closely else held.sealed
    if begin:
        tree, held.tip, held.in_use = begin.tree, begin.tip, begin.in_use
        roots |= begin.roots
        numbers, parts = numbers[begin.segments :], parts[begin.segments :]
    for file in parts:
        _drop(file)
    for place, (number, file) in enumerate(zip(numbers, parts, strict=True)):
        for coming in parts[place : place + 2]:
            _fetch(coming)
        first = number * SEGMENT_ENTRIES
        last = file == listing.files[-1] and listing.fault is None
        level = 1 if first + SEGMENT_ENTRIES <= trusted else 2
        cuts = tuple(size for size, _ in seals if size > first)
        task = segment.Task(file, first, last, log, level, cuts=cuts)
        with files.open_unbuffered(file) as stream:
            walked = segment.walk_stream(task, stream, held.in_use)
        if walked.previous not in ("", held.tip):
            held.fault = Fault("previous_entry_hash: not the hash of the entry before", str(file), 1, first)
            break
        _add(held, file, walked, tree, roots)
        if held.fault:
            break
    held.fault = held.fault or listing.fault
    held.size, held.root = tree.size, tree.root()
    return held, roots


def _add(
    held: Held, file: Path, walked: segment.Walked, tree: merkle.CompactRange, roots: dict[int, bytes]
) -> None:
    for size, part in walked.at.items():
        there = tree.copy()
        there.join(part)
        roots[size] = there.root()
    tree.join(walked.tree)
    held.tip = walked.tip or held.tip
    held.torn_bytes, held.last_file, held.fault = walked.torn_bytes, file, walked.fault


def _drop(file: Path) -> None:
    """Whoever wrote this may have died with it unsynced, or after a sync that failed: then the cache holds
    what the disk does not.
    """
    with files.open_regular(file) as stream:
        os.fdatasync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fetch(file: Path) -> None:
    """Have the kernel read `file` from the disk while what is before it is hashed."""
    with files.open_regular(file) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _with_ends(held: Held) -> Held:
    """`opened` and `last`; the last entry's attestation stands for all before it, which its link covers."""
    if held.size == 0:
        return held
    place = held.size - 1
    first, file = (held.directory / "entries" / segment_name(seq) for seq in (0, place))
    held.opened = canonical.parse(_entry(first, 0))
    entry = _entry(file, place % SEGMENT_ENTRIES)
    held.last = canonical.parse(entry)
    try:
        held.in_use.check(entry, held.last)
    except ValueError as error:
        what = f"the last good entry is not by the record key in use: {error}"
        held.fault = held.fault or Fault(what, str(file), place % SEGMENT_ENTRIES + 1, place)
    return held


def _entry(file: Path, place: int) -> bytes:
    with files.open_regular(file) as stream:
        for number, line in enumerate(files.lines(stream)):
            if number == place:
                return line.removesuffix(b"\n")
    raise EOFError(f"{file}: line {place + 1} is gone")
