"""`aegis anchors` says how far each anchor is, and fetches what those outside hold; with `aegis verify`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from authz.cli.main import app
from authz.followers.anchors.outside import Outside
from authz.followers.anchors.receipts import Done, Receipts
from authz.followers.own_keys import OwnKeys
from tests import ledgers
from tests.anchoring import BUCKET, KINDS, Everybody, everybody, sealed
from tests.workers import Worker


@pytest.fixture
def outsiders(tmp_path: Path) -> Iterator[Everybody]:
    with everybody(tmp_path) as made:
        yield made


def aegis(worker: Worker, section: dict[str, Any], *arguments: object) -> tuple[int, str]:
    config = worker.state / "aegis.yaml"
    tree = {"deployment": "aegis.test", "state": str(worker.state), "anchors": section}
    config.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
    done = CliRunner().invoke(app, [*map(str, arguments), "--config", str(config)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


async def anchored(worker: Worker, outsiders: Everybody) -> str:
    """The log of a worker whose newest checkpoint everybody has seen."""
    log = await sealed(worker)
    outsiders.witness.trust(log)
    settings, stop = outsiders.settings(worker), asyncio.Event()
    stop.set()  # one pass
    outside = Outside(settings, OwnKeys.of(settings))
    await asyncio.gather(*outside.tasks(stop).values())
    outside.close()
    return log


async def test_status_says_how_far_each_is(worker: Worker, outsiders: Everybody) -> None:
    log = await anchored(worker, outsiders)
    status, said = aegis(worker, outsiders.section, "anchors", "status")
    assert (status, sorted(said.splitlines())) == (
        0,
        [f"{kind:<9}  {log}  5 of 5 sealed entries, up to date" for kind in sorted(KINDS)],
    )


async def test_what_is_late_is_said_and_is_the_exit_status(worker: Worker, outsiders: Everybody) -> None:
    log = await anchored(worker, outsiders)
    Receipts(worker.state / "anchors").note(log, "witness", Done(3, 1_767_225_600.0))
    status, said = aegis(worker, outsiders.section, "anchors", "status", "--json")
    rows = {row["anchor"]: row for row in json.loads(said)}
    assert status == 1
    assert {kind for kind, row in rows.items() if row["late"]} == {"witness"}
    assert (rows["witness"]["anchored"], rows["witness"]["sealed"]) == (3, 5)
    assert rows["witness"]["lag_s"] > 3600
    assert aegis(worker, outsiders.section, "anchors", "status")[1].count("LATE") == 1


async def test_the_lines_for_witnesses_are_what_they_take(worker: Worker, outsiders: Everybody) -> None:
    log = await sealed(worker)
    status, said = aegis(worker, outsiders.section, "anchors", "vkeys")
    assert status == 0
    (line,) = said.splitlines()
    assert line.split(" ")[0] == log
    outsiders.witness.add_log(*line.split(" "))
    settings, stop = outsiders.settings(worker), asyncio.Event()
    stop.set()
    outside = Outside(settings, OwnKeys.of(settings))
    await asyncio.gather(*outside.tasks(stop).values())
    outside.close()
    assert aegis(worker, outsiders.section, "anchors", "status")[1].count("5 of 5") == len(KINDS)


async def test_without_anchors_there_is_nothing_to_say(worker: Worker) -> None:
    await sealed(worker)
    for command in (("status",), ("fetch", worker.state / "x")):
        status, said = aegis(worker, {}, "anchors", *command)
        assert (status, said.startswith("no anchors are set")) == (2, True)


async def verified(worker: Worker, outsiders: Everybody, *given: Path) -> tuple[int, str]:
    """`aegis verify` with the trust that `aegis keys export-trust` prints."""
    status, printed = aegis(worker, outsiders.section, "keys", "export-trust")
    assert status == 0
    trust = worker.state / "trust.json"
    trust.write_text(printed)
    options = [option for path in given for option in ("--anchors", str(path))]
    done = CliRunner().invoke(app, ["verify", str(worker.root.parent), "--trust", str(trust), *options])
    return done.exit_code, done.output


async def test_what_is_fetched_and_what_lies_here_verifies_with_the_exported_trust(
    worker: Worker, outsiders: Everybody, tmp_path: Path
) -> None:
    log = await anchored(worker, outsiders)
    status, said = aegis(worker, outsiders.section, "anchors", "fetch", tmp_path / "fetched")
    assert status == 0
    assert str(tmp_path / "fetched" / "s3" / log / f"{5:020}") in said
    assert str(tmp_path / "fetched" / "witness" / log / f"{5:020}.cosigned") in said
    status, said = await verified(worker, outsiders, tmp_path / "fetched", worker.state / "anchors")
    assert status == 0, said
    assert said.count("anchored outside: the first 5 entries, there before 20") == 2
    assert "anchored outside: the first 5 entries, no date (copies)" in said
    assert "tail exposure\n  none: every entry is under an outside anchor" in said
    assert "witnesses, time stamps" not in said


async def test_a_new_version_in_front_of_an_object_is_said_and_does_not_count(
    worker: Worker, outsiders: Everybody, tmp_path: Path
) -> None:
    """An attacker with all rights but those over locked versions puts a smaller checkpoint in front."""
    log = await anchored(worker, outsiders)
    key = f"anchors/{log}/{5:020}"
    ledgers.seal(worker.epochs[-1], log, 3)
    smaller = (worker.epochs[-1] / "checkpoint").read_bytes()
    outsiders.s3.client.put_object(Bucket=BUCKET, Key=key, Body=smaller)
    outsiders.s3.client.delete_object(Bucket=BUCKET, Key=key)
    worker.judged = True
    ledgers.store(worker.epochs[-1], ledgers.read(worker.epochs[-1])[:3])
    status, said = aegis(worker, outsiders.section, "anchors", "fetch", tmp_path / "fetched")
    assert (status, f"{log}/{5:020}: 1 newer versions in front" in said) == (1, True)
    status, said = await verified(worker, outsiders, tmp_path / "fetched" / "s3")
    assert status == 1
    assert "rolled back: the log ends here, but 5 entries were anchored outside" in said


async def test_nothing_is_written_over_what_lies_there(
    worker: Worker, outsiders: Everybody, tmp_path: Path
) -> None:
    log = await anchored(worker, outsiders)
    file = tmp_path / "fetched" / "s3" / log / f"{5:020}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    status, said = aegis(worker, outsiders.section, "anchors", "fetch", tmp_path / "fetched")
    assert (status, file.read_bytes()) == (2, b"mine")
    assert f"{file}: something else lies there" in said
    (tmp_path / "again").mkdir()
    for _ in range(2):
        assert aegis(worker, outsiders.section, "anchors", "fetch", tmp_path / "again")[0] == 0


async def test_who_cannot_be_had_keeps_it_from_running(worker: Worker, tmp_path: Path) -> None:
    await sealed(worker)
    section = {"s3": {"bucket": "abc", "endpoint": "http://127.0.0.1:9", "timeout_s": 1}}
    status, said = aegis(worker, section, "anchors", "fetch", tmp_path / "fetched")
    assert status == 2
    assert "s3://abc/" in said


async def test_files_are_checked_before_a_start(worker: Worker, tmp_path: Path) -> None:
    section = {"witness": {"policy": str(tmp_path / "none")}}
    (worker.state / "keys" / "agents.jwks.json").write_text("{}")
    status, said = aegis(worker, section, "config", "check", "--files")
    assert (status, f"{tmp_path / 'none'}: No such file" in said) == (2, True)
