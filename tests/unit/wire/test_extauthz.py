"""One reading of a CheckRequest, or a Malformed that says what could be read."""

from __future__ import annotations

from typing import Any

import pytest

from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from authz.config_listen import Limits
from authz.values import MISSING, Malformed, Reason, Request
from authz.wire.extauthz import read
from tests.worker import add_header, message

ENVOYS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AGENTS = "00-11111111111111111111111111111111-2222222222222222-01"
NEW = "f" * 32
JSON = {"content-type": "application/json"}


def reading(request: CheckRequest | bytes, parent: str = "", **limits: int) -> Request | Malformed:
    data = request if isinstance(request, bytes) else request.SerializeToString()
    return read(data, Limits(**limits), parent, lambda: NEW)


def good(request: CheckRequest | bytes, parent: str = "") -> Request:
    found = reading(request, parent)
    assert isinstance(found, Request), found
    return found


def bad(request: CheckRequest | bytes, **limits: int) -> Malformed:
    found = reading(request, **limits)
    assert isinstance(found, Malformed), found
    return found


def everything(*, raw: bool) -> CheckRequest:
    request = message(
        raw=raw,
        method="POST",
        path="/v1/things?a=1&b=%20",
        body=b'{"a":[1,2]}',
        headers={
            "content-type": "application/json",
            "content-length": "11",
            "x-request-id": "r-9",
            "x-note": "naïve",
        },
    )
    attributes = request.attributes
    attributes.source.principal = "spiffe://aegis.test/agent"
    attributes.tls_session.sni = "api.example"
    attributes.context_extensions["aegis.tool"] = "things"
    return request


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "plain"])
def test_every_part_of_a_request_is_where_it_belongs(raw: bool) -> None:
    found = good(everything(raw=raw))
    assert (found.request_id, found.method, found.scheme) == ("r-9", "POST", "https")
    assert (found.host, found.port, found.path, found.query) == (
        "api.example",
        443,
        "/v1/things",
        "a=1&b=%20",
    )
    assert (found.body, found.truncated_body) == (b'{"a":[1,2]}', False)
    assert (found.sni, found.principal, found.source_address) == (
        "api.example",
        "spiffe://aegis.test/agent",
        "10.0.0.7",
    )
    assert found.headers["x-note"] == "naïve"
    assert found.context == {"aegis.tool": "things"}
    action = found.action
    assert (action.kind, action.tool, action.method, action.resource) == (
        "http",
        "things",
        "POST",
        "/v1/things",
    )
    assert action.arguments == {"a": [1, 2]}


def test_raw_and_plain_forms_are_the_same_request() -> None:
    raw, plain = (good(everything(raw=form)) for form in (True, False))
    for name in Request.__struct_fields__:
        if name != "attributes":
            assert getattr(raw, name) == getattr(plain, name), name
    for path in [("request", "http", "headers"), ("request", "http", "body"), ("request", "http", "path")]:
        assert raw.attributes.at(path) == plain.attributes.at(path) != MISSING


def test_a_raw_header_may_have_its_text_in_value() -> None:
    request = message()
    request.attributes.request.http.header_map.headers.add(key="x-a", value="1")
    assert good(request).headers["x-a"] == "1"


def test_a_header_with_two_texts_is_refused() -> None:
    request = message()
    request.attributes.request.http.header_map.headers.add(key="x-a", value="1", raw_value=b"2")
    assert bad(request).reason is Reason.MALFORMED_HEADERS


@pytest.mark.parametrize(
    ("given", "host", "port", "shown"),
    [
        ({"host": "API.Example"}, "api.example", 443, "api.example"),
        ({"host": "api.example."}, "api.example", 443, "api.example"),
        ({"host": "api.example:443"}, "api.example", 443, "api.example"),
        ({"host": "api.example:80", "scheme": "http"}, "api.example", 80, "api.example"),
        ({"host": "api.example:80"}, "api.example", 80, "api.example:80"),
        ({"host": "api.example:8443"}, "api.example", 8443, "api.example:8443"),
        ({"host": "[0:0::1]:8443"}, "[::1]", 8443, "[::1]:8443"),
        ({"host": "API.example:443", "method": "CONNECT", "path": ""}, "api.example", 443, "api.example:443"),
        (
            {"host": "api.example:80", "method": "CONNECT", "path": "", "scheme": "http"},
            "api.example",
            80,
            "api.example:80",
        ),
    ],
)
def test_another_spelling_of_a_host_evades_no_rule(
    given: dict[str, str], host: str, port: int, shown: str
) -> None:
    found = good(message(**given))
    assert (found.host, found.port) == (host, port)
    assert found.attributes.at(("request", "http", "host")) == shown
    assert found.headers[":authority"] == shown


