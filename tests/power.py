"""What a disk may hold after the power went: system calls that strace wrote down, played up to any of them,
and then without what no sync had made durable.

    calls(text, root)               the calls that changed something below `root`, in the order they returned
    disk = Disk(root, copy); disk.play(call) ...; disk.lose(target, chance)

A file keeps what it held when its last sync began, and a beginning of what was done to it since, the last
write of that in part; a directory its names, likewise. A sync of a new file keeps its name, and those of the
new directories above it, as Linux's journaled file systems do. What lay there at first is durable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct, field

TRACED: Final = "openat,write,pwrite64,fsync,fdatasync,ftruncate,mkdir,rename,link,unlink,close"
_LINE: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN: Final = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_DONE: Final = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)\) += (-?\d+)")
_SYNCS: Final = ("fsync", "fdatasync")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Call(Struct, frozen=True):
    """`name(...)` that returned `result`: texts decoded, numbers and flags as strace prints them."""

    name: str
    thread: str
    texts: tuple[bytes, ...]
    rest: str
    result: int

    def number(self, place: int) -> int:
        """A number among the arguments that are no texts."""
        return int(self.rest.split(", ")[place])


def calls(text: str) -> Iterator[Call]:
    """Of strace's `-f -xx` output, those that succeeded; a sync also as it begins, with the result -1."""
    begun: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        if found := _BEGUN.fullmatch(line):
            begun[found[1]] = (found[2], found[3])
            if found[2] in _SYNCS:
                yield _call(found[2], found[1], found[3], -1)
        elif found := _DONE.match(line):
            name, arguments = begun.pop(found[1])
            if int(found[3]) >= 0:
                yield _call(name, found[1], arguments + found[2], int(found[3]))
        elif (found := _LINE.match(line)) and int(found[4]) >= 0:
            if found[2] in _SYNCS:
                yield _call(found[2], found[1], found[3], -1)
            yield _call(found[2], found[1], found[3], int(found[4]))


def _call(name: str, thread: str, arguments: str, result: int) -> Call:
    texts = tuple(bytes.fromhex(each.replace("\\x", "")) for each in _TEXT.findall(arguments))
    return Call(name, thread, texts, _TEXT.sub("", arguments), result)


class File(Struct, eq=False):
    """What it held at first, and all changes: where, what; or a new length and None; `durable` so far."""

    first: bytes = b""
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    durable: int = 0

    def after(self, changes: list[tuple[int, bytes | None]]) -> bytes:
        data = bytearray(self.first)
        for place, what in changes:
            data.extend(bytes(max(0, place - len(data))))
            if what is None:
                del data[place:]
            else:
                data[place : place + len(what)] = what
        return bytes(data)

    def now(self) -> bytes:
        return self.after(self.changes)

    def lost(self, chance: Random) -> bytes:
        """What is durable and a beginning of the other changes, the last of them in part."""
        count = chance.randint(self.durable, len(self.changes))
        changes = self.changes[:count]
        if count > self.durable and (what := changes[-1][1]):
            changes[-1] = (changes[-1][0], what[: chance.randint(0, len(what))])
        return self.after(changes)


class Directory(Struct, eq=False):
    """Its names at first, and all changes: what some name from then on (None: nothing), `durable` so far."""

    first: dict[str, File | Directory] = field(default_factory=dict)
    changes: list[dict[str, File | Directory | None]] = field(default_factory=list)
    durable: int = 0

    def after(self, count: int) -> dict[str, File | Directory]:
        names: dict[str, File | Directory | None] = dict(self.first)
        for change in self.changes[:count]:
            names |= change
        return {name: what for name, what in names.items() if what is not None}

    def now(self) -> dict[str, File | Directory]:
        return self.after(len(self.changes))

    def keep(self, name: str) -> None:
        """Make what made `name` durable, with the changes before that."""
        places = [place for place, change in enumerate(self.changes) if change.get(name)]
        self.durable = max(self.durable, places[-1] + 1 if places else 0)


class _Open(Struct):
    path: Path
    file: File | Directory
    offset: int
    appends: bool


