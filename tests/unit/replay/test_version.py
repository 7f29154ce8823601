"""A version is what its digest says, wherever it was found."""

import shutil
from pathlib import Path

import pytest

from authz.errors import PolicyRejected
from authz.replay import version
from authz.replay.version import Altered
from tests.policy.opa import ALLOW, DENY, version_of, write

RULE = f"{DENY}\ndecision := {ALLOW} if input.agent.id == "


def test_a_published_version_is_found_by_its_digest_and_by_its_name(tmp_path: Path) -> None:
    made = version_of(tmp_path, RULE + '"a"')
    bundles = made.file.parent
    found = version.find(bundles, made.digest)
    assert found is not None
    assert found.label == made.revision
    assert found.analysis == made.analysis
    assert found == version.named(bundles, "v1") == version.named(bundles, made.revision)
    assert version.find(bundles, "0" * 64) is None
    with pytest.raises(PolicyRejected, match="v2 is not published"):
        version.named(bundles, "v2")


def test_a_source_is_read_as_it_would_be_published(tmp_path: Path) -> None:
    made = version_of(tmp_path, RULE + '"a"')
    found = version.of_source(tmp_path / "source-v1")
    assert found.analysis == made.analysis
    assert (
        found.content["/aegis/decision.rego"] == version.of_bundle(made.file).content["/aegis/decision.rego"]
    )


def test_a_source_that_opa_refuses_says_why(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"aegis/decision.rego": "package aegis\n\ndecision := nothing"})
    with pytest.raises(PolicyRejected, match="nothing is unsafe"):
        version.of_source(source)


def test_another_bundle_under_the_same_name_is_found_out(tmp_path: Path) -> None:
    made = version_of(tmp_path, RULE + '"a"')
    other = version_of(tmp_path / "other", RULE + '"b"')
    shutil.copyfile(other.file, made.file)
    with pytest.raises(Altered, match="its content is not what its name says"):
        version.find(made.file.parent, made.digest)


@pytest.mark.parametrize("data", [b"", b"no bundle", b"\x1f\x8b\x08\x00\x00\x00"])
def test_what_is_no_bundle_is_named(tmp_path: Path, data: bytes) -> None:
    made = version_of(tmp_path, RULE + '"a"')
    made.file.write_bytes(data)
    with pytest.raises(Altered, match="not a"):
        version.of_bundle(made.file)


def test_a_bundle_cut_short_is_named(tmp_path: Path) -> None:
    made = version_of(tmp_path, RULE + '"a"')
    made.file.write_bytes(made.file.read_bytes()[:-40])
    with pytest.raises(Altered):
        version.of_bundle(made.file)
