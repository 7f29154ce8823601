"""A version called after a commit is what that commit has, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.errors import PolicyRejected
from authz.policy.work_tree import clean_commit, commit_of
from tests.policy.opa import write


def git(directory: Path, *arguments: str) -> str:
    named = ["-c", "user.name=ana", "-c", "user.email=ana@aegis.test"]
    done = subprocess.run(
        ["git", *named, *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of a work tree, as committed."""
    write(
        tmp_path / "tree", {"rego/p.rego": "package p\n", "beside.txt": "x", "rego/.gitignore": "data.json\n"}
    )
    git(tmp_path / "tree", "init", "-q")
    git(tmp_path / "tree", "add", "-A")
    git(tmp_path / "tree", "commit", "-qm", "first")
    return tmp_path / "tree/rego"


def test_a_clean_source_is_its_commit_whatever_lies_beside_it(source: Path) -> None:
    head = git(source, "rev-parse", "HEAD")
    assert commit_of(source) == head
    (source.parent / "beside.txt").write_text("edited")
    (source.parent / "new.txt").write_text("new")
    assert commit_of(source) == clean_commit(source) == head


def edited(source: Path) -> None:
    (source / "p.rego").write_text("package q\n")


def staged(source: Path) -> None:
    edited(source)
    git(source, "add", "-A")


def hidden(source: Path) -> None:
    git(source, "update-index", "--assume-unchanged", "p.rego")
    edited(source)


def skipped(source: Path) -> None:
    git(source, "update-index", "--skip-worktree", "p.rego")
    edited(source)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edited, "p.rego"),
        (staged, "p.rego"),
        (hidden, "p.rego"),
        (skipped, "p.rego"),
        (lambda source: (source / "p.rego").unlink(), "p.rego"),
        (lambda source: (source / "new.rego").write_text("package n\n"), "new.rego"),
        (lambda source: (source / "data.json").write_text("{}"), "data.json"),
    ],
    ids=["edited", "staged", "assumed unchanged", "skipped", "removed", "untracked", "ignored"],
)
def test_anything_that_the_commit_has_not_is_named(
    source: Path, change: Callable[[Path], None], named: str
) -> None:
    change(source)
    with pytest.raises(PolicyRejected, match=named):
        commit_of(source)
    assert clean_commit(source) == ""


def test_a_directory_in_no_work_tree_is_no_commit(tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected, match=f"{tmp_path}: git rev-parse: fatal: not a git repository"):
        commit_of(tmp_path)


def test_a_work_tree_without_a_commit_is_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(PolicyRejected, match="git rev-parse"):
        commit_of(tmp_path)


def test_another_repository_in_the_environment_is_not_asked(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = git(source, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit_of(source) == head
