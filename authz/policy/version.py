"""Publishes a policy version: makes it, compares it with the one before, signs it, adds it to a changelog.

    make --> taken? --> difference --> sign --> put <revision>.tar.gz --> add changelog/<number>.json

In: what was made of a source, and who publishes it why. Out: Published. Called by `followers/releases.py`.
Killed between the two last steps it leaves a bundle that no changelog names, so that nobody can activate it;
publishing the same source again finds it, checks its signature, and adds it as what it says it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from authz.policy.difference import Difference, compare
from authz.policy.making import Made, check_signed, files_of, sign
from authz.policy.manifest import Analysis, Release
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import public_key, thumbprint
from authz.policy.versions import Entry, Versions, taken


class Told(Struct, frozen=True):
    """What a source cannot say of itself. `who` runs this, `author` answers for the policy."""

    who: str
    author: str
    why: str = ""
    commit: str = ""


class Published(Struct, frozen=True):
    """`entry`: as the changelog has it. `new`: it was not there before."""

    entry: Entry
    analysis: Analysis
    new: bool


def publish(
    made: Made,
    versions: Versions,
    told: Told,
    *,
    signing_key: Path,
    tool: OpaTool,
    now: Callable[[], str],
) -> Published:
    """Raises PolicyRejected if the name is taken by other content, or what an interrupted publication left is
    not this; KeyUnusable, StoreUnavailable.
    """
    entries = versions.entries()
    known = taken(entries, made.revision)
    if known:
        return Published(known, made.analysis, new=False)
    before = entries[-1] if entries else None
    difference = _difference(made, versions, before, tool)
    release = Release(
        published=now(),
        author=told.author,
        opa=made.opa,
        why=told.why,
        dependencies=made.dependencies,
        coverage=made.coverage,
        commit=told.commit,
        previous=before.revision if before else "",
        changes=difference.summary(),
    )
    bundle = sign(made, release, signing_key, tool)
    there = versions.put(made.revision, bundle)
    if there != bundle:
        release = check_signed(there, made, public_key(signing_key))
    entry = versions.add(made.revision, there, key_id=thumbprint(signing_key), who=told.who, release=release)
    return Published(entry, made.analysis, new=True)


def _difference(made: Made, versions: Versions, before: Entry | None, tool: OpaTool) -> Difference:
    if before is None:
        return compare({}, made.files, tool)
    return compare(files_of(versions.published_bundle(before)), made.files, tool)


def utc_now() -> str:
    """RFC 3339 with six decimals."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos // 1000:06d}Z"