def test_another_spelling_of_a_path_evades_no_rule() -> None:
    found = good(message(path="/%61dmin/%c3%a9?x=%61", headers={"host": "api.example"}))
    assert (found.path, found.query) == ("/admin/%C3%A9", "x=%61")
    assert found.action.resource == found.path
    assert found.attributes.at(("request", "http", "path")) == "/admin/%C3%A9?x=%61"
    assert found.headers[":path"] == "/admin/%C3%A9?x=%61"
    assert found.headers["host"] == "api.example"


def test_an_empty_query_stays_in_the_target() -> None:
    found = good(message(path="/a?"))
    assert (found.path, found.query, found.attributes.at(("request", "http", "path"))) == ("/a", "", "/a?")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({":authority": "other.example"}, Reason.MALFORMED_HOST),
        ({"host": "other.example"}, Reason.MALFORMED_HOST),
        ({"host": "api.example:443"}, Reason.MALFORMED_HOST),
        ({":path": "/v2"}, Reason.MALFORMED_REQUEST),
        ({":method": "PUT"}, Reason.MALFORMED_REQUEST),
        ({":scheme": "http"}, Reason.MALFORMED_REQUEST),
    ],
)
def test_headers_that_contradict_the_request_line_are_refused(given: dict[str, str], reason: Reason) -> None:
    assert bad(message(headers=given)).reason is reason


@pytest.mark.parametrize(
    "given",
    [
        {"method": "CONNECT", "host": "api.example:443", "path": ""},
        {"method": "CONNECT", "host": "api.example:443", "path": "", "scheme": ""},
        {"headers": {"upgrade": "websocket", "connection": "upgrade"}},
        {"headers": {":protocol": "websocket"}},
        {"headers": {"content-type": "application/grpc"}, "method": "POST"},
        {"headers": {"content-type": "Application/gRPC+proto"}, "method": "POST"},
        {"headers": {"content-type": "application/grpc-web"}, "method": "POST"},
    ],
)
def test_what_nobody_can_look_into_is_a_tunnel(given: dict[str, Any]) -> None:
    found = good(message(body=b'{"a":1}', **given))
    assert (found.action.kind, found.action.arguments) == ("tunnel", MISSING)


def test_a_connect_must_name_its_port() -> None:
    assert bad(message(method="CONNECT", path="")).reason is Reason.MALFORMED_HOST


@pytest.mark.parametrize(
    ("body", "headers", "truncated"),
    [
        (b"{}", {"content-length": "2"}, False),
        (b"{}", {}, False),
        (b"{}", {"content-length": "3"}, True),
        (b"", {"content-length": "3"}, True),
        (b"", {"content-length": "0"}, False),
        (b"", {"transfer-encoding": "chunked"}, True),
        (b"{}", {"transfer-encoding": "chunked"}, False),
        (b"{}", {"x-envoy-auth-partial-body": "true"}, True),
        (b"{}", {"x-envoy-auth-partial-body": "true", "content-length": "2"}, True),
        (b"{}", {"x-envoy-auth-partial-body": "false"}, False),
    ],
)
def test_a_body_that_is_not_all_here_says_so_and_is_no_arguments(
    body: bytes, headers: dict[str, str], truncated: bool
) -> None:
    found = good(message(method="POST", body=body, headers=JSON | headers))
    assert found.truncated_body is truncated
    assert (found.action.arguments is MISSING) is (truncated or not body)


def test_a_body_longer_than_it_says_is_refused() -> None:
    """Who believes the length reads something else than we do."""
    refused = bad(message(method="POST", body=b"{}", headers=JSON | {"content-length": "1"}))
    assert refused.reason is Reason.MALFORMED_BODY


def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not() -> None:
    request = message(method="POST", body=b"x" * 10)
    assert isinstance(reading(request, body_bytes=10), Request)
    assert bad(request, body_bytes=9).reason is Reason.BODY_TOO_LARGE


def test_headers_and_path_have_bounds() -> None:
    request = message(path="/" + "a" * 20, headers={"x-a": "b" * 200})
    assert isinstance(reading(request, header_count=5, path_bytes=21), Request)
    assert bad(request, header_count=4).reason is Reason.MALFORMED_HEADERS
    assert bad(request, header_bytes=200).reason is Reason.MALFORMED_HEADERS
    assert bad(request, path_bytes=20).reason is Reason.MALFORMED_PATH


def test_envoys_span_is_the_parent() -> None:
    found = good(message(headers={"traceparent": AGENTS}), ENVOYS)
    assert (found.trace_id, found.parent_span_id, found.sampled) == (ENVOYS[3:35], ENVOYS[36:52], True)


