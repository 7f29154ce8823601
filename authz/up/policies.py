"""The policy that `aegis up` starts with: what is in the source now, unless somebody has activated their own.

In: a source in bundle layout. Out: an active, signed, published version. While only names of ours are active
(`v1.3.2`, `v1.3.2-2`, ...) an edited source is published under the next one. A version that somebody else
built and activated stays active, whatever is in the source: it is theirs to replace.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from authz.followers.bundles import active
from authz.followers.releases import Releases
from authz.policy.signing import ensure_signing_key
from authz.policy.version import SUFFIX, build_bundle

VERSION: Final = "v1.3.2"
_OURS: Final = re.compile(rf"{re.escape(VERSION)}(-[0-9]+)?")
_NUMBERS: Final = re.compile(r"v([0-9]+)\.([0-9]+)\.[0-9]+(?:-.*)?")


class Published(NamedTuple):
    """The active revision, `<version>+<digest>`, and whether the source says something else than it does."""

    revision: str
    edited: bool


def publish(source: Path, releases: Releases, signing_key: Path, *, opa: str) -> Published:
    """Publish `source` and make it the active version, or leave the one that is active.

    Raises PolicyRejected as `build_bundle` does, EvidenceUnavailable.
    """
    bundles = releases.directory
    ensure_signing_key(signing_key)
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as scratch:
        made = build_bundle(source, Path(scratch), version=VERSION, signing_key=signing_key, opa=opa)
    current = active(bundles)
    if current is not None:
        revision = current.name.removesuffix(SUFFIX)
        version, _, digest = revision.partition("+")
        if digest == made.digest or not _OURS.fullmatch(version):
            return Published(revision, digest != made.digest)
    digests = _published(bundles)
    known = sorted(name for name, digest in digests.items() if digest == made.digest)
    if known:
        return Published(releases.activate(known[0]), False)
    name = next(name for name in _names() if name not in digests)
    releases.publish(source, version=name, signing_key=signing_key, opa=opa)
    return Published(releases.activate(name), False)


def next_name(bundles: Path) -> str:
    """A name for somebody's next version that is above every published one."""
    found = [_NUMBERS.fullmatch(name) for name in [VERSION, *_published(bundles)]]
    major, minor = max((int(numbers[1]), int(numbers[2])) for numbers in found if numbers)
    return f"v{major}.{minor + 1}.0"


def _names() -> Iterator[str]:
    return (VERSION if number == 1 else f"{VERSION}-{number}" for number in count(1))


def _published(bundles: Path) -> dict[str, str]:
    """Version name -> content digest."""
    revisions = [file.name.removesuffix(SUFFIX).partition("+") for file in bundles.glob(f"*{SUFFIX}")]
    return {name: digest for name, _, digest in revisions}
