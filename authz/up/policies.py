"""The policy that `aegis up` publishes: what is in the source now, under a version name that fits it.

In: a source in bundle layout. Out: an active, signed, published version. A published version never changes,
so an edited source gets the next free name (`v1.3.2`, `v1.3.2-2`, ...) unless it is published already.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from authz.followers.bundles import activate
from authz.policy.signing import ensure_signing_key
from authz.policy.version import SUFFIX, build_bundle

VERSION: Final = "v1.3.2"


def publish(source: Path, bundles: Path, signing_key: Path, *, opa: str) -> str:
    """Publish `source` and make it the active version; its revision, `<version>+<digest>`.

    Raises PolicyRejected as `build_bundle` does.
    """
    ensure_signing_key(signing_key)
    digests = _published(bundles)
    if not digests:
        build_bundle(source, bundles, version=VERSION, signing_key=signing_key, opa=opa)
        return activate(bundles, VERSION)
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as scratch:
        made = build_bundle(source, Path(scratch), version=VERSION, signing_key=signing_key, opa=opa)
    known = sorted(name for name, digest in digests.items() if digest == made.digest)
    if known:
        return activate(bundles, known[0])
    name = next(name for name in _names() if name not in digests)
    build_bundle(source, bundles, version=name, signing_key=signing_key, opa=opa)
    return activate(bundles, name)


def _names() -> Iterator[str]:
    return (VERSION if number == 1 else f"{VERSION}-{number}" for number in count(1))


def _published(bundles: Path) -> dict[str, str]:
    """Version name -> content digest."""
    revisions = [file.name.removesuffix(SUFFIX).partition("+") for file in bundles.glob(f"*{SUFFIX}")]
    return {name: digest for name, _, digest in revisions}
