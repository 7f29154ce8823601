"""Which policy versions are published, and which of them was active when: read from a store, and added to.

    changelog/00000007.json     {"bundle_sha256":"<hex>","key_id":"...","number":7,"release":{...},
                                 "revision":"v1.4.0+<digest>","who":"ana"}
    activations/00000003.json   {"action":"activate","at":"...Z","number":3,"previous":"v1.3.2+<digest>",
                                 "revision":"v1.4.0+<digest>","who":"ana","why":"ticket 4711"}

In: a Store. Out: Entry, Activation, bundles. A version is published once its entry is there, and active as
long as the activation with the highest number names it: creating the next number is the compare-and-swap, so
of two who add at once one wins and the other looks again. Numbers have no gaps. Nothing is ever changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

import msgspec
import orjson
from msgspec import Struct

from authz.errors import PolicyRejected, StoreUnavailable
from authz.policy.manifest import Release, split_revision
from authz.policy.store import Store

CHANGELOG: Final = "changelog"
ACTIVATIONS: Final = "activations"
SUFFIX: Final = ".tar.gz"
AT_ONCE: Final = 8  # reads


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the changelog. `key_id`: thumbprint of the key that signed the bundle; `who` published."""

    number: int
    revision: str
    bundle_sha256: str
    key_id: str
    who: str
    release: Release

    @property
    def version(self) -> str:
        return self.revision.partition("+")[0]

    @property
    def digest(self) -> str:
        return self.revision.partition("+")[2]


