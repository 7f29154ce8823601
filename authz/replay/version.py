"""A policy version that recorded questions can be put to: a published bundle, or a directory of sources.

In: a file or a directory. Out: a Version, or NotJudged that says why not. Called by whatever replays.
A bundle is what its digest says: whoever puts another one in its place, under its name, is found out here.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import orjson
from msgspec import Struct

from authz.errors import AegisError, PolicyRejected
from authz.policy.analysis import analyse
from authz.policy.identities import identities_of
from authz.policy.making import DEFAULT_ENTRY_POINTS, build_plain, contents_of, digest_of
from authz.policy.manifest import Analysis, read_manifest
from authz.policy.opa_tool import OpaTool
from authz.policy.versions import SUFFIX


class NotJudged(AegisError):
    """A version cannot judge recorded questions: the text names it and says why."""


class Altered(NotJudged):
    """The file of a published version holds something else than was published."""


class NotRepeatable(NotJudged):
    """It calls built-ins that may answer differently each time, or that reach the network."""


class GivenUp(NotJudged):
    """It took more time or memory than it may."""


class Version(Struct, frozen=True):
    """`content` by path in the bundle (`/aegis/decision.rego`, `/data.json`); `label`: its revision, or the
    directory that it was made of.
    """

    label: str
    content: dict[str, bytes]
    analysis: Analysis


def of_bundle(file: Path) -> Version:
    """The published version in `file`, whose name is its revision. Raises NotJudged, and Altered if its
    content is not what that names; OSError.
    """
    try:
        content = contents_of(file)
        manifest = read_manifest(orjson.loads(content.get("/.manifest", b"null")))
    except (tarfile.TarError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise Altered(f"{file}: not a bundle: {error}") from None
    if manifest is None:
        raise Altered(f"{file}: not a version that was published here")
    if digest_of(content) != manifest.digest or f"{manifest.revision}{SUFFIX}" != file.name:
        raise Altered(f"{file}: its content is not what its name says")
    return Version(manifest.revision, content, manifest.analysis)


def of_source(
    source: Path, entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS, *, opa: str = "opa"
) -> Version:
    """What a version made of the directory `source` would be, untested. Raises PolicyRejected."""
    tool = OpaTool(opa)
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        plain = build_plain(source, Path(name), tool)
        content = contents_of(plain)
        analysis = analyse(plain, entry_points, tool)
    identities = identities_of(orjson.loads(content.get("/data.json", b"{}")))
    return Version(
        str(source),
        content,
        Analysis(analysis.format, analysis.entry_points, analysis.nondeterministic, identities),
    )


def find(directory: Path, digest: str) -> Version | None:
    """The published version with this content `digest`, None if there is none. Raises as `of_bundle`."""
    files = sorted(directory.glob(f"*+{digest}{SUFFIX}"))
    return of_bundle(files[0]) if files else None


def named(directory: Path, name: str) -> Version:
    """The published version called `name` (also its whole revision). Raises PolicyRejected if there is none
    or more than one, and as `of_bundle`.
    """
    files = [file for file in directory.glob(f"*{SUFFIX}") if _called(file, name)]
    if len(files) != 1:
        raise PolicyRejected(f"{name} is not published in {directory}")
    return of_bundle(files[0])


def _called(file: Path, name: str) -> bool:
    revision = file.name.removesuffix(SUFFIX)
    return name in (revision, revision.partition("+")[0])