@pytest.mark.parametrize("parent", ["", "00-0-0-00", ENVOYS.replace("00-", "ff-", 1)])
def test_without_envoys_span_the_agents_trace_is_kept_without_a_parent(parent: str) -> None:
    found = good(message(headers={"traceparent": AGENTS}), parent)
    assert (found.trace_id, found.parent_span_id, found.sampled) == ("1" * 32, "", True)


def test_without_any_trace_there_is_a_new_one() -> None:
    found = good(message(headers={"traceparent": "nonsense"}))
    assert (found.trace_id, found.parent_span_id, found.sampled) == (NEW, "", False)


def test_without_a_request_id_it_is_envoys_stream() -> None:
    assert good(message(id="77")).request_id == "77"


def test_a_refused_request_says_what_could_be_read() -> None:
    request = message(
        path="/a/%2fb?secret=1",
        host="API.example:8443",
        headers={"x-request-id": "r-9", "traceparent": AGENTS},
    )
    refused = bad(request)
    assert refused == Malformed(
        Reason.MALFORMED_PATH,
        refused.detail,
        request_id="r-9",
        method="GET",
        scheme="https",
        host="api.example",
        port=8443,
        path="/a/%2fb",
        source_address="10.0.0.7",
        trace_id="1" * 32,
        sampled=True,
    )


def test_a_request_refused_for_its_headers_still_names_its_id() -> None:
    request = message(headers={"x-request-id": "r-9"})
    add_header(request, "x-note", b"\xff")
    assert (bad(request).reason, bad(request).request_id) == (Reason.MALFORMED_HEADERS, "r-9")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"host": "0x7f.1"}, "0x7f.1"),
        ({"host": "user:secret@api.example"}, "api.example"),
        ({"host": "аpi.example"}, "%D0%B0pi.example"),
        ({"host": "a\x1b[2J"}, "a%1B[2J"),
        ({"host": "a" * 5000}, "a" * 128),
    ],
)
def test_an_odd_host_is_shown_so_that_it_can_be_read_safely(given: dict[str, str], shown: str) -> None:
    refused = bad(message(pseudo=False, **given))
    assert (refused.reason, refused.host, refused.port) == (Reason.MALFORMED_HOST, shown, 0)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a\x1b[2J/\n", "/a%1B[2J/%0A"),
        ("/é", "/%C3%A9"),
        ("/a#b", "/a"),
        ("http://user:sec?ret@api.example/x", "http://api.example/x"),
        ("/" + "a" * 9000, "/" + "a" * 511),
    ],
)
def test_an_odd_path_is_shown_so_that_it_can_be_read_safely(path: str, shown: str) -> None:
    assert bad(message(path=path, pseudo=False)).path == shown


def test_text_that_is_not_utf8_is_refused_and_what_surrounds_it_is_read() -> None:
    data = message(path="/some-where?x=1", id="stream-1").SerializeToString()
    refused = bad(data.replace(b"/some-where", b"/some\xffwhere"))
    assert (refused.reason, refused.method, refused.scheme) == (Reason.MALFORMED_REQUEST, "GET", "https")
    assert (refused.request_id, refused.host, refused.port) == ("stream-1", "api.example", 443)
    assert (refused.path, refused.source_address) == ("/some%FFwhere", "10.0.0.7")


def test_metadata_nested_too_deeply_is_refused_and_the_rest_is_read() -> None:
    request = message()
    deep = request.attributes.metadata_context.filter_metadata["deep"].fields["a"]
    for _ in range(60):
        deep = deep.list_value.values.add()
    deep.bool_value = True
    refused = bad(request.SerializeToString())
    assert (refused.reason, refused.host) == (Reason.MALFORMED_REQUEST, "api.example")


@pytest.mark.parametrize("data", [b"\xff" * 9, b"\x0a\x05abc", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_check_request_is_refused_with_a_trace(data: bytes) -> None:
    refused = bad(data)
    assert (refused.reason, refused.trace_id, refused.host) == (Reason.MALFORMED_REQUEST, NEW, "")
    found = read(data, Limits(), ENVOYS, lambda: NEW)
    assert (found.trace_id, found.parent_span_id) == (ENVOYS[3:35], ENVOYS[36:52])


def test_an_empty_message_is_refused() -> None:
    assert bad(b"").reason is Reason.MALFORMED_REQUEST


def test_no_detail_quotes_the_agent() -> None:
    word = "zqzq"
    for given in (
        {"path": f"/{word}/%2f"},
        {"host": f"{word}@x"},
        {"method": word},
        {"scheme": word},
        {"body": f'{{"{word}":1,"{word}":2}}'.encode(), "headers": JSON},
        {"headers": {f"{word} x": "1"}},
        {"headers": {"x_aegis_" + word: "1"}},
        {"headers": {"content-length": word}},
    ):
        assert word not in bad(message(**given)).detail  # type: ignore[arg-type]
