"""Makes a key file, revokes keys, and puts another key in a key's place so that nothing is lost wherever we
are killed.

    1  record.key.next       the new seed                         a rotation that was killed is gone on with
       root                  certifies it, where there is one
    2  record.key.list       the new public key, so that who reads its signatures knows it before they come
    3  outbox                what is about to happen, for the control log; a second time if we are killed here
    4  record.key.previous   the old seed, for the last words under it
    5  record.key            the new seed, by renaming `next`: from here on it is in use

In: a Keyring, where events go, the time. Out: the key that is in use. Called by `aegis keys` and by the
follower's renewal. Workers and the follower look at these files each second and need no signal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from msgspec import Struct

from authz.errors import KeyUnusable
from authz.ledger import keys
from authz.ledger.certificates import Certified
from authz.ledger.keyring import Keyring, Listed, Revoked, replace
from authz.ledger.lock import Lock

Purpose = Literal["record", "log"]
Tell = Callable[[str, Mapping[str, Any]], None]
"""Keeps an event durably (`Outbox.put`). Raises EvidenceUnavailable: then nothing may be done."""


Certify = Callable[[bytes], tuple[str, Certified]]
"""The certificate (base64) of a public key, by the root, and what it says. Raises KeyUnusable."""


class Change(Struct, frozen=True):
    """Who changes a key, when (RFC 3339, six decimals), and why; and who has to be told first."""

    who: str
    at: str
    why: str
    tell: Tell

    def event(self, action: str, purpose: str, key_id: str, **said: Any) -> None:
        """Tell it, in the form of the control log's kind `key`."""
        members = {"action": action, "purpose": purpose, "key_id": key_id, "who": self.who}
        self.tell("key", members | said | ({"why": self.why} if self.why else {}))

    def certify(self, purpose: str, public: bytes, certify: Certify | None) -> str:
        """The certificate of `public`, once that is told; "" where nothing certifies keys."""
        if certify is None:
            return ""
        text, certified = certify(public)
        said = {"not_before": certified.since, "not_after": certified.until, "certificate": text}
        key_id, jwk = keys.thumbprint(public), keys.jwk(public)
        self.event("certify", purpose, key_id, jwk=jwk, issuer_key_id=certified.issuer, **said)
        return text


def generate(ring: Keyring, purpose: Purpose, change: Change, certify: Certify | None = None) -> bool:
    """Make the key file and its list where they are missing; whether the key was. Raises KeyUnusable."""
    with alone(ring):
        new = not os.path.lexists(ring.path)
        public = keys.public_key(keys.ensure(ring.path))
        if not os.path.lexists(ring.list):
            certificate = change.certify(purpose, public, certify)
            key = Listed(keys.jwk(public), change.at if new else "", certificate=certificate)
            change.event("generate", purpose, key.kid, jwk=key.jwk)
            ring.write([key])
        return new


def rotate(
    ring: Keyring,
    purpose: Purpose,
    change: Change,
    overlap_until: str = "",
    certify: Certify | None = None,
) -> Listed:
    """Put a new key into use, certified if there is a root; until `overlap_until` (RFC 3339) the old one
    signs beside it.

    Raises KeyUnusable, LedgerLocked if another process changes this key.
    """
    with alone(ring):
        old = keys.load(ring.path)
        public = keys.public_key(keys.ensure(ring.next))
        certificate = change.certify(purpose, public, certify)
        new = Listed(keys.jwk(public), change.at, overlap_until, certificate)
        ring.write([*(key for key in ring.listed() if key.public != public), new])
        before = keys.thumbprint(keys.public_key(old))
        change.event("rotate", purpose, new.kid, jwk=new.jwk, previous_key_id=before)
        replace(ring.previous, keys.encode(old))
        with _explained(ring):
            os.replace(ring.next, ring.path)
            keys.sync_directory(ring.path.parent)
        return new


def revoke(ring: Keyring, purpose: Purpose, key_id: str, at: str, change: Change) -> Listed:
    """What the key `key_id` signed counts only where an outside anchor dates it before `at` (RFC 3339).

    Raises KeyUnusable if there is no such key, or it is in use; LedgerLocked.
    """
    with alone(ring):
        key = next((key for key in ring.listed() if key.kid == key_id), None)
        if key is None:
            raise KeyUnusable(f"{ring.list}: no key {key_id}")
        if key.public == keys.public_key(keys.load(ring.path)):
            raise KeyUnusable(f"{ring.path}: this key is in use; run `aegis keys rotate {purpose}` first")
        change.event("revoke", purpose, key_id, at=at, jwk=key.jwk)
        ring.revoke(key.public, Revoked(at, change.why))
        return key


@contextmanager
def alone(ring: Keyring) -> Iterator[None]:
    """While no other process changes the files of `ring`."""
    with _explained(ring):
        ring.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = ring.path.with_name(f"{ring.path.name}.lock")
        lock = Lock(file, f"{ring.path}: another process changes this key")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _explained(ring: Keyring) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyUnusable(f"{error.filename or ring.path}: {error.strerror}") from None
