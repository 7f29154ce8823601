"""Where the next entry goes: its place, its link to the one before, its time, its attestation.

In: kind and members. Out: the entry's bytes and where it is. Called by the writer for every entry and never
concurrently; it knows no file. After a write that failed, `rewind` goes back to what is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from authz.errors import EvidenceUnavailable
from authz.ledger import merkle, succession
from authz.ledger.clock import Stamp
from authz.ledger.entry import encode
from authz.ledger.signer import Signer


class Written(Struct, frozen=True, gc=False):
    """Where an entry is. `entry_hash` is the lowercase hex RFC 6962 leaf hash."""

    log: str
    seq: int
    entry_hash: str
    timestamp: str


class Chain:
    """`seq` is the next entry's place, `previous` the hash (hex) of the entry before it, `signer` attests."""

    def __init__(
        self,
        log: str,
        seq: int,
        previous: str,
        *,
        signer: Signer,
        signer_id: str,
        clock_ns: Callable[[], int],
    ) -> None:
        self.log, self.seq, self.previous = log, seq, previous
        self.signer, self._signer_id = signer, signer_id
        self._before: tuple[int, Signer] | None = None  # the last hand-over's place, and who signed it
        self._stamp = Stamp(clock_ns)

    def seal(self, kind: str, members: dict[str, Any]) -> tuple[bytes, Written]:
        """The next entry. Raises ValueError, and stays where it is, if these members fit no entry;
        EvidenceUnavailable outside of the time of the key's certificate, when it may only hand over.
        """
        seq, timestamp = self.seq, self._stamp.now()
        if not self.signer.since <= timestamp <= self.signer.until and not self._hands_over(kind, members):
            raise EvidenceUnavailable(self._uncertified())
        entry = encode(
            members
            | {
                "kind": kind,
                "log": self.log,
                "previous_entry_hash": self.previous,
                "seq": seq,
                "signer_id": self._signer_id,
                "timestamp": timestamp,
            },
            self.signer,
        )
        self.previous = merkle.leaf_hash(entry).hex()
        self.seq = seq + 1
        return entry, Written(self.log, seq, self.previous, timestamp)

    @property
    def certified(self) -> bool:
        """Whether the record key can attest now."""
        return self.signer.since <= self._stamp.now() <= self.signer.until

    def _hands_over(self, kind: str, members: dict[str, Any]) -> bool:
        return kind == "key" and members.get("of") == self.log

    def _uncertified(self) -> str:
        holds = f"from {self.signer.since} to {self.signer.until}"
        return f"the certificate of record key {self.signer.kid} holds {holds}; the follower renews it"

    def last_words(self, heir: Signer) -> dict[str, Any]:
        """The members of the next entry if it is the one by which this record key hands over to `heir`'s."""
        return succession.say(
            heir.public,
            self.signer.public,
            self.log,
            self.seq,
            self.previous,
            self._signer_id,
            heir.certificate,
        )

    def turn_to(self, heir: Signer) -> None:
        """The entry sealed last was the old key's last one: `heir` attests from now on."""
        self._before = (self.seq - 1, self.signer)
        self.signer = heir

    def rewind(self, seq: int, previous: str) -> None:
        """Forget the entries from `seq` on; `previous` is the hash of the one before."""
        self.seq, self.previous = seq, previous
        if self._before and seq <= self._before[0]:
            self.signer = self._before[1]
