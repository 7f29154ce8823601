"""A decision through Envoy, dated by strangers: a real witness, a real authority, locked objects.

Only the control log is shown to them; its heads bind the worker's log. An outsider with the ledger's files,
the pinned keys and what was anchored finds for which time the record is proven, and that a cut is a cut.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.up.deployment import program
from authz.up.traffic import RECORDS
from tests.anchoring import Everybody, everybody
from tests.e2e.stack import Stack, running

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def outsiders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybody]:
    with everybody(tmp_path_factory.mktemp("outside")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, outsiders: Everybody) -> Iterator[Stack]:
    """A deployment that shows its control log to everybody."""
    section = json.loads(json.dumps(outsiders.section, default=str))
    for kind in ("witness", "rfc3161", "s3", "directory"):
        section[kind] |= {"of": "control", "every_s": 0.5}
    with running(tmp_path_factory.mktemp("stack"), follower={"heads_s": 0.5}, anchors=section) as started:
        yield started


def ours(stack: Stack, *arguments: str) -> str:
    """A command that reads the settings, and must succeed."""
    command = [program("aegis"), *arguments, "--config", stack.deployment.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verified(ledger: Path, trust: Path, given: Path) -> tuple[int, dict[str, Any]]:
    command = [program("aegis"), "verify", ledger, "--trust", trust, "--anchors", given, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def dated(report: dict[str, Any], worker: str) -> dict[str, int]:
    """How many entries of the worker's log each kind of word dates."""
    (log,) = (log for log in report["logs"] if f"/{worker}/" in log["log"])
    return {anchor["by"]: anchor["size"] for anchor in log["anchors"]}


@pytest.fixture(scope="module")
def copy(stack: Stack, outsiders: Everybody, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ledger`, `anchors` and `trust.json` of the moment in which a decision was dated by everybody."""
    for line in ours(stack, "anchors", "vkeys").splitlines():
        outsiders.witness.add_log(*line.split(" "))
    with stack.client() as client:
        seq = stack.record(client.get(RECORDS))["seq"]
    end = time.monotonic() + WITHIN_S
    while True:
        made = tmp_path_factory.mktemp("copy")
        (made / "trust.json").write_text(ours(stack, "keys", "export-trust"))
        state = stack.deployment.settings.state
        for name in ("anchors", "ledger"):  # the later of the two holds all that the earlier one has seen
            shutil.copytree(state / name, made / name)
        status, report = verified(made / "ledger", made / "trust.json", made / "anchors")
        seen = dated(report, "worker-0")
        # What is written while it is copied may have a checkpoint that came after its entries.
        if status == 0 and min(seen.get(by, 0) for by in ("witnesses", "time stamp", "")) > seq:
            return made
        assert time.monotonic() < end, report
        time.sleep(0.2)


def test_a_record_is_dated_by_strangers_who_saw_the_control_log_only(copy: Path) -> None:
    logs = {path.parent.name for path in (copy / "anchors").rglob("*/*/*") if path.is_dir()}
    assert logs == {"control"}
    files = sorted((copy / "ledger" / "control").glob("*/entries/*.jsonl"))
    entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    told = {entry["anchor"] for entry in entries if entry["kind"] == "anchor"}
    assert told == {"witness", "rfc3161", "s3", "directory"}


def test_a_tail_that_strangers_have_seen_is_missed(copy: Path, tmp_path: Path) -> None:
    """The holder of all keys cuts the worker's log, and whatever he signs over what is left."""
    shutil.copytree(copy / "ledger", tmp_path / "ledger")
    (segment,) = (tmp_path / "ledger" / "worker-0").glob("*/entries/*.jsonl")
    segment.write_bytes(segment.read_bytes().splitlines(keepends=True)[0])
    (segment.parents[1] / "checkpoint").unlink()
    status, report = verified(tmp_path / "ledger", copy / "trust.json", copy / "anchors")
    assert status == 1
    assert report["first_fault"]["what"].startswith("rolled back: the log ends here, but ")
    assert (report["first_fault"]["file"], report["first_fault"]["seq"]) == (str(segment), 1)
