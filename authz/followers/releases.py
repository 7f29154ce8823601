"""Publishes, activates and rolls back policy versions, each with its event in the control log.

In: what is made of a source, or a version's name, and who wants it why. Out: what is in the store then.
Called by `aegis policy` and `aegis up`; the follower tells, too (`bundles.py`). The store says what is true,
and an event is put under a key of its own: whoever is killed between the two has it put by the next one who
adds something, or by the follower, which serves nothing that it has not told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from authz.errors import PolicyRejected, StoreUnavailable
from authz.ledger.members import RULES
from authz.ledger.outbox import Outbox
from authz.policy import version
from authz.policy.making import Made
from authz.policy.opa_tool import OpaTool
from authz.policy.version import Published, Told, utc_now
from authz.policy.versions import Activation, Entry, Versions, written


class Releases(Struct, frozen=True):
    """By `who`, because of `why` ("" for no reason given)."""

    versions: Versions
    outbox: Path
    who: str
    why: str = ""
    now: Callable[[], str] = utc_now

    def publish(
        self, made: Made, *, signing_key: Path, tool: OpaTool, author: str = "", commit: str = ""
    ) -> Published:
        """Raises PolicyRejected, KeyUnusable and StoreUnavailable as `version.publish` does, PolicyRejected
        for an author or a reason that the control log cannot have, EvidenceUnavailable.
        """
        told = Told(self.who, author or self.who, self.why, commit)
        _check_sayable(told.author, self.why)
        with Outbox(self.outbox) as outbox:
            before = self.versions.latest()
            if before:
                tell_published(outbox, before)
            done = version.publish(
                made, self.versions, told, signing_key=signing_key, tool=tool, now=self.now
            )
            tell_published(outbox, done.entry)
        return done

    def activate(self, name: str) -> Activation:
        """What is active then, which may have been so before. Raises PolicyRejected if no such version is
        published or somebody else was faster, StoreUnavailable, EvidenceUnavailable.
        """
        _check_sayable(self.who, self.why)
        entry = self.versions.find(name)
        with Outbox(self.outbox) as outbox:
            current = self.versions.active()
            if current and current.revision == entry.revision:
                tell_activated(outbox, current)
                return current
            return self._add(outbox, current, entry, "activate")

    def rollback(self, name: str = "") -> Activation:
        """Make active what was so before the active version; or the version `name`, if it ever was before.
        One rollback after another goes further back. Raises as `activate` does.
        """
        _check_sayable(self.who, self.why)
        with Outbox(self.outbox) as outbox:
            current = self.versions.active()
            if current is None:
                raise PolicyRejected(f"{self.versions.store.place()}: no version is active")
            target = self._earlier(current, name)
            entry = self.versions.find(target.revision)
            return self._add(outbox, current, entry, "rollback", back_to=target.in_force)

    def _earlier(self, current: Activation, name: str) -> Activation:
        for each in self.versions.before(current.in_force):
            named = not name or name in (each.revision, each.revision.partition("+")[0])
            if named and each.revision != current.revision:
                return each
        active = current.revision.partition("+")[0]
        if name:
            raise PolicyRejected(f"{name} was not active before {active}: `activate` makes it so")
        raise PolicyRejected(f"nothing was active before {active}")

    def _add(
        self,
        outbox: Outbox,
        current: Activation | None,
        entry: Entry,
        action: Literal["activate", "rollback"],
        back_to: int = 0,
    ) -> Activation:
        self.versions.published_bundle(entry)  # or the follower could not serve it
        if current:
            tell_activated(outbox, current)
        tell_published(outbox, entry)
        added = Activation(
            number=current.number + 1 if current else 1,
            action=action,
            revision=entry.revision,
            at=self.now(),
            who=self.who,
            why=self.why,
            previous=current.revision if current else "",
            back_to=back_to,
        )
        self.versions.activate(added)
        tell_activated(outbox, added)
        return added


def _check_sayable(author: str, why: str) -> None:
    """Before anything is done: what cannot be told is not done."""
    if not RULES["name"].good(author):
        raise PolicyRejected(f"author: not {RULES['name'].what}")
    if why and not RULES["text"].good(why):
        raise PolicyRejected(f"why: not {RULES['text'].what}")


def teller(versions: Versions, outbox: Path) -> Callable[[Activation], None]:
    """Puts the events of an activation and of its version, for whoever serves it. Raises EvidenceUnavailable,
    StoreUnavailable, PolicyRejected for a version that is not published.
    """

    def tell(activation: Activation) -> None:
        entry = versions.find(activation.revision)
        with Outbox(outbox) as opened:
            tell_published(opened, entry)
            tell_activated(opened, activation)

    return tell


def tell_published(outbox: Outbox, entry: Entry) -> None:
    """Put the event of `entry`, unless it was. Raises EvidenceUnavailable."""
    release = entry.release
    said = _said(entry.revision, entry.who, release.why) | {
        "action": "publish",
        "key_id": entry.key_id,
        "changelog_sha256": hashlib.sha256(written(entry)).hexdigest(),
        "diff_sha256": release.changes.sha256,
    }
    said |= {"author": release.author} if release.author != entry.who else {}
    _put(outbox, said, f"policy publish {entry.revision}")


def tell_activated(outbox: Outbox, activation: Activation) -> None:
    """Put the event of `activation`, unless it was. Raises EvidenceUnavailable."""
    said = _said(activation.revision, activation.who, activation.why) | {"action": activation.action}
    if activation.previous:
        name, _, digest = activation.previous.partition("+")
        said |= {"previous_version": name, "previous_digest": digest}
    which = hashlib.sha256(written(activation)).hexdigest()
    _put(outbox, said, f"policy activation {activation.number} {which}")


def _put(outbox: Outbox, said: dict[str, Any], once: str) -> None:
    try:
        outbox.put("policy", said, once=once)
    except ValueError as error:  # from a store that somebody else wrote to: our own is checked before
        raise StoreUnavailable(f"{once}: nothing that the control log can say: {error}") from None


def _said(revision: str, who: str, why: str) -> dict[str, Any]:
    name, _, digest = revision.partition("+")
    said = {"policy_version": name, "policy_digest": digest, "who": who}
    return said | ({"why": why} if why else {})
