"""The compiled question: which fields, in which bytes, cacheable or not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Denied
from authz.policy.document import FIELDS
from authz.policy.facts import CREDENTIALS, VOLATILE_HEADERS, WHOLE, WITHHELD, Plan, is_volatile, withhold
from authz.policy.manifest import EntryPoint
from authz.testing import PlainAttributes, a_request
from authz.values import Action, Assurance, Facts, Reason, Request, Subject

NOW = datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
SUBJECT = Subject("a", Assurance.JWT, claims={"role": "clerk", "exp": 1})
HEADERS = "attributes request http headers"


def plan(*paths: str | Sequence[str], prune: bool = True) -> Plan:
    facts = tuple(tuple(path.split()) if isinstance(path, str) else tuple(path) for path in paths)
    return Plan(EntryPoint(facts, prune), revision="r", deterministic=True)


def asked(made: Plan, request: Request | None = None) -> Facts:
    return made.facts(request or a_request(), SUBJECT, NOW)


def document(made: Plan, request: Request | None = None) -> Any:
    return orjson.loads(asked(made, request).question)


def heading(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return a_request(headers=named, attributes=PlainAttributes({"request": {"http": {"headers": named}}}))


def test_nothing_read_asks_an_empty_document() -> None:
    assert asked(plan()) == Facts(b"{}", "r", True)


def test_equal_facts_are_equal_bytes_whatever_else_differs() -> None:
    made = plan("agent claims", "action method")
    one = made.facts(a_request(path="/x"), Subject("a", Assurance.JWT, claims={"b": 1, "a": 2}), NOW)
    two = made.facts(a_request(host="y.example"), Subject("z", Assurance.MTLS, claims={"a": 2, "b": 1}), NOW)
    assert one == two


def test_an_ancestor_takes_all_fields_below_and_a_path_goes_into_the_value() -> None:
    assert document(plan("now", "agent claims role")) == {
        "agent": {"claims": {"role": "clerk"}},
        "now": {"date": "2026-11-24", "hour": 13, "minute": 5, "weekday": "tuesday"},
    }


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("nowhere", {}),
        ("token", {}),
        ("action arguments", {"action": {}}),
        ("agent nothing", {"agent": {}}),
        ("agent claims nothing", {"agent": {"claims": {}}}),
        ("agent claims nothing at all", {"agent": {"claims": {}}}),
        ("agent claims role x", {"agent": {"claims": {"role": "clerk"}}}),
        ("now hour x", {"now": {"hour": 13}}),
        ("agent chain x", {"agent": {"chain": []}}),
        ("parsed_body a b", {"parsed_body": None}),
        ("parsed_query q", {"parsed_query": {}}),
        ("attributes source principal", {"attributes": {}}),
        (f"{HEADERS} x-a", {"attributes": {"request": {"http": {"headers": {}}}}}),
        ("attributes request http method x", {"attributes": {"request": {"http": {"method": "GET"}}}}),
    ],
)
def test_what_is_missing_is_left_out_and_what_stands_on_the_way_is_not(path: str, left: Any) -> None:
    attributes = PlainAttributes({"request": {"http": {"method": "GET", "headers": {"accept": "*/*"}}}})
    assert document(plan(path), a_request(attributes=attributes)) == left


def test_a_null_is_there_and_is_not_undefined() -> None:
    assert document(plan("parsed_body")) == {"parsed_body": None}


def test_a_path_within_another_changes_nothing() -> None:
    assert asked(plan("agent", "agent claims role")) == asked(plan("agent"))


def test_not_pruned_is_the_whole_document() -> None:
    assert document(plan("agent id", prune=False)) == document(Plan(WHOLE, revision="", deterministic=False))
    assert not asked(plan("agent id", prune=False)).cacheable


def test_a_policy_that_is_not_deterministic_is_never_cacheable() -> None:
    made = Plan(EntryPoint((), True), revision="r", deterministic=False)
    assert not asked(made).cacheable


@pytest.mark.parametrize(
    ("path", "cacheable"),
    [
        ("now minute", True),
        ("attributes request http method", True),
        ("attributes source principal", True),
        ("attributes request time", False),
        ("attributes request time seconds", False),
        ("attributes request http id", False),
        ("attributes request http", False),
        ("attributes request", False),
        ("attributes", False),
        ("attributes source", False),
        ("attributes source address socketAddress portValue", False),
        ("attributes source address socketAddress address", True),
        (f"{HEADERS} x-a", True),
        (f"{HEADERS} x-request-id", False),
        (f"{HEADERS} traceparent", False),
        (f"{HEADERS} date", False),
        ("attributes request http headerMap", False),
        ("context model", True),
        ("context claimed", True),
        ("session identified", True),
        ("context action_id", False),
        ("context step_id", False),
        ("context", False),
    ],
)
def test_a_volatile_field_makes_the_question_uncacheable(path: str, cacheable: bool) -> None:
    assert asked(plan(path)).cacheable is cacheable


def test_all_headers_are_cacheable_only_where_none_is_volatile() -> None:
    made = plan(HEADERS)
    assert asked(made, heading(accept="*/*")).cacheable
    assert not asked(made, heading(accept="*/*", x_request_id="1")).cacheable
    assert document(made, heading(x_request_id="1"))["attributes"]["request"]["http"]["headers"] == {
        "x-request-id": "1"
    }


def test_every_volatile_header_is_known_by_its_path() -> None:
    assert all(is_volatile((*HEADERS.split(), name)) for name in VOLATILE_HEADERS)


@pytest.mark.parametrize("path", ["", "attributes", "attributes request", "attributes request http", HEADERS])
@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_no_question_about_all_headers_carries_a_credential(path: str, name: str) -> None:
    request = heading(**{name.replace("-", "_"): "s3cret", "accept": "*/*"})
    facts = asked(plan(path), request)
    assert b"s3cret" not in facts.question
    headers = document(plan(path), request)["attributes"]["request"]["http"]["headers"]
    assert headers == {name: WITHHELD, "accept": "*/*"}
    assert request.attributes.at(("request", "http", "headers", name)) == "s3cret"


def test_a_named_credential_is_sent_and_the_others_stay_withheld() -> None:
    request = heading(authorization="one", cookie="two")
    headers = document(plan(HEADERS, f"{HEADERS} authorization"), request)["attributes"]["request"]["http"][
        "headers"
    ]
    assert headers == {"authorization": "one", "cookie": WITHHELD}


@pytest.mark.parametrize("path", ["attributes", "attributes request http headerMap"])
def test_raw_headers_carry_no_credential_either(path: str) -> None:
    entries = [{"key": "Authorization", "rawValue": "czNjcmV0"}, {"key": "accept", "value": "*/*"}]
    attributes = PlainAttributes({"request": {"http": {"headerMap": {"headers": entries}}}})
    made = document(plan(path), a_request(attributes=attributes))
    assert made["attributes"]["request"]["http"]["headerMap"]["headers"] == [
        {"key": "Authorization", "value": WITHHELD},
        {"key": "accept", "value": "*/*"},
    ]


def test_what_stands_on_the_way_to_a_header_is_withheld_unless_it_is_named() -> None:
    entries = {"headers": [{"key": "cookie", "value": "s3cret"}]}
    attributes = PlainAttributes(
        {"request": {"http": {"headerMap": entries, "headers": {"cookie": "s3cret"}}}}
    )
    made = asked(plan("attributes request http headerMap headers x"), a_request(attributes=attributes))
    assert b"s3cret" not in made.question
    named = document(plan(f"{HEADERS} cookie x"), a_request(attributes=attributes))
    assert named["attributes"]["request"]["http"]["headers"] == {"cookie": "s3cret"}


def test_withholding_leaves_values_of_another_form_alone() -> None:
    assert withhold("text", ("attributes",), frozenset()) == "text"
    assert withhold("text", tuple(HEADERS.split()), frozenset()) == "text"


@pytest.mark.parametrize(
    ("path", "needs"),
    [
        ("parsed_body", True),
        ("parsed_body amount", True),
        ("action arguments", True),
        ("action", True),
        ("attributes request http body", True),
        ("attributes request http", True),
        ("", True),
        ("truncated_body", False),
        ("action method", False),
    ],
)
def test_a_truncated_body_denies_where_policy_reads_it(path: str, needs: bool) -> None:
    request = a_request(truncated_body=True, body=b"{")
    if not needs:
        asked(plan(path), request)
        return
    with pytest.raises(Denied) as caught:
        asked(plan(path), request)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize("value", ["\ud800", 1 << 70])
def test_a_value_without_a_json_form_denies(value: Any) -> None:
    request = a_request(action=Action("http", "", "POST", "/", {"secret-name": value}))
    with pytest.raises(Denied) as caught:
        asked(plan("action arguments"), request)
    assert caught.value.reason is Reason.MALFORMED_REQUEST
    assert "secret-name" not in str(caught.value)


known = st.sampled_from([path[:end] for path in FIELDS for end in range(len(path) + 1)])
paths = st.lists(
    known | st.lists(st.sampled_from(["agent", "claims", "role", "x"]), max_size=4).map(tuple), max_size=5
)


@given(paths)
def test_a_pruned_document_is_the_part_of_the_whole_that_its_paths_name(
    listed: list[tuple[str, ...]],
) -> None:
    whole = document(Plan(WHOLE, revision="", deterministic=True))
    pruned = document(plan(*listed))
    for path in listed:
        assert at(pruned, path) == at(whole, path)
    assert contains(whole, pruned)


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree or None


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and contains(whole[name], item) for name, item in part.items())
    return bool(whole == part)