class Disk:
    """What lies below `root`, where at first that lay which is below `at_first` now."""

    def __init__(self, root: Path, at_first: Path) -> None:
        self._root, self._fds, self._begun = root, dict[int, _Open](), dict[str, int]()
        self._top = _read(at_first)

    def play(self, call: Call) -> bool:
        """Do what the call did; whether it concerned what lies below `root`."""
        if call.name in ("openat", "mkdir", "rename", "link", "unlink"):
            paths = [Path(text.decode()) for text in call.texts]
            if self._root not in paths[-1].parents and not (
                call.name == "openat" and paths[-1] == self._root
            ):
                if call.name == "openat":
                    self._fds.pop(call.result, None)
                return False
            getattr(self, f"_{call.name}")(call, *paths)
            return True
        fd = call.number(0)
        if fd not in self._fds:
            return False
        getattr(self, f"_{call.name}")(call, self._fds[fd])
        return True

    def read(self, path: Path) -> bytes:
        """What `path` holds now; nothing if it is not there."""
        found = self._names(path.parent).get(path.name)
        return found.now() if isinstance(found, File) else b""

    def check(self, path: Path) -> None:
        """Whether what was played is what lies below `path`, but for what SQLite maps into memory."""
        for file in path.rglob("*"):
            if file.is_file() and not file.name.endswith("-shm"):
                assert self.read(self._root / file.relative_to(path)) == file.read_bytes(), file

    def lose(self, target: Path, chance: Random, spared: tuple[str, ...] = ()) -> None:
        """Write what is left to `target`; the names `spared` at the top lie on another machine."""
        _write(self._top, target, chance, spared)

    def _directory(self, path: Path) -> Directory:
        found: File | Directory = self._top
        for part in path.relative_to(self._root).parts:
            assert isinstance(found, Directory)
            found = found.now()[part]
        assert isinstance(found, Directory)
        return found

    def _names(self, path: Path) -> dict[str, File | Directory]:
        return self._directory(path).now()

    def _openat(self, call: Call, path: Path) -> None:
        if path == self._root:
            self._fds[call.result] = _Open(path, self._top, 0, appends=False)
            return
        parent = self._directory(path.parent)
        if path.name not in parent.now():
            if "O_CREAT" not in call.rest:  # made by another process
                self._fds.pop(call.result, None)
                return
            parent.changes.append({path.name: File()})
        found = parent.now()[path.name]
        if isinstance(found, File) and "O_TRUNC" in call.rest and found.now():
            found.changes.append((0, None))
        self._fds[call.result] = _Open(path, found, 0, appends="O_APPEND" in call.rest)

    def _write(self, call: Call, opened: _Open) -> None:
        assert isinstance(opened.file, File)
        place = len(opened.file.now()) if opened.appends else opened.offset
        opened.file.changes.append((place, call.texts[0][: call.result]))
        opened.offset = place + call.result

    def _pwrite64(self, call: Call, opened: _Open) -> None:
        assert isinstance(opened.file, File)
        opened.file.changes.append((call.number(-1), call.texts[0][: call.result]))

    def _ftruncate(self, call: Call, opened: _Open) -> None:
        assert isinstance(opened.file, File)
        opened.file.changes.append((call.number(1), None))

    def _fsync(self, call: Call, opened: _Open) -> None:
        if call.result < 0:  # what comes while it is under way need not be under it
            self._begun[call.thread] = len(opened.file.changes)
            return
        opened.file.durable = max(opened.file.durable, self._begun.pop(call.thread))
        path = opened.path
        while path != self._root:
            self._directory(path.parent).keep(path.name)
            path = path.parent

    _fdatasync = _fsync

    def _close(self, call: Call, opened: _Open) -> None:
        del self._fds[call.number(0)]

    def _mkdir(self, call: Call, path: Path) -> None:
        self._directory(path.parent).changes.append({path.name: Directory()})

    def _rename(self, call: Call, old: Path, new: Path) -> None:
        assert old.parent == new.parent
        names = self._directory(old.parent)
        names.changes.append({old.name: None, new.name: names.now()[old.name]})

    def _link(self, call: Call, old: Path, new: Path) -> None:
        self._directory(new.parent).changes.append({new.name: self._names(old.parent)[old.name]})

    def _unlink(self, call: Call, path: Path) -> None:
        self._directory(path.parent).changes.append({path.name: None})


def _read(path: Path) -> Directory:
    return Directory(
        {each.name: _read(each) if each.is_dir() else File(each.read_bytes()) for each in path.iterdir()}
    )


def _write(
    directory: Directory, target: Path, chance: Random, spared: tuple[str, ...], whole: bool = False
) -> None:
    target.mkdir()
    names = (
        directory.now()
        if whole
        else directory.after(chance.randint(directory.durable, len(directory.changes)))
    )
    names |= {name: what for name, what in directory.now().items() if name in spared}
    for name, what in names.items():
        spare = whole or name in spared
        if isinstance(what, Directory):
            _write(what, target / name, chance, (), spare)
        else:
            (target / name).write_bytes(what.now() if spare else what.lost(chance))
            (target / name).chmod(0o600)
