"""The policy that `aegis up` starts with: what is in the source now, unless somebody has activated their own.

In: a source in bundle layout. Out: an active, signed, published version. While only names of ours are active
(`v1.3.2`, `v1.3.2-2`, ...) an edited source is published under the next one. A version that somebody else
built and activated stays active, whatever is in the source: it is theirs to replace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from authz.followers.releases import Releases
from authz.policy.making import make, renamed
from authz.policy.opa_tool import OpaTool
from authz.policy.signing import ensure_signing_key
from authz.policy.versions import Versions

VERSION: Final = "v1.3.2"
_OURS: Final = re.compile(rf"{re.escape(VERSION)}(-[0-9]+)?")
_NUMBERS: Final = re.compile(r"v([0-9]+)\.([0-9]+)\.[0-9]+(?:-.*)?")


class Published(NamedTuple):
    """The active revision, `<version>+<digest>`, and whether the source says something else than it does."""

    revision: str
    edited: bool


def publish(
    source: Path, releases: Releases, signing_key: Path, *, wasm: bool = False, opa: str
) -> Published:
    """Publish `source` and make it the active version, or leave the one that is active. Its form and what its
    tests run are no matter here: whoever tries a policy out has only begun.

    Raises PolicyRejected as `make` does, KeyUnusable, StoreUnavailable, EvidenceUnavailable.
    """
    ensure_signing_key(signing_key)
    tool = OpaTool(opa)
    made = make(source, version=VERSION, wasm=wasm, tool=tool)
    current = releases.versions.active()
    if current is not None:
        version, _, digest = current.revision.partition("+")
        if digest == made.digest or not _OURS.fullmatch(version):
            return Published(current.revision, digest != made.digest)
    digests = {entry.version: entry.digest for entry in releases.versions.entries()}
    known = sorted(name for name, digest in digests.items() if digest == made.digest)
    if known:
        return Published(releases.activate(known[0]).revision, False)
    name = next(name for name in _names() if name not in digests)
    releases.publish(renamed(made, name), signing_key=signing_key, tool=tool)
    return Published(releases.activate(name).revision, False)


def next_name(versions: Versions) -> str:
    """A name for somebody's next version that is above every published one."""
    names = [VERSION, *(entry.version for entry in versions.entries())]
    found = [_NUMBERS.fullmatch(name) for name in names]
    major, minor = max((int(numbers[1]), int(numbers[2])) for numbers in found if numbers)
    return f"v{major}.{minor + 1}.0"


def _names() -> Iterator[str]:
    return (VERSION if number == 1 else f"{VERSION}-{number}" for number in count(1))
