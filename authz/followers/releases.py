"""Publishes and activates policy versions, each with its event in the control log.

In: a source or a version's name, and who wants it why. Out: what `policy/version.py` and `bundles.py` do.
Called by `aegis policy` and `aegis up`. A version is published before its event is put, under a key, so that
building it again says what is missing; an activation's event is put before OPA can see the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from authz.followers import bundles
from authz.ledger.outbox import Outbox
from authz.policy.signing import thumbprint
from authz.policy.version import DEFAULT_ENTRY_POINTS, PolicyVersion, build_bundle


class Releases(Struct, frozen=True):
    """Of the versions in `directory`, by `who`, because of `why` ("" for no reason given)."""

    directory: Path
    outbox: Path
    who: str
    why: str = ""

    def publish(
        self,
        source: Path,
        *,
        version: str,
        signing_key: Path,
        entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS,
        opa: str = "opa",
    ) -> PolicyVersion:
        """Raises PolicyRejected and KeyUnusable as `build_bundle` does, EvidenceUnavailable."""
        with Outbox(self.outbox) as outbox:
            made = build_bundle(
                source,
                self.directory,
                version=version,
                signing_key=signing_key,
                entry_points=entry_points,
                opa=opa,
            )
            said = self._said(made.revision, action="publish", key_id=thumbprint(signing_key))
            outbox.put("policy", said, once=f"policy publish {made.revision}")
        return made

    def activate(self, version: str) -> str:
        """The revision that is active now. Raises PolicyRejected if no such version is published,
        EvidenceUnavailable.
        """
        revision, before = bundles.published(self.directory, version), bundles.active(self.directory)
        old = bundles.revision_of(before) if before else ""
        if old != revision:
            said = self._said(revision, action="activate")
            if old:
                name, _, digest = old.partition("+")
                said |= {"previous_version": name, "previous_digest": digest}
            with Outbox(self.outbox) as outbox:
                outbox.put("policy", said)
        return bundles.activate(self.directory, version)

    def _said(self, revision: str, **more: str) -> dict[str, str]:
        version, _, digest = revision.partition("+")
        said = {"policy_version": version, "policy_digest": digest, "who": self.who} | more
        return said | ({"why": self.why} if self.why else {})
