"""Makes an immutable policy version: Rego and data in, a signed bundle that says what it reads out.

Called by `aegis policy build` and `make up`. The same source gives the same revision:

    revision = <version>+<digest>
    digest   = lowercase hex SHA-256 over, sorted by path, of every file of the bundle but `.signatures.json`:
               uint64-BE length of path || path || uint64-BE length of bytes || bytes
               with `/.manifest` as sorted compact JSON without its `revision`

The manifest holds the analysis, so that the digest covers what the worker will believe about it. A file
once published is never written again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from authz.errors import PolicyRejected
from authz.policy.analysis import analyse
from authz.policy.duplicates import refuse_duplicates
from authz.policy.identities import identities_of
from authz.policy.manifest import Analysis, is_version
from authz.policy.opa_tool import OpaTool
from authz.policy.shadow import shadow_of

ALGORITHM: Final = "ES256"
KEY_ID: Final = "aegis-policy"
SUFFIX: Final = ".tar.gz"
DEFAULT_ENTRY_POINTS: Final = ("aegis/decision",)
_MANIFEST: Final = "/.manifest"
_SIGNATURES: Final = "/.signatures.json"
_TESTS: Final = "*_test.rego"


class PolicyVersion(Struct, frozen=True):
    """A version as it lies in the bundle directory."""

    revision: str
    version: str
    digest: str
    file: Path
    analysis: Analysis


def build_bundle(
    source: Path,
    out: Path,
    *,
    version: str,
    signing_key: Path,
    entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS,
    opa: str = "opa",
) -> PolicyVersion:
    """Check, test, analyse, sign and publish `source`, a directory in bundle layout, as
    `out/<revision>.tar.gz`.

    `signing_key` is an ES256 private key in PEM (`signing.ensure_signing_key`). Raises PolicyRejected,
    naming file and rule, when opa refuses the source, one of its tests fails, an entry point is missing, or
    `version` is already published with other content.
    """
    if not is_version(version):
        raise PolicyRejected(f"{version!r}: a version is 1 to 64 of A-Z a-z 0-9 . _ -, no sign first")
    tool, signing_key = OpaTool(opa), signing_key.resolve()
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        work = Path(name)
        plain = build_plain(source, work, tool)
        _test(source, tool)
        contents = contents_of(plain)
        analysis = analyse(plain, entry_points, tool)
        data = orjson.loads(contents.get("/data.json", b"{}"))
        analysis = replace(analysis, identities=identities_of(data), shadow=shadow_of(data))
        revision = _lay_out(work / "tree", contents, analysis, version)
        signed = work / "signed.tar.gz"
        signature = ["--signing-alg", ALGORITHM, "--signing-key", str(signing_key)]
        signature += ["--verification-key-id", KEY_ID]
        tool.run(["build", "-b", ".", "-o", str(signed), *signature], work / "tree")
        if digest_of(contents_of(signed)) != revision.partition("+")[2]:
            raise PolicyRejected("opa build changed the content: no digest would name it")
        file = _publish(signed, out, revision)
    return PolicyVersion(revision, version, revision.partition("+")[2], file, analysis)


def analyse_source(
    source: Path, entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS, *, opa: str = "opa"
) -> Analysis:
    """What a version made of `source` would read. Raises PolicyRejected as `build_bundle` does."""
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        return analyse(build_plain(source, Path(name), OpaTool(opa)), entry_points, OpaTool(opa))


def digest_of(content: dict[str, bytes]) -> str:
    """The content digest of a bundle's files, by their paths in the bundle (`/.manifest`, ...)."""
    sha = hashlib.sha256()
    for path in sorted(content, key=str.encode):
        if path == _SIGNATURES:
            continue
        data = _without_revision(content[path]) if path == _MANIFEST else content[path]
        for part in (path.encode(), data):
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)
    return sha.hexdigest()


def build_plain(source: Path, work: Path, tool: OpaTool) -> Path:
    """The bundle without tests, metadata and signature: what is analysed is what will be served."""
    source, plain = source.resolve(), work.resolve() / "plain.tar.gz"
    _refuse_foreign(source)
    refuse_duplicates(source)
    tool.run(["check", "--strict", "--bundle", "."], source)
    tool.run(["build", "-b", ".", "--ignore", _TESTS, "-o", str(plain)], source)
    return plain


def _test(source: Path, tool: OpaTool) -> None:
    """The source's own `opa test`s; what a failing one prints says what is wrong with the data."""
    if any(source.rglob(_TESTS)):
        tool.run(["test", "--bundle", "."], source)


def _refuse_foreign(source: Path) -> None:
    """A source with its own manifest or signatures would change what is built behind our back."""
    for path in sorted(source.rglob("*")):
        if path.name in (".manifest", ".signatures.json"):
            raise PolicyRejected(f"{path}: the manifest and its signature are made here")
        if path.is_symlink():
            raise PolicyRejected(f"{path}: a symbolic link; opa build would leave it out")


def contents_of(bundle: Path) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    with tarfile.open(bundle, "r:gz") as tar:
        for member in tar:
            data = tar.extractfile(member)
            if data is not None:
                content["/" + member.name.lstrip("/")] = data.read()
    return content


def _without_revision(manifest: bytes) -> bytes:
    tree: dict[str, Any] = orjson.loads(manifest)
    tree.pop("revision", None)
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)


def _lay_out(tree: Path, content: dict[str, bytes], analysis: Analysis, version: str) -> str:
    """Write the files with their final manifest below `tree`; returns the revision it names."""
    manifest = orjson.loads(content[_MANIFEST]) | {"roots": [""], "metadata": analysis.as_metadata()}
    content = content | {_MANIFEST: orjson.dumps(manifest)}
    manifest["revision"] = f"{version}+{digest_of(content)}"
    content[_MANIFEST] = orjson.dumps(manifest)
    for path, data in content.items():
        file = tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return str(manifest["revision"])


def _publish(signed: Path, out: Path, revision: str) -> Path:
    """Put the file under its revision; what is already there stays as it is."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{revision}{SUFFIX}"
    version = revision.partition("+")[0]
    others = [other for other in out.glob(f"*{SUFFIX}") if other.name.partition("+")[0] == version]
    for other in others:
        if other != file:
            raise PolicyRejected(f"{version} is already published with other content: {other.name}")
    if not others:
        beside = out / f".{revision}.{os.getpid()}"
        shutil.copyfile(signed, beside)
        with beside.open("rb") as copied:
            os.fsync(copied.fileno())
        try:
            os.link(beside, file)  # unlike a rename, this never replaces
        except FileExistsError:
            pass
        finally:
            beside.unlink()
        sync_directory(out)
    return file


def sync_directory(directory: Path) -> None:
    """Make what was linked or renamed in `directory` survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
