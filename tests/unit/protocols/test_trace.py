"""traceparent, as W3C Trace Context (section 3.2) has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.trace import traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("flags", "sampled"),
    [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True), ("fe", False)],
)
def test_the_lowest_flag_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    assert traceparent(f"00-{TRACE}-{SPAN}-{flags}") == (TRACE, SPAN, sampled)


def test_later_versions_may_say_more() -> None:
    assert traceparent(f"01-{TRACE}-{SPAN}-01") == (TRACE, SPAN, True)
    assert traceparent(f"cc-{TRACE}-{SPAN}-00-what-comes") == (TRACE, SPAN, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01-a\nb",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_anything_else_counts_as_absent(text: str) -> None:
    assert traceparent(text) is None


@given(
    st.one_of(
        st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?", fullmatch=True)
    )
)
def test_no_text_is_an_error(text: str) -> None:
    found = traceparent(text)
    assert found is None or text[2:].startswith(f"-{found[0]}-{found[1]}-")
