"""What is in the policy source now is what gets published, under a name that never changes its meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.errors import PolicyRejected
from authz.followers.releases import Releases
from authz.policy.store import DirectoryStore
from authz.policy.versions import Versions
from authz.up.deployment import program
from authz.up.policies import Published, next_name, publish
from tests.policy.bundles import build_bundle
from tests.policy.opa import activate, active, listed

ALLOW = 'package aegis\n\ndecision := {"decision": "allow", "reason_code": "policy_compliant"}\n'
DENY = ALLOW.replace("allow", "deny")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "rego"
    (directory / "aegis").mkdir(parents=True)
    (directory / "aegis/policy.rego").write_text(ALLOW)
    return directory


def started(source: Path, tmp_path: Path) -> Published:
    versions = Versions(DirectoryStore(tmp_path / "bundles"))
    releases = Releases(versions, tmp_path / "control.sqlite", "ana")
    return publish(source, releases, tmp_path / "keys/policy.pem", opa=str(program("opa")))


def published(source: Path, tmp_path: Path) -> str:
    revision, edited = started(source, tmp_path)
    assert not edited
    return revision


def test_the_same_source_is_the_same_version(source: Path, tmp_path: Path) -> None:
    first = published(source, tmp_path)
    assert first.startswith("v1.3.2+")
    assert published(source, tmp_path) == first
    assert len(list((tmp_path / "bundles").glob("*.tar.gz"))) == 1


def test_an_edited_source_gets_the_next_name_and_going_back_the_old_one(source: Path, tmp_path: Path) -> None:
    first = published(source, tmp_path)
    (source / "aegis/policy.rego").write_text(DENY)
    second = published(source, tmp_path)
    (source / "aegis/policy.rego").write_text(DENY.replace("policy_compliant", "closed"))
    third = published(source, tmp_path)
    assert [revision.partition("+")[0] for revision in (first, second, third)] == [
        "v1.3.2",
        "v1.3.2-2",
        "v1.3.2-3",
    ]
    (source / "aegis/policy.rego").write_text(ALLOW)
    assert published(source, tmp_path) == first
    file = active(tmp_path / "bundles")
    assert file is not None
    assert file.name.startswith(first)


def test_a_source_that_was_published_by_hand_keeps_the_name_it_got(source: Path, tmp_path: Path) -> None:
    published(source, tmp_path)
    (source / "aegis/policy.rego").write_text(DENY)
    key = tmp_path / "keys/policy.pem"
    by_hand = build_bundle(source, tmp_path / "bundles", version="v1.4.0", signing_key=key)
    assert published(source, tmp_path) == by_hand.revision


def test_a_source_that_does_not_compile_changes_nothing(source: Path, tmp_path: Path) -> None:
    published(source, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "bundles").rglob("*.*")}
    (source / "aegis/policy.rego").write_text("package aegis\n\ndecision := undefined_name\n")
    with pytest.raises(PolicyRejected, match=r"policy\.rego"):
        published(source, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "bundles").rglob("*.*")} == before


def test_a_version_that_somebody_activated_stays_whatever_the_source_says(
    source: Path, tmp_path: Path
) -> None:
    first, bundles = published(source, tmp_path), tmp_path / "bundles"
    (source / "aegis/policy.rego").write_text(DENY)
    theirs = build_bundle(
        source, bundles, version="v1.4.1", signing_key=tmp_path / "keys/policy.pem"
    ).revision
    activate(bundles, "v1.4.1")
    assert started(source, tmp_path) == (theirs, False)
    for edit in (ALLOW, DENY.replace("policy_compliant", "closed")):
        (source / "aegis/policy.rego").write_text(edit)
        assert started(source, tmp_path) == (theirs, True)
    assert {file.name for file in bundles.glob("*.tar.gz")} == {f"{first}.tar.gz", f"{theirs}.tar.gz"}


def test_one_content_under_two_names_stays_under_the_active_one(source: Path, tmp_path: Path) -> None:
    published(source, tmp_path)
    again = build_bundle(
        source, tmp_path / "bundles", version="v1.4.1", signing_key=tmp_path / "keys/policy.pem"
    )
    activate(tmp_path / "bundles", "v1.4.1")
    assert published(source, tmp_path) == again.revision


def test_the_next_name_is_above_all_that_are_taken(tmp_path: Path) -> None:
    versions = Versions(DirectoryStore(tmp_path))
    assert next_name(versions) == "v1.4.0"
    for name in ("v1.3.2-7", "v1.10.3-rc.1", "v1.9.0", "odd"):
        listed(tmp_path, f"{name}+{'0' * 64}", b"")
    assert next_name(versions) == "v1.11.0"
