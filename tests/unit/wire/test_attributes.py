"""The attributes as opa-envoy-plugin's users know them (COMPAT facts 14 to 18), whole and by path."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from authz._pb.aegis_ext_authz_pb2 import AttributeContext, CheckRequest
from authz.config_listen import Limits
from authz.values import MISSING, Request
from authz.wire.attributes import MessageAttributes
from authz.wire.extauthz import read
from tests.wire.generated import messages
from tests.worker import message


def attributes(request: CheckRequest) -> Any:
    found = read(request.SerializeToString(), Limits(), "", lambda: "f" * 32)
    assert isinstance(found, Request), found
    return found.attributes


def over(context: AttributeContext) -> MessageAttributes:
    """With nothing read but the body: what the message alone says."""
    return MessageAttributes(context, {}, context.request.http.body.encode())


def full() -> CheckRequest:
    request = message(
        method="POST", raw=False, pseudo=False, headers={"X-A": "1"}, body=b"hello", size=2**60, id="5"
    )
    context = request.attributes
    context.source.service, context.source.principal = "agents", "spiffe://a/b"
    context.source.labels["zone"] = "z"
    context.source.certificate = "-----BEGIN%20"
    socket = context.destination.address.socket_address
    socket.protocol, socket.address, socket.port_value = 1, "10.0.0.1", 0
    context.request.time.seconds, context.request.time.nanos = 1_700_000_000, 5
    context.context_extensions["aegis.tool"] = "t"
    context.metadata_context.filter_metadata["jwt"].update(
        {"exp": 1_893_456_000, "ratio": 0.5, "groups": ["a", None, True, {}], "deep": {"a": {"b": "c"}}}
    )
    some = context.metadata_context.typed_filter_metadata["typed"]
    some.type_url, some.value = "type.googleapis.com/nobody.knows.This", b"\xff\x00"
    context.route_metadata_context.SetInParent()
    return request


WHOLE: dict[str, Any] = {
    "source": {
        "address": {"socketAddress": {"address": "10.0.0.7", "portValue": 40001}},
        "service": "agents",
        "labels": {"zone": "z"},
        "principal": "spiffe://a/b",
        "certificate": "-----BEGIN%20",
    },
    "destination": {"address": {"socketAddress": {"protocol": 1, "address": "10.0.0.1", "portValue": 0}}},
    "request": {
        "time": {"seconds": 1_700_000_000, "nanos": 5},
        "http": {
            "id": "5",
            "method": "POST",
            "headers": {"x-a": "1"},
            "path": "/v1",
            "host": "api.example",
            "scheme": "https",
            "size": 2**60,
            "protocol": "HTTP/2",
            "body": "hello",
        },
    },
    "contextExtensions": {"aegis.tool": "t"},
    "metadataContext": {
        "filterMetadata": {
            "jwt": {
                "exp": 1_893_456_000,
                "ratio": 0.5,
                "groups": ["a", None, True, {}],
                "deep": {"a": {"b": "c"}},
            }
        },
        "typedFilterMetadata": {
            "typed": {"typeUrl": "type.googleapis.com/nobody.knows.This", "value": "/wA="}
        },
    },
    "routeMetadataContext": {},
}


def test_the_whole_of_it() -> None:
    assert attributes(full()).at(()) == WHOLE


def leaves(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path into `value`."""
    if not isinstance(value, dict):
        return [at]
    return [at, *(path for name, item in value.items() for path in leaves(item, (*at, name)))]


