"""No pattern uses what some Python that we support gets wrong.

Python 3.11.2, which Debian 12 ships, matches possessive quantifiers where it should not (an empty header name
passed for one). They came with 3.11, so a pattern without them is the same everywhere.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import authz

parser: Any = importlib.import_module("re._parser")


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(authz.__path__, "authz."):
        if not module.name.startswith(("authz._pb", "authz.tether")):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{module.name}.{name}", value


def operations(parsed: Any) -> Iterator[str]:
    """Names of all operations in a parsed pattern, at any depth."""
    for part in parsed if isinstance(parsed, list | tuple | parser.SubPattern) else ():
        if isinstance(part, int) and hasattr(part, "name"):
            yield str(part.name)
        else:
            yield from operations(part)


def used(pattern: str | bytes, flags: int = 0) -> set[str]:
    return set(operations(parser.parse(pattern, flags)))


@pytest.mark.parametrize(
    ("name", "pattern"), list(patterns()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_pattern_is_possessive_or_atomic(name: str, pattern: re.Pattern[Any]) -> None:
    assert not used(pattern.pattern, pattern.flags) & {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}, name


def test_the_search_finds_them_at_any_depth() -> None:
    assert "POSSESSIVE_REPEAT" in used(r"a(?:b|(c\n)*+)")
    assert "ATOMIC_GROUP" in used(r"(?:x(?>ab))*")
    assert "POSSESSIVE_REPEAT" not in used(r"a(?:b|(c\n)*)")
