"""Patterns: anchored for every alternative, dots that stand for a dot."""

from __future__ import annotations

import pytest
import re2

from authz.policy.lint import patterns


@pytest.mark.parametrize("pattern", ["^a$", r"\Aa\z", "^(a|b)$", "(?i)^a$", "^[|]$", r"^a\|b$"])
def test_a_pattern_for_the_whole_text_is_anchored(pattern: str) -> None:
    assert patterns.anchored(pattern)


@pytest.mark.parametrize("pattern", ["a", "^a", "a$", "^a|b$", "^a$|^b", "(?m)^a$", "(?im)^a$", "(^a$)", ""])
def test_a_pattern_that_may_match_a_part_is_not(pattern: str) -> None:
    assert not patterns.anchored(pattern)


@pytest.mark.parametrize("literal", ['"a"', "`a|b`", '"^a$|b"', r"`a\.b`", r'"a\\.b"'])
def test_mended_patterns_match_only_the_whole(literal: str) -> None:
    quote, text = literal[0], patterns.between_anchors(literal)
    pattern = text[1:-1] if quote == "`" else text[1:-1].replace("\\\\", "\\")
    assert patterns.anchored(pattern)
    assert not re2.search(pattern, "xax")


@pytest.mark.parametrize(
    ("literal", "mended"),
    [
        ("`^a.b$`", r"`^a\.b$`"),
        ('"^a.b.c$"', r'"^a\\.b\\.c$"'),
        (r"`^a\.b.c$`", r"`^a\.b\.c$`"),
        ("`^[.]a.*b$`", "`^[.]a.*b$`"),
    ],
)
def test_bare_dots_are_escaped_and_no_others(literal: str, mended: str) -> None:
    assert patterns.with_dots_escaped(literal) == mended
