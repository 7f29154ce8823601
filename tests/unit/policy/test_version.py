"""Policy versions: the same source is the same revision, and a published one never changes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from authz.errors import KeyUnusable, PolicyRejected
from authz.policy.making import digest_of
from authz.policy.manifest import is_version, read_manifest, split_revision
from authz.policy.signing import ensure_signing_key, public_key
from tests.policy.bundles import PolicyVersion, build_bundle

REGO = (
    'package aegis\n\ndecision := {"decision": "allow", "reason_code": "ok"} if input.agent.id == data.who\n'
)
TREE = {
    "aegis/decision.rego": REGO,
    "data.json": '{"who": "a"}',
    "aegis/d_test.rego": "package t\n\ntest_x if 1 == 1\n",
}


def write(directory: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def build(
    tmp_path: Path, tree: dict[str, str] = TREE, version: str = "v1", out: str = "bundles"
) -> PolicyVersion:
    key = tmp_path / "policy.pem"
    ensure_signing_key(key)
    shutil.rmtree(tmp_path / "source", ignore_errors=True)
    source = write(tmp_path / "source", tree)
    return build_bundle(source, tmp_path / out, version=version, signing_key=key)


def members(version: PolicyVersion) -> dict[str, bytes]:
    with tarfile.open(version.file, "r:gz") as tar:
        return {"/" + m.name.lstrip("/"): tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def test_the_revision_is_version_and_digest_of_what_is_in_the_file(tmp_path: Path) -> None:
    version = build(tmp_path)
    content = members(version)
    manifest = json.loads(content["/.manifest"])
    assert set(content) == {"/.manifest", "/.signatures.json", "/data.json", "/aegis/decision.rego"}
    assert manifest["revision"] == version.revision == f"v1+{digest_of(content)}"
    assert version.file.name == f"{version.revision}.tar.gz"
    assert manifest["roots"] == [""]
    read = read_manifest(manifest)
    assert read is not None
    assert (read.version, read.digest, read.analysis) == ("v1", version.digest, version.analysis)


def test_the_same_source_gives_the_same_revision_from_any_directory(tmp_path: Path) -> None:
    one, two = build(tmp_path, out="one"), build(tmp_path, out="two")
    (tmp_path / "elsewhere").mkdir()
    three = build(tmp_path / "elsewhere")
    assert one.revision == two.revision == three.revision


@pytest.mark.parametrize(
    "change",
    [
        {"data.json": '{"who": "b"}'},
        {"aegis/decision.rego": REGO.replace("allow", "deny")},
        {"aegis/more.rego": "package more\n\nx := 1\n"},
    ],
)
def test_any_other_content_is_another_digest(tmp_path: Path, change: dict[str, str]) -> None:
    assert build(tmp_path, out="one").digest != build(tmp_path, TREE | change, out="two").digest


def test_tests_are_not_part_of_a_version(tmp_path: Path) -> None:
    without = {name: text for name, text in TREE.items() if "_test" not in name}
    assert build(tmp_path, out="one").digest == build(tmp_path, without, out="two").digest


def test_the_digest_tells_paths_from_bytes() -> None:
    contents = [{"/a": b"bc"}, {"/ab": b"c"}, {"/a": b"b", "/c": b""}, {"/a": b"b"}, {}]
    assert len({digest_of(content) for content in contents}) == len(contents)
    assert digest_of({"/.manifest": b'{"revision":"x","roots":[""]}'}) == digest_of(
        {"/.manifest": b'{"roots":[""]}'}
    )


def test_publishing_the_same_version_again_leaves_its_file_as_it_was(tmp_path: Path) -> None:
    before = build(tmp_path).file.read_bytes()
    assert build(tmp_path).file.read_bytes() == before  # an ES256 signature differs every time


def test_a_published_version_cannot_get_other_content(tmp_path: Path) -> None:
    version = build(tmp_path)
    with pytest.raises(PolicyRejected, match="v1 is already published"):
        build(tmp_path, TREE | {"data.json": "{}"})
    assert sorted(os.listdir(tmp_path / "bundles")) == ["changelog", version.file.name]
    assert os.listdir(tmp_path / "bundles/changelog") == ["00000001.json"]


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"aegis/decision.rego": "package aegis\n\ndecision := "}, "decision.rego:3"),
        ({"aegis/decision.rego": "package aegis\n\nimport data.x\n\ndecision := 1\n"}, "decision.rego:3"),
        ({"aegis/decision.rego": "package aegis\n\nother := 1\n"}, "aegis/decision"),
        (TREE | {".manifest": "{}"}, ".manifest"),
        (TREE | {"sub/.signatures.json": "{}"}, ".signatures.json"),
        ({}, "aegis/decision"),
    ],
    ids=["syntax", "strict", "entry point", "manifest", "signatures", "empty"],
)
def test_what_is_wrong_with_a_source_is_named(tmp_path: Path, tree: dict[str, str], named: str) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(PolicyRejected, match=named.replace(".", r"\.")):
        build_bundle(
            write(tmp_path / "source", tree),
            tmp_path / "out",
            version="v1",
            signing_key=key_at(tmp_path / "k.pem"),
        )


def test_a_version_whose_own_tests_fail_is_not_made(tmp_path: Path) -> None:
    failing = 'package t\n\ntest_who if {\n\tprint("nobody is ", data.who)\n\tdata.who == "b"\n}\n'
    with pytest.raises(PolicyRejected, match="test_who: FAIL") as caught:
        build(tmp_path, TREE | {"aegis/d_test.rego": failing})
    assert "nobody is  a" in str(caught.value)
    assert not (tmp_path / "bundles").exists()


def key_at(path: Path) -> Path:
    ensure_signing_key(path)
    return path


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "source", TREE)
    (source / "linked.rego").symlink_to(source / "aegis/decision.rego")
    with pytest.raises(PolicyRejected, match=r"linked\.rego"):
        build_bundle(source, tmp_path / "out", version="v1", signing_key=key_at(tmp_path / "k.pem"))


@pytest.mark.parametrize("version", ["", "v1+x", "../v1", "-v", "v" * 65, "v 1", "v1\n"])
def test_a_version_has_a_plain_name(tmp_path: Path, version: str) -> None:
    assert not is_version(version)
    with pytest.raises(PolicyRejected):
        build(tmp_path, version=version)


def test_a_missing_opa_is_said(tmp_path: Path) -> None:
    source = write(tmp_path / "source", TREE)
    with pytest.raises(PolicyRejected, match="no-such-opa"):
        build_bundle(
            source, tmp_path / "out", version="v1", signing_key=key_at(tmp_path / "k.pem"), opa="/no-such-opa"
        )


@pytest.mark.parametrize("revision", ["", "v1", "v1+", f"v1+{'a' * 63}", f"v1+{'A' * 64}", f"+{'a' * 64}"])
def test_other_revisions_are_not_ours(revision: str) -> None:
    assert split_revision(revision) is None


def test_a_signing_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "policy.pem"
    first = ensure_signing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_signing_key(path) == first == public_key(path)
    assert "PUBLIC KEY" in first
    assert "PRIVATE" not in first


def test_an_unusable_signing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.pem"
    ensure_signing_key(path)
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="0600"):
        public_key(path)
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(KeyUnusable, match=str(path)):
        public_key(path)
    with pytest.raises(KeyUnusable, match="nothing"):
        public_key(tmp_path / "nothing")
