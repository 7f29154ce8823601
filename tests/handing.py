"""Logs in which one record key hands over to another, well made or not.

store = entries(OLD, NEW)         open, decision, key | decision, decision         by OLD | by NEW
"""

from __future__ import annotations

from typing import Any

from authz.ledger import merkle, succession
from authz.ledger.signer import Signer
from tests import ledgers

LOG = f"{ledgers.WORKER}/{ledgers.EPOCH}"


def tip(said: list[bytes]) -> str:
    return merkle.leaf_hash(said[-1]).hex() if said else merkle.EMPTY_HASH_HEX


def add(said: list[bytes], members: dict[str, Any], by: Signer, log: str = LOG) -> bytes:
    """One more entry by `by` after those in `said`, which it joins."""
    said.append(ledgers.line(members, log, len(said), tip(said), by))
    return said[-1]


def hand_over(
    said: list[bytes], heir: Signer, *, by: Signer, naming: Signer | None = None, **changed: Any
) -> bytes:
    """The `key` entry after the first two of `said`, in the name of `naming`, attested by `by`."""
    before = said[:2]
    naming = naming or by
    members = succession.say(heir.public, naming.public, LOG, 2, tip(before), ledgers.WORKER)
    return ledgers.line(members | {"kind": "key"} | changed, LOG, 2, tip(before), by)


def entries(old: Signer, new: Signer, *, log: str = LOG) -> list[bytes]:
    """`open` and a decision by `old`, which hands over to `new`; two decisions by that one."""
    said: list[bytes] = []
    add(said, {"kind": "open", "record_keys": [old.public_jwk]}, old, log)
    add(said, ledgers.decision(1), old, log)
    members = succession.say(new.public, old.public, log, 2, tip(said), ledgers.WORKER)
    add(said, members | {"kind": "key"}, old, log)
    for number in (2, 3):
        add(said, ledgers.decision(number), new, log)
    return said
