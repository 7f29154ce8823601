"""Results of policies for opa-envoy-plugin: the order of checks, and nothing that Envoy could not be told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.compat.result import MAX_DEPTH, STATUSES, read_result
from authz.values import Decision, PluginAnswer, Reason

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "headers", "dynamic_metadata", "request_headers_to_remove", "response_headers_to_add",
    "query_parameters_to_remove", "query_parameters_to_set", "body", "http_status",
)  # fmt: skip
# In the order in which the plugin looks; the first error is what is said.
ON_ALLOW = MEMBERS[:6]
ON_DENIAL = (*MEMBERS[:2], *MEMBERS[6:])


def fault(result: Any) -> str:
    with pytest.raises(Denied) as caught:
        read_result(result)
    assert caught.value.reason is Reason.POLICY_ERROR
    return caught.value.detail.removeprefix("policy result: ")


def answer(**members: Any) -> PluginAnswer:
    found = read_result({"allowed": True} | members).answer
    assert found is not None
    return found


@pytest.mark.parametrize(("allowed", "order"), [(True, ON_ALLOW), (False, ON_DENIAL)])
def test_the_first_wrong_member_in_the_plugins_order_is_named(allowed: bool, order: tuple[str, ...]) -> None:
    wrong = {"allowed": allowed} | dict.fromkeys(MEMBERS)
    for member in order:
        assert fault(wrong).startswith(f"{member}:")
        del wrong[member]
    read_result(wrong)


@given(st.fixed_dictionaries({"allowed": st.booleans()}, optional=dict.fromkeys(MEMBERS, ANY)))
def test_whatever_a_policy_returns_is_a_verdict_or_a_denial_that_names_a_member(
    result: dict[str, Any],
) -> None:
    try:
        verdict = read_result(result)
    except Denied:
        assert fault(result)
        return
    assert verdict.decision is (Decision.ALLOW if result["allowed"] else Decision.DENY)
    assert verdict.answer is not None


@given(ANY.filter(lambda value: not isinstance(value, (bool, dict))))
def test_anything_but_a_boolean_and_an_object_is_denied(result: Any) -> None:
    assert fault(result) == "neither a boolean nor an object"


@pytest.mark.parametrize("status", [0, 101, 102, 103, 418, 425, 451, 599, 401.0, "401", True, None, 2**70])
def test_a_status_that_envoy_does_not_know_is_denied(status: Any) -> None:
    assert fault({"allowed": False, "http_status": status}).startswith("http_status:")


def test_every_status_that_envoy_knows_is_taken() -> None:
    assert len(STATUSES) == 56
    for status in STATUSES:
        verdict = read_result({"allowed": False, "http_status": status})
        assert verdict.answer is not None
        assert verdict.answer.http_status == status


@pytest.mark.parametrize("name", ["", "a b", "a:", ":path", "a\r\nb", "ä", "a\x00", '"'])
@pytest.mark.parametrize("member", ["headers", "response_headers_to_add"])
def test_a_header_name_that_http_forbids_is_denied_and_not_quoted(name: str, member: str) -> None:
    assert fault({"allowed": True, member: {name: "v"}}) == "a header's name or value that HTTP forbids"


@pytest.mark.parametrize("value", ["a\r\nb", "a\n", "\x00", "\x7f", "a\x1fb"])
def test_a_header_value_that_http_forbids_is_denied(value: str) -> None:
    assert "HTTP forbids" in fault({"allowed": True, "headers": {"x": value}})


def test_a_query_parameter_cannot_end_the_request_line() -> None:
    (pair,) = answer(query_parameters_to_set={"a b": "c d\r\nX: y#é%20&"}).query_to_set
    assert pair == ("a%20b", "c%20d%0D%0AX:%20y%23%C3%A9%20&")


def test_a_name_that_no_header_has_is_not_removed() -> None:
    assert answer(request_headers_to_remove=["X-A", "", ":path", "a b"]).headers_to_remove == ("X-A",)


def test_metadata_is_as_deep_as_readers_of_protobuf_go() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH - 1):
        deep = {"a": deep}
    assert answer(dynamic_metadata={"a": deep}).metadata
    assert (
        fault({"allowed": True, "dynamic_metadata": {"a": {"a": deep}}})
        == "dynamic_metadata: nested too deeply"
    )


def test_it_is_known_whether_a_byte_of_the_request_was_lost() -> None:
    assert answer(headers={"x": "a\ufffd"}).replaced
    assert answer(dynamic_metadata={"a": [{"\ufffd": 1}]}).replaced
    assert not answer(headers={"x": '["\ufffd"]'}).replaced
    assert not answer(headers={"x": "a"}).replaced
