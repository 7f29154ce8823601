"""Members put into YAML that people write: they are there, and every other byte stays."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from authz.errors import PolicyRejected
from authz.policy.yaml_text import put

TEXT = """# The head.
one:
  # about a
  a: {x: 1, y: {}}   # behind it
  list: [1, 2]

two:
  deep:
    b: "text"

  # the tail of two
three: {}
"""


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "four", {"a": {"b": {}}}),
        (("one",), "c", {"d": 1}),
        (("one", "a"), "z", {"k": [1]}),
        (("one", "a", "y"), "w", 1),
        (("two", "deep"), "c", {}),
        (("two",), "flat", "x"),
        (("three",), "a", {}),
        (("three",), 'odd: "name" #', {"- x": "{y}"}),
    ],
)
def test_it_is_there_and_all_else_is_as_it_was(path: tuple[str, ...], name: str, value: Any) -> None:
    changed = put(TEXT, path, name, value)
    expected = yaml.safe_load(TEXT)
    node = expected
    for step in path:
        node = node[step]
    node[name] = value
    assert yaml.safe_load(changed) == expected
    kept = [line for line in TEXT.splitlines() if line not in changed.splitlines()]
    assert len(kept) <= 1  # a mapping in braces is changed in its own line


@pytest.mark.parametrize("text", ["{}\n", "# head\n{}\n", "a: 1", "a: 1\n\n\n"])
def test_empty_files_and_files_without_a_last_newline(text: str) -> None:
    changed = put(text, (), "b", {"c": {}})
    assert yaml.safe_load(changed) == (yaml.safe_load(text) or {}) | {"b": {"c": {}}}
    assert changed.endswith("\n")
    assert ("# head" in text) == ("# head" in changed)


@pytest.mark.parametrize(
    ("path", "name"), [(("one",), "a"), (("one", "list"), "a"), (("nine",), "a"), (("two", "deep", "b"), "a")]
)
def test_what_is_there_or_is_no_mapping_is_refused(path: tuple[str, ...], name: str) -> None:
    with pytest.raises(PolicyRejected):
        put(TEXT, path, name, {})


def test_what_is_no_yaml_is_refused() -> None:
    with pytest.raises(PolicyRejected, match="not YAML"):
        put("a: {", (), "b", {})
