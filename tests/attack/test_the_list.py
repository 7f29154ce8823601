"""The table of attacks in this directory's README names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
TEST = re.compile(r"`([\w./]+\.py)::(\w+)`")


def rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each attack with the tests beside it: file and function."""
    lines = (HERE / "README.md").read_text().splitlines()
    cells = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")][1:]
    return [(attack.strip(), TEST.findall(tests)) for attack, tests in cells]


def functions_of(file: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, kinds)}


def test_every_attack_has_tests_and_they_are_there() -> None:
    table = rows()
    assert len(table) > 20
    for attack, named in table:
        assert named, attack
        for file, function in named:
            assert function.startswith("test_"), function
            assert function in functions_of(HERE / file), f"{attack}: {file} has no {function}"


def test_no_attack_is_listed_twice() -> None:
    attacks = [attack for attack, _ in rows()]
    assert len(attacks) == len(set(attacks))
