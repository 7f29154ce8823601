"""`aegis policy list|show|diff|changelog|rollback`: what they print, in a directory and in a bucket."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authz.cli.policy import app
from authz.policy.difference import MOST_SUMMARY
from authz.policy.signing import ensure_signing_key
from tests.policy.opa import write
from tests.s3 import S3Server
from tests.unit.policy.test_checks import TREE
from tests.unit.policy.test_store import bucket
from tests.unit.policy.test_work_tree import git

SECOND = TREE | {"data.json": '{"who": "a", "limits": {"rows": 100}}'}


class Author:
    """Somebody with a source and a state directory."""

    def __init__(self, directory: Path, config: Path) -> None:
        self.directory, self.config = directory, config

    def run(self, *arguments: object) -> tuple[int, str]:
        told = [str(each) for each in (*arguments, "--config", self.config)]
        done = CliRunner().invoke(app, told)
        return done.exit_code, done.output

    def said(self, *arguments: object) -> str:
        code, output = self.run(*arguments)
        assert code == 0, output
        return output

    def json(self, *arguments: object) -> Any:
        return json.loads(self.said(*arguments, "--json"))

    def publish(self, version: str, tree: dict[str, str], *more: object) -> str:
        source = write(self.directory / "rego", tree)
        why = ("--why", f"because of {version}", "--author", "Ana")
        return self.said("publish", source, "--version", version, *why, *more).strip()


@pytest.fixture(params=["directory", "s3"])
def author(request: pytest.FixtureRequest, tmp_path: Path) -> Author:
    ensure_signing_key(tmp_path / "state/keys/policy.pem")
    told: dict[str, Any] = {"state": str(tmp_path / "state")}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_of_checkpoints")
        told["follower"] = {"bundle_s3": json.loads(bucket(server).model_dump_json())}
    (tmp_path / "aegis.yaml").write_text(json.dumps(told))
    return Author(tmp_path, tmp_path / "aegis.yaml")


def test_an_author_sees_what_is_published_and_goes_back(author: Author) -> None:
    assert author.said("list") == ""
    first = author.publish("v1.0.0", TREE)
    author.said("activate", "v1.0.0", "--why", "go")
    second = author.publish("v1.1.0", SECOND)
    assert first.startswith("v1.0.0+")
    assert second.startswith("v1.1.0+")
    new, old = author.said("list").splitlines()
    assert [new.split()[0], *old.split()[:2]] == ["v1.1.0", "v1.0.0", "active"]
    assert new.endswith("Ana: because of v1.1.0")

    author.said("activate", "v1.1.0")
    assert author.said("rollback", "--why", "too wide").strip() == first
    shown = author.said("show", "v1.0.0")
    assert "aegis/decision reads input['agent']['id']" in shown
    assert "aegis/decision rests on data.who" in shown
    assert shown.splitlines()[-1].endswith("too wide, active now")
    told = author.json("show", "v1.0.0")
    assert [each["action"] for each in told["activations"]] == ["activate", "rollback"]
    assert told["files"] == ["/aegis/p.rego", "/data.json"]
    assert told["dependencies"] == {"aegis/decision": ["data.who"]}
    assert told["coverage"] == "100.0"

    code, said = author.run("rollback", "--why", "further")
    assert (code, said) == (1, "nothing was active before v1.0.0\n")


def test_versions_are_compared_by_file_rule_and_pointer(author: Author) -> None:
    author.publish("v1.0.0", TREE)
    author.publish("v1.1.0", SECOND)
    assert author.said("diff", "v1.0.0", "v1.1.0") == 'data   added    /limits: {"rows":100}\n'
    told = author.json("diff", "v1.0.0", "v1.1.0")
    assert told["data"] == [{"what": "added", "where": "/limits", "new": '{"rows":100}'}]
    assert author.json("changelog")[0]["changes"]["sha256"] == told["sha256"]
    lines = author.said("diff", "v1.0.0", "v1.1.0", "--unified").splitlines()
    assert '+    "rows": 100' in lines
    # A directory is what a version made of it would be.
    assert author.said("diff", "v1.1.0", author.directory / "rego") == ""
    code, said = author.run("diff", "v1.0.0", "v9.9.9")
    assert code == 1
    assert said.startswith("v9.9.9 is neither published in ")


def test_the_changelog_says_who_published_what_why_and_what_changed(author: Author) -> None:
    author.publish("v1.0.0", TREE)
    author.publish("v1.1.0", SECOND)
    newest, oldest = author.said("changelog").split("\n\n")
    assert newest.splitlines()[0].startswith("v1.1.0  2")
    assert newest.splitlines()[0].endswith("Z  Ana: because of v1.1.0")
    assert "  data       added /limits" in newest.splitlines()
    assert "  against    nothing: the first version" in oldest.splitlines()
    numbers = [each["number"] for each in author.json("changelog")]
    assert numbers == [2, 1]
    assert author.json("list")[1]["changes"]["rules"] == ["added data.aegis.decision"]


def test_publishing_again_changes_nothing_and_other_content_is_refused(author: Author) -> None:
    first = author.publish("v1.0.0", TREE)
    source = write(author.directory / "rego", TREE)
    again = ("publish", source, "--version", "v1.0.0", "--why", "another reason")
    assert author.said(*again) == f"{first}\npublished before, by Ana: because of v1.0.0\n"
    write(author.directory / "rego", SECOND)
    code, said = author.run(*again)
    assert (code, said) == (1, f"v1.0.0 is already published with other content: {first}\n")
    assert len(author.json("list")) == 1


def test_a_version_can_be_called_after_its_commit(author: Author) -> None:
    tree = author.directory / "tree"
    source = write(tree, {f"rego/{name}": text for name, text in TREE.items()}) / "rego"
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    head = git(tree, "rev-parse", "HEAD")
    assert author.said("publish", source, "--vcs", "--why", "x").startswith(f"git-{head}+")
    assert author.json("show", f"git-{head}")["commit"] == head
    (source / "new.rego").write_text("package n\n")
    code, said = author.run("publish", source, "--vcs", "--why", "x")
    assert code == 1
    assert f"not what commit {head[:12]} has: rego/new.rego" in said


@pytest.mark.parametrize("names", [(), ("--version", "v1.0.0", "--vcs")])
def test_a_version_has_one_name(author: Author, names: tuple[str, ...]) -> None:
    tree = write(author.directory / "tree", TREE)
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    code, said = author.run("publish", tree, *names, "--why", "x")
    assert (code, said) == (1, "a version needs a name: either --version vN.N.N, or --vcs\n")


def test_the_digest_is_the_contents_whoever_publishes_it_when_and_why(author: Author) -> None:
    first = author.publish("v1.0.0", TREE)
    second = author.publish("v1.0.1", TREE, "--why", "another", "--author", "Ben")
    assert first.partition("+")[2] == second.partition("+")[2]


def test_a_large_difference_is_cut_and_nothing_of_it_commands_the_terminal(author: Author) -> None:
    author.publish("v1.0.0", TREE)
    rows = {f"k{number}\x1b[2J": number for number in range(MOST_SUMMARY + 5)}
    author.publish("v1.1.0", TREE | {"rows/data.json": json.dumps(rows | {"x": [1]})})
    author.publish("v1.2.0", TREE | {"rows/data.json": json.dumps({"x": [1]})})
    said = author.said("changelog")
    assert "and 5 changes more" in said
    assert "\x1b" not in said
    assert len(author.said("diff", "v1.1.0", "v1.2.0").splitlines()) == MOST_SUMMARY + 5


def test_the_manifest_that_opa_serves_has_who_and_why(author: Author, tmp_path: Path) -> None:
    revision = author.publish("v1.0.0", TREE)
    if "bundle_s3" in author.config.read_text():
        return
    bundle = author.directory / f"state/bundles/{revision}.tar.gz"
    done = subprocess.run(["opa", "inspect", "-f", "json", str(bundle)], capture_output=True, check=True)
    release = json.loads(done.stdout)["manifest"]["metadata"]["release"]
    assert (release["author"], release["why"]) == ("Ana", "because of v1.0.0")
    assert release["changes"]["rules"] == ["added data.aegis.decision"]
