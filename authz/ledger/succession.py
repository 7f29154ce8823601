"""From one record key to the next within a log: the `key` entry that hands over, and what may follow it.

    | by K1 ... | key, by K1: jwk K2, key_id K2, previous_key_id K1, of, size, tail_hash | by K2 ... |

`of`, `size` and `tail_hash` say once more where the entry stands: what the old key signed last, in words that
also mean something away from the log. A hand-over adds nothing to what is believed; it says where a key's
time in a log begins and ends. In: entries, or their members and the kid that attests them. Out: the key in
use, or ValueError. Called by writers, by followers and by the verifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from msgspec import Struct

from authz import canonical
from authz.ledger import keys
from authz.ledger.attestation import Attestations

MAX_RUNS: Final = 65_536  # hand-overs of one segment, in which each takes an entry
_MARK: Final = b'"kind":"key"'  # of every `key` entry; within a string its quotes would be escaped


class HandOver(Struct, frozen=True):
    """A `key` entry by the key `previous_key_id`, from which on the key `key_id` (`public`) attests."""

    public: bytes
    key_id: str
    previous_key_id: str


def say(
    public: bytes, previous: bytes, log: str, size: int, tail_hash: str, who: str, certificate: str = ""
) -> dict[str, Any]:
    """The members of the entry number `size` of `log`, after the one with `tail_hash`, in which the key
    `previous` hands over to `public`, which may have a `certificate`.
    """
    said = {
        "action": "rotate",
        "purpose": "record",
        "jwk": keys.jwk(public),
        "key_id": keys.thumbprint(public),
        "previous_key_id": keys.thumbprint(previous),
        "of": log,
        "size": size,
        "tail_hash": tail_hash,
        "who": who,
    }
    return said | ({"certificate": certificate} if certificate else {})


def read(members: dict[str, Any]) -> HandOver | None:
    """The hand-over that an entry is, None for any other. Raises ValueError for one that contradicts itself
    or its place.
    """
    get = members.get
    if get("kind") != "key" or get("action") != "rotate" or get("of") != members["log"]:
        return None
    if get("purpose") != "record":
        raise ValueError("key: what hands over in a log is its record key")
    if get("size") != members["seq"] or get("tail_hash") != members["previous_entry_hash"]:
        raise ValueError("key: size or tail_hash are not those of its place")
    public = keys.from_jwk(get("jwk"))
    key_id, previous = get("key_id"), get("previous_key_id")
    if key_id != keys.thumbprint(public):
        raise ValueError("key: key_id is not the thumbprint of jwk")
    if not isinstance(previous, str) or previous == key_id:
        raise ValueError("key: previous_key_id is not that of another key")
    return HandOver(public, key_id, previous)


class Succession(Struct):
    """Which key attests from which entry on, in a log or a part of it: `runs` of (seq, kid)."""

    runs: list[tuple[int, str]] = []

    @property
    def last(self) -> str:
        """The kid that has to attest the next entry, "" if any may."""
        return self.runs[-1][1] if self.runs else ""

    def take(self, kid: str, members: dict[str, Any]) -> None:
        """The next entry is attested by `kid`. Raises ValueError if another key is in use."""
        if not self.runs:
            self.runs.append((members["seq"], kid))
        elif kid != self.runs[-1][1]:
            raise ValueError(f"attestation: by key {kid}, where {self.runs[-1][1]} is in use")
        if members["kind"] != "key":
            return
        handed = read(members)
        if handed:
            if handed.previous_key_id != kid:
                raise ValueError(f"key: handed over by {kid}, which is not {handed.previous_key_id}")
            if len(self.runs) > MAX_RUNS:
                raise ValueError(f"more than {MAX_RUNS} keys in a segment")
            self.runs.append((members["seq"] + 1, handed.key_id))

    def resume(self, after: Succession) -> None:
        """`after` is of a part behind entries that were pruned: any key may be in use there."""
        self.runs += after.runs[1:] if after.runs and after.runs[0][1] == self.last else after.runs

    def follow(self, after: Succession) -> None:
        """`after` is of the next part. Raises ValueError if it does not begin with the key that is in use."""
        if self.runs and after.runs:
            kid = after.runs[0][1]
            if kid != self.last:
                raise ValueError(f"attestation: by key {kid}, where {self.last} is in use")
            self.runs += after.runs[1:]
        else:
            self.runs += after.runs


def returned(logs: Iterable[tuple[str, Succession]]) -> tuple[str, int, str] | None:
    """Log, seq and what is wrong where a key attests again after another one took over from it; None if none
    does. In: one worker's logs, oldest first.
    """
    left: dict[str, str] = {}
    last = ""
    for log, succession in logs:
        for seq, kid in succession.runs:
            if kid in left:
                return (
                    log,
                    seq,
                    f"attestation: by key {kid}, which was followed by another one at {left[kid]}",
                )
            if last and kid != last:
                left[last] = f"{log}, seq {seq}"
            last = kid
    return None


class InUse:
    """The record key in use while a log's entries go by from the first on, each handed over by the one
    before. `public` attests the next entry, b"" if the log named none.
    """

    def __init__(self) -> None:
        self.public = b""
        self._by = b""  # what attests the entry that was seen last
        self._begun = False

    @classmethod
    def after(cls, entry: bytes, members: dict[str, Any], public: bytes) -> InUse:
        """As it is after `entry` somewhere in a log, which `public` attests. Raises ValueError if it does
        not, or for a hand-over that is none.
        """
        found = cls()
        found._begun, found.public, found._by = True, public, public
        found.check(entry, members)
        if handed := read(members):
            found.public = handed.public
        return found

    def see(self, entry: bytes) -> None:
        """The next entry. Raises ValueError for a hand-over that is none, or not by the key in use."""
        if not self._begun:
            self._open(entry)
            self._begun = True
        else:
            self._by = self.public
            if _MARK in entry:
                self._change(entry)

    def see_run(self, lines: bytes) -> None:
        """The next entries, which have their newlines. Raises as `see`."""
        if not self._begun or lines.rfind(_MARK) >= 0:  # half of the cost of `in`
            for entry in lines[:-1].split(b"\n"):
                self.see(entry)
        else:
            self.see(lines[lines.rfind(b"\n", 0, -1) + 1 : -1])

    def _open(self, entry: bytes) -> None:
        named = canonical.parse(entry).get("record_keys")
        if isinstance(named, list) and len(named) == 1:
            with suppress(ValueError):
                self.public = self._by = keys.from_jwk(named[0])

    def _change(self, entry: bytes) -> None:
        members = canonical.parse(entry)
        handed = read(members)
        if handed:
            self.check(entry, members)
            self.public = handed.public

    def check(self, entry: bytes, members: dict[str, Any]) -> None:
        """Raises ValueError if `entry`, the last one seen, is not attested by the key that was in use."""
        if not self._by:
            raise ValueError("attestation: the log names no record key")
        try:
            Attestations([self._by]).check(entry, members)
        except (KeyError, AttributeError):
            raise ValueError("attestation: there is none") from None
