"""The commands of the README and of each page in docs/ work as they stand, in their order.

A block tagged ```sh is run, in a copy of the tree, as one script that must succeed; a block that is only
`make up` stays running for the blocks after it. A block tagged ```console shows what somebody saw, and is not
run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from authz.up.deployment import ROOT

LIMIT_S = 120
RUNNING = "Ctrl-C ends everything"
FEWER = {"DECISIONS": "600"}  # where a page makes ten thousand
_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    line: int
    script: str


def blocks(text: str) -> list[Block]:
    return [Block(text.count("\n", 0, found.start()) + 2, found[1]) for found in _FENCE.finditer(text)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What git knows of the tree, with this environment for its own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@contextmanager
def make_up(directory: Path) -> Iterator[None]:
    """`make up` in the background until the block ends."""
    said = directory / "make-up.out"
    with said.open("w") as out:
        process = subprocess.Popen(
            ["make", "up"], cwd=directory, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + LIMIT_S
        while RUNNING not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as the terminal's Ctrl-C does
        process.wait(timeout=60)


def run(block: Block, directory: Path, page: str) -> None:
    command, told = ["bash", "-eu", "-c", block.script], os.environ | FEWER
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=told
    )
    assert done.returncode == 0, (
        f"{page}:{block.line}: status {done.returncode}\n{block.script}\n{done.stdout}\n{done.stderr}"
    )


def play(listed: list[Block], directory: Path, page: str = "README.md") -> None:
    for number, block in enumerate(listed):
        if block.script.strip() == "make up":
            with make_up(directory):
                play(listed[number + 1 :], directory, page)
            return
        run(block, directory, page)


@pytest.mark.timeout(10 * LIMIT_S)
def test_the_readmes_commands_work_in_their_order(copy: Path) -> None:
    listed = blocks((copy / "README.md").read_text())
    assert any("make up" in block.script for block in listed)
    play(listed, copy)


@pytest.mark.timeout(5 * LIMIT_S)
@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_the_commands_of_a_page_work_in_their_order(page: str, copy: Path) -> None:
    play(blocks((copy / "docs" / page).read_text()), copy, f"docs/{page}")


def test_a_command_that_fails_is_named_by_its_line(tmp_path: Path) -> None:
    text = "# Title\n\n```sh\ntrue\n```\n\n```console\n$ false\n```\n\n```sh\ntrue | false\n```\n"
    assert blocks(text) == [Block(4, "true\n"), Block(12, "true | false\n")]
    with pytest.raises(AssertionError, match=r"README\.md:12: status 1"):
        play(blocks(text), tmp_path)