class Activation(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`previous`: what was active before, "" for the first. `back_to`: the activation that a rollback
    returned to.
    """

    number: int
    action: Literal["activate", "rollback"]
    revision: str
    at: str
    who: str
    why: str = ""
    previous: str = ""
    back_to: int = 0

    @property
    def in_force(self) -> int:
        """The place in the history that this one restored, or began."""
        return self.back_to or self.number


class Versions:
    """Raises StoreUnavailable whenever the store does not do its work or holds what was never put there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[int, Entry] = {}  # an entry never changes

    # -- published

    def entries(self, after: int = 0) -> list[Entry]:
        """The changelog, the first one first; from number `after` + 1 on."""
        numbers = range(after + 1, self._last(CHANGELOG) + 1)
        unknown = [number for number in numbers if number not in self._known]
        if len(unknown) > 1:  # a bucket answers many questions as fast as one
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._entry, unknown))
        return [self._entry(number) for number in numbers]

    def latest(self) -> Entry | None:
        """The entry that was added last."""
        last = self._last(CHANGELOG)
        return self._entry(last) if last else None

    def named(self, name: str) -> Entry | None:
        """The published version `name`, which may be its whole revision, too."""
        newest_first = (self._entry(number) for number in range(self._last(CHANGELOG), 0, -1))
        return next((each for each in newest_first if name in (each.version, each.revision)), None)

    def find(self, name: str) -> Entry:
        """As `named`. Raises PolicyRejected if there is none."""
        found = self.named(name)
        if found is None:
            raise PolicyRejected(f"{name} is not published in {self.store.place()}")
        return found

    def put(self, revision: str, bundle: bytes) -> bytes:
        """What the store has for `revision`: `bundle`, or what somebody put there before. Nobody is told of
        it until it is added.
        """
        name = f"{revision}{SUFFIX}"
        return bundle if self.store.create(name, bundle) else self.bundle(revision)

    def bundle(self, revision: str) -> bytes:
        """The signed bundle of `revision`, as it lies there: its signature is OPA's to check."""
        data = self.store.read(f"{revision}{SUFFIX}")
        if data is None:
            raise StoreUnavailable(f"{self.store.place()}/{revision}{SUFFIX}: gone")
        return data

    def published_bundle(self, entry: Entry) -> bytes:
        """The same, of which the changelog says that these are its bytes."""
        data = self.bundle(entry.revision)
        if hashlib.sha256(data).hexdigest() != entry.bundle_sha256:
            where = f"{self.store.place()}/{entry.revision}{SUFFIX}"
            raise StoreUnavailable(f"{where}: not what was published, by its hash in the changelog")
        return data

    def add(self, revision: str, bundle: bytes, *, key_id: str, who: str, release: Release) -> Entry:
        """Publish what was put. Raises PolicyRejected if the version's name is taken by other content; a
        version that is there already stays as it is.
        """
        while True:
            entries = self.entries()
            known = taken(entries, revision)
            if known:
                return known
            entry = Entry(
                number=len(entries) + 1,
                revision=revision,
                bundle_sha256=hashlib.sha256(bundle).hexdigest(),
                key_id=key_id,
                who=who,
                release=release,
            )
            if self.store.create(_name(CHANGELOG, entry.number), written(entry)):
                return entry

    # -- active

    def active(self) -> Activation | None:
        """The last activation, None before the first."""
        last = self._last(ACTIVATIONS)
        return self.activation(last) if last else None

    def after(self, number: int) -> Activation | None:
        """The one that follows activation `number`, None if none does yet: one read."""
        data = self.store.read(_name(ACTIVATIONS, number + 1))
        return None if data is None else self._activation(data, number + 1)

    def activation(self, number: int) -> Activation:
        """Activation `number`, which there is."""
        found = self.after(number - 1)
        if found is None:
            raise StoreUnavailable(f"{self.store.place()}/{_name(ACTIVATIONS, number)}: gone")
        return found

    def before(self, number: int) -> Iterator[Activation]:
        """The activations before `number`, the newest first."""
        return (self.activation(each) for each in range(number - 1, 0, -1))

    def activate(self, activation: Activation) -> None:
        """Add it, if it still follows the last one. Raises PolicyRejected if somebody was faster."""
        if self.store.create(_name(ACTIVATIONS, activation.number), written(activation)):
            return
        other = self.activation(activation.number)
        raise PolicyRejected(
            f"{other.who} activated {other.revision.partition('+')[0]} meanwhile: look, and try again"
        )

    # -- reading

    def _last(self, folder: str) -> int:
        names = self.store.names(folder)
        if names and names[-1] != _name(folder, len(names)):
            raise StoreUnavailable(f"{self.store.place()}/{folder}: {names[-1]} is not number {len(names)}")
        return len(names)

    def _entry(self, number: int) -> Entry:
        if number not in self._known:
            self._known[number] = self._read_entry(number)
        return self._known[number]

    def _read_entry(self, number: int) -> Entry:
        name = _name(CHANGELOG, number)
        try:
            entry = msgspec.json.decode(self.store.read(name) or b"", type=Entry)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"{self.store.place()}/{name}: {error}") from None
        if entry.number != number or split_revision(entry.revision) is None:
            raise StoreUnavailable(f"{self.store.place()}/{name}: not entry {number} of a changelog")
        return entry

    def _activation(self, data: bytes, number: int) -> Activation:
        name = _name(ACTIVATIONS, number)
        try:
            found = msgspec.json.decode(data, type=Activation)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"{self.store.place()}/{name}: {error}") from None
        if found.number != number or split_revision(found.revision) is None or found.back_to >= number:
            raise StoreUnavailable(f"{self.store.place()}/{name}: not activation {number}")
        return found


def taken(entries: list[Entry], revision: str) -> Entry | None:
    """The entry of `revision`. Raises PolicyRejected if its version's name is another one's."""
    version = revision.partition("+")[0]
    known = next((each for each in entries if each.version == version), None)
    if known and known.revision != revision:
        raise PolicyRejected(f"{version} is already published with other content: {known.revision}")
    return known


def written(what: Entry | Activation) -> bytes:
    """As it lies in the store, and as its hash is in the control log."""
    return orjson.dumps(msgspec.to_builtins(what), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _name(folder: str, number: int) -> str:
    return f"{folder}/{number:08d}.json"