@pytest.mark.parametrize("path", leaves(WHOLE), ids=".".join)
def test_every_path_is_what_the_whole_has_there(path: tuple[str, ...]) -> None:
    expected: Any = WHOLE
    for name in path:
        expected = expected[name]
    assert attributes(full()).at(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        ("nowhere",),
        ("source", "nowhere"),
        ("source", "socket_address"),
        ("context_extensions",),
        ("source", "principal", "x"),
        ("source", "labels", "nowhere"),
        ("destination", "principal"),
        ("request", "http", "rawBody"),
        ("request", "http", "headerMap"),
        ("request", "http", "query"),
        ("request", "http", "method", "x"),
        ("request", "http", "headers", "X-A"),
        ("request", "http", "headers", "x-a", "x"),
        ("request", "http", "body", "x"),
        ("request", "time", "seconds", "x"),
        ("metadataContext", "filterMetadata", "other"),
        ("metadataContext", "filterMetadata", "jwt", "exp", "x"),
        ("metadataContext", "filterMetadata", "jwt", "groups", "0"),
        ("metadataContext", "typedFilterMetadata", "typed", "value", "x"),
        ("tlsSession",),
        ("tlsSession", "sni"),
    ],
    ids=".".join,
)
def test_what_is_not_there_is_missing(path: tuple[str, ...]) -> None:
    assert attributes(full()).at(path) is MISSING


def test_raw_forms_are_shown_as_they_came_and_as_they_are_read() -> None:
    found = attributes(message(method="POST", pseudo=False, headers={"X-A": "é"}, body=b"\xffa"))
    http = found.at(("request", "http"))
    assert http["headers"] == {"x-a": "é"}
    assert http["headerMap"] == {"headers": [{"key": "X-A", "rawValue": "w6k="}]}
    assert (http["rawBody"], http["body"]) == ("/2E=", "�a")
    for name, value in http.items():
        assert found.at(("request", "http", name)) == value


def test_what_has_no_value_is_absent_and_what_is_there_but_empty_is_empty() -> None:
    request = message(pseudo=False, size=0)
    request.attributes.request.time.SetInParent()
    request.attributes.request.http.header_map.SetInParent()
    found = attributes(request)
    assert found.at(("request", "time")) == {}
    assert found.at(("request", "http", "headerMap")) == {}
    assert set(found.at(("request", "http"))) == {
        "headerMap",
        "host",
        "id",
        "method",
        "path",
        "protocol",
        "scheme",
    }
    for name in ("headers", "body", "size"):
        assert found.at(("request", "http", name)) is MISSING


def test_a_choice_keeps_its_zero() -> None:
    context = AttributeContext()
    context.source.address.socket_address.port_value = 0
    assert over(context).at(("source", "address")) == {"socketAddress": {"portValue": 0}}
    assert over(context).at(("source", "address", "socketAddress", "portValue")) == 0
    assert over(context).at(("source", "address", "pipe")) is MISSING


@pytest.mark.parametrize(
    ("number", "shown"),
    [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (1e300, 1e300), (0.1, 0.1), (0, 0)],
)
def test_numbers_of_metadata_have_a_json_form(number: float, shown: Any) -> None:
    context = AttributeContext()
    context.metadata_context.filter_metadata["m"].fields["n"].number_value = number
    assert over(context).at(("metadataContext", "filterMetadata", "m", "n")) == shown
    orjson.dumps(over(context).at(()))


def test_a_value_of_metadata_without_a_kind_is_null() -> None:
    context = AttributeContext()
    context.metadata_context.filter_metadata["m"].fields["n"].SetInParent()
    path = ("metadataContext", "filterMetadata", "m", "n")
    assert over(context).at(path) is None
    assert over(context).at((*path, "x")) is MISSING


def test_metadata_as_deep_as_can_be_parsed_has_a_json_form() -> None:
    context = AttributeContext()
    deep = context.metadata_context.filter_metadata["m"].fields["n"]
    for _ in range(45):
        deep = deep.list_value.values.add()
    again = AttributeContext.FromString(context.SerializeToString())
    orjson.dumps(over(again).at(()))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(context=messages(AttributeContext))
def test_whatever_is_in_a_message_has_a_json_form_and_paths_agree_with_the_whole(context: Any) -> None:
    context.request.http.SetInParent()
    found = over(context)
    whole = found.at(())
    orjson.dumps(whole)
    for path in leaves(whole):
        expected: Any = whole
        for name in path:
            expected = expected[name]
        assert found.at(path) == expected
        assert found.at((*path, "no such member")) is MISSING
