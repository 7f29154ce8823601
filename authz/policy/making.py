"""Makes an immutable policy version: Rego and data in, a signed bundle that says what it reads out.

Called by `version.py` and `followers/releases.py`, which publish it. The same source gives the same revision:

    revision = <version>+<digest>
    digest   = lowercase hex SHA-256 over, sorted by path, of every file of the bundle but `.signatures.json`:
               uint64-BE length of path || path || uint64-BE length of bytes || bytes
               with `/.manifest` as sorted compact JSON without its `revision` and its `metadata.release`

The manifest holds the analysis, so that the digest covers what the worker will believe about it. It does not
cover who published the content when and why (`metadata.release`): the same source is the same content whoever
publishes it. OPA's signature covers both.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from authz.errors import PolicyRejected
from authz.policy import checks
from authz.policy.analysis import analyse, dependencies
from authz.policy.checks import Standards
from authz.policy.duplicates import refuse_duplicates
from authz.policy.identities import identities_of
from authz.policy.manifest import RELEASE, Analysis, Release, entry_name, is_version, read_release
from authz.policy.opa_tool import OpaTool
from authz.policy.shadow import shadow_of
from authz.policy.signed import verified
from authz.policy.wasm.binary import MODULE

ALGORITHM: Final = "ES256"
KEY_ID: Final = "aegis-policy"
DEFAULT_ENTRY_POINTS: Final = ("aegis/decision",)
STANDARDS: Final = Standards()
_MANIFEST: Final = "/.manifest"
_SIGNATURES: Final = "/.signatures.json"

Files = dict[str, bytes]
"""Of a bundle, by their paths in it (`/.manifest`, ...)."""


class Made(Struct, frozen=True):
    """A version that is checked and analysed, not yet signed. `files`: with the manifest but for its release.
    `dependencies`: what each entry point reads of `data`. `coverage`: as in Release.
    """

    revision: str
    version: str
    digest: str
    analysis: Analysis
    files: Files
    dependencies: dict[str, tuple[str, ...]]
    coverage: str
    opa: str


def make(
    source: Path,
    *,
    version: str,
    entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS,
    standards: Standards = STANDARDS,
    wasm: bool = False,
    tool: OpaTool,
) -> Made:
    """Check, test and analyse `source`, a directory in bundle layout. With `wasm` the version also holds
    OPA's WebAssembly of it, for workers with `policy.engine: wasm`.

    Raises PolicyRejected, naming file and rule, when opa refuses the source, it is below the standards, one
    of its tests fails, or an entry point is missing.
    """
    if not is_version(version):
        raise PolicyRejected(f"{version!r}: a version is 1 to 64 of A-Z a-z 0-9 . _ -, no sign first")
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        plain = build_plain(source, Path(name), tool, standards)
        files = contents_of(plain)
        data = orjson.loads(files.get("/data.json", b"{}"))
        checks.check_bundle(plain, data, tool)
        analysis = analyse(plain, entry_points, tool)
        read = {
            entry_name(each): tuple(".".join(path) for path in dependencies(plain, each, tool))
            for each in entry_points
        }
    coverage = checks.run_tests(source, standards.coverage, tool)
    if wasm:
        from authz.policy.wasm.compiling import compile_wasm  # here: it loads wasmtime

        files[MODULE] = compile_wasm(files, [entry_name(each) for each in entry_points], tool)
    analysis = replace(analysis, identities=identities_of(data), shadow=shadow_of(data))
    manifest = orjson.loads(files[_MANIFEST]) | {"roots": [""], "metadata": analysis.as_metadata()}
    files[_MANIFEST] = orjson.dumps(manifest)
    digest = digest_of(files)
    files[_MANIFEST] = orjson.dumps(manifest | {"revision": f"{version}+{digest}"})
    return Made(f"{version}+{digest}", version, digest, analysis, files, read, coverage, tool.version())


def renamed(made: Made, version: str) -> Made:
    """The same content under another name."""
    revision = f"{version}+{made.digest}"
    manifest = orjson.loads(made.files[_MANIFEST]) | {"revision": revision}
    files = made.files | {_MANIFEST: orjson.dumps(manifest)}
    return replace(made, revision=revision, version=version, files=files)


def sign(made: Made, release: Release, signing_key: Path, tool: OpaTool) -> bytes:
    """The bundle, signed with the ES256 private key in PEM (`signing.ensure_signing_key`)."""
    manifest = orjson.loads(made.files[_MANIFEST])
    manifest["metadata"] |= {RELEASE: msgspec.to_builtins(release)}
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        tree, signed = Path(name) / "tree", Path(name) / "signed.tar.gz"
        for path, data in (made.files | {_MANIFEST: orjson.dumps(manifest)}).items():
            file = tree / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        signature = ["--signing-alg", ALGORITHM, "--signing-key", str(signing_key.resolve())]
        signature += ["--verification-key-id", KEY_ID]
        tool.run(["build", "-b", ".", "-o", str(signed), *signature], tree)
        if digest_of(contents_of(signed)) != made.digest:
            raise PolicyRejected("opa build changed the content: no digest would name it")
        return signed.read_bytes()


def check_signed(bundle: bytes, made: Made, public_key: str) -> Release:
    """The release of a bundle that somebody else made of the same content, signed by this key (PEM).

    Raises PolicyRejected for any other bundle.
    """
    try:
        files = verified(bundle, public_key, KEY_ID, ALGORITHM)
    except PolicyRejected as error:
        raise PolicyRejected(f"{made.revision} lies there by another hand: {error}") from None
    if digest_of(files) != made.digest:
        raise PolicyRejected(f"{made.revision}: what lies there has another content")
    try:
        return read_release(orjson.loads(files[_MANIFEST]))
    except ValueError as error:
        raise PolicyRejected(f"{made.revision}: {error}") from None


def analyse_source(
    source: Path, entry_points: Sequence[str] = DEFAULT_ENTRY_POINTS, *, opa: str = "opa"
) -> Analysis:
    """What a version made of `source` would read. Raises PolicyRejected as `make` does."""
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        return analyse(build_plain(source, Path(name), OpaTool(opa)), entry_points, OpaTool(opa))


def files_of_source(source: Path, tool: OpaTool) -> Files:
    """The files of a version made of `source`, with nothing about it in the manifest."""
    with tempfile.TemporaryDirectory(prefix="aegis-policy-") as name:
        return contents_of(build_plain(source, Path(name), tool))


def files_of(bundle: bytes) -> Files:
    """The files of a bundle. Raises PolicyRejected for bytes that are none."""
    with tempfile.NamedTemporaryFile(prefix="aegis-policy-") as file:
        file.write(bundle)
        file.flush()
        try:
            return contents_of(Path(file.name))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise PolicyRejected(f"not a bundle: {error}") from None


def digest_of(content: Files) -> str:
    """The content digest of a bundle's files."""
    sha = hashlib.sha256()
    for path in sorted(content, key=str.encode):
        if path == _SIGNATURES:
            continue
        data = _covered(content[path]) if path == _MANIFEST else content[path]
        for part in (path.encode(), data):
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)
    return sha.hexdigest()


def build_plain(source: Path, work: Path, tool: OpaTool, standards: Standards = STANDARDS) -> Path:
    """The bundle without tests, metadata and signature: what is analysed is what will be served."""
    source, plain = source.resolve(), work.resolve() / "plain.tar.gz"
    checks.check_files(source)
    refuse_duplicates(source)
    if standards.formatted:
        checks.check_format(source, tool)
    checks.check_rego(source, tool, schema=standards.schema)
    tool.run(["build", "-b", ".", "--ignore", checks.TESTS, "-o", str(plain)], source)
    return plain


def contents_of(bundle: Path) -> Files:
    """The files of the bundle in a file. Raises OSError, tarfile.TarError, EOFError, zlib.error."""
    content: Files = {}
    with tarfile.open(bundle, "r:gz") as tar:
        for member in tar:
            data = tar.extractfile(member)
            if data is not None:
                content["/" + member.name.lstrip("/")] = data.read()
    return content


def _covered(manifest: bytes) -> bytes:
    """Of the manifest what the digest covers."""
    tree: dict[str, Any] = orjson.loads(manifest)
    tree.pop("revision", None)
    if isinstance(tree.get("metadata"), dict):
        tree["metadata"].pop(RELEASE, None)
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
