"""What a bundle says about itself: revision, and per entry point which input it reads.

`version.py` writes it into `.manifest` when a version is built; OPA serves it at `data.system.bundles`; the
worker reads it there (`active.py`). Both halves of the format are here so that they cannot differ:

    {"revision": "v1.3.2+<64 hex>", "roots": [""],
     "metadata": {"aegis": {"format": 1,
                            "entry_points": {"aegis/decision": {"facts": [["agent", "id"], ...],
                                                                "prune": true}},
                            "nondeterministic": ["time.now_ns"],
                            "identities": {"spiffe://aegis.test/billing": "billing-agent"},
                            "shadow": {"rules": ["agent-limits"]}},
                  "release": {"author": "ana", "why": "ticket 4711", "published": "...Z", ...}}}

The content digest covers all of it but `revision` and `release`, which say by whom, when and why the same
content was published; OPA's signature covers them, too. The worker reads `aegis` alone.

A fact is a path below `input` as an array of string terms; `[]` is the whole document. The worker believes
this only from a bundle that owns every path, since nobody can then have written it over OPA's API.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from authz.values import ShadowScope

FORMAT: Final = 1
MEMBER: Final = "aegis"
RELEASE: Final = "release"
_REVISION: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})\+([0-9a-f]{64})")

Path = tuple[str, ...]


class EntryPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """What one entry point reads of the input, and whether the rest may be left out."""

    facts: tuple[Path, ...]
    prune: bool


class Analysis(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `opa deps` and `opa inspect` found when the version was built, and `identities`: the agents' names
    by their other identities (`identities.py`), and what is in `shadow` (`shadow.py`).
    """

    format: int
    entry_points: dict[str, EntryPoint]
    nondeterministic: tuple[str, ...]
    identities: dict[str, str] = {}
    shadow: ShadowScope = ShadowScope()

    def as_metadata(self) -> dict[str, Any]:
        """The `metadata` member of a manifest."""
        return {MEMBER: msgspec.to_builtins(self)}


class Changes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the version before, cut to a bounded size; `sha256` is of the whole difference."""

    files: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    left_out: int = 0
    sha256: str = ""


class Release(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a version came to be published. `published`: RFC 3339 in UTC. `dependencies`: what of `data` each
    entry point reads, as dotted paths. `coverage`: percent of the lines that its tests run, "" if nobody
    asked. `previous`: the revision that was published before; `changes` are against it. `commit`: of the git
    work tree that the source lay in, unchanged.
    """

    published: str
    author: str
    opa: str
    why: str = ""
    dependencies: dict[str, tuple[str, ...]] = {}
    coverage: str = ""
    commit: str = ""
    previous: str = ""
    changes: Changes = Changes()


class Manifest(Struct, frozen=True):
    """An active bundle of ours. `version` and `digest` are the two halves of `revision`."""

    revision: str
    version: str
    digest: str
    analysis: Analysis


def split_revision(revision: str) -> tuple[str, str] | None:
    """(version, digest) of `<version>+<digest>`, None if it has another form."""
    match = _REVISION.fullmatch(revision)
    return (match[1], match[2]) if match else None


def entry_name(path: str) -> str:
    """By what an entry point is known: as OPA's API, its empty parts do not count."""
    return "/".join(filter(None, path.split("/")))


def is_version(name: str) -> bool:
    """Whether `name` can be the part of a revision before the `+`."""
    return _REVISION.fullmatch(f"{name}+{'0' * 64}") is not None


def read_manifest(manifest: Any) -> Manifest | None:
    """Our manifest, or None for anything else: no revision of ours, roots that leave paths to others, or
    metadata of another form.
    """
    if not isinstance(manifest, dict) or manifest.get("roots") != [""]:
        return None
    halves = split_revision(str(manifest.get("revision", "")))
    if halves is None:
        return None
    try:
        analysis = msgspec.convert(manifest["metadata"][MEMBER], Analysis)
    except (KeyError, TypeError, msgspec.ValidationError):
        return None
    if analysis.format != FORMAT:
        return None
    return Manifest(manifest["revision"], *halves, analysis)


def read_release(manifest: Any) -> Release:
    """Raises ValueError for a manifest that does not say how it came to be published."""
    try:
        return msgspec.convert(manifest["metadata"][RELEASE], Release)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise ValueError(f"no release in the manifest: {error}") from None
