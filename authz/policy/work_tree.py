"""Which git commit a policy source is: a version can be called after it, and says it in its manifest.

In: a directory. Out: the commit, or PolicyRejected with what keeps the source from being one. Only the source
has to be as committed; what lies beside it is no part of a version.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from authz.errors import PolicyRejected

TIMEOUT_S: Final = 30
MOST_NAMED: Final = 10


def commit_of(source: Path) -> str:
    """The full hash of HEAD. Raises PolicyRejected if `source` is in no work tree, or has anything that HEAD
    has not: edited, added, removed, or ignored.
    """
    head = _git(source, "rev-parse", "--verify", "HEAD").strip()
    # Neither of these can hide an edit from `git status` then.
    hidden = [line[2:] for line in _git(source, "ls-files", "-v", "--", ".").splitlines() if line[0] in "hSs"]
    if hidden:
        raise PolicyRejected(
            f"{source}: {_named(hidden)}: marked as unchanged or to be skipped in git's index"
        )
    status = ["status", "--porcelain", "--ignored", "--untracked-files=all", "--ignore-submodules=none"]
    changed = _git(source, *status, "--", ".").splitlines()
    if changed:
        raise PolicyRejected(
            f"{source}: not what commit {head[:12]} has: {_named([line[3:] for line in changed])}; commit it "
            "first, or name a --version"
        )
    return head


def clean_commit(source: Path) -> str:
    """The same, "" where there is none."""
    try:
        return commit_of(source)
    except PolicyRejected:
        return ""


def _git(source: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - arguments are ours, no shell
            ["git", *arguments],  # noqa: S607 - the author's own git
            cwd=source,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyRejected(f"{source}: git: {error}") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PolicyRejected(f"{source}: git {arguments[0]}: {said[0] if said else 'failed'}")
    return done.stdout.decode(errors="replace")


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(paths[:MOST_NAMED]) + more
