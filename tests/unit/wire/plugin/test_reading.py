"""Reading for opa-envoy-plugin's policies: never an exception, and what our own rules still hold back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config_compat import Plugin
from authz.config_listen import Limits
from authz.errors import ConfigError
from authz.values import Malformed, Reason, Request
from authz.wire import extauthz
from authz.wire.plugin.reading import PluginReader
from tests.compat.cases import JSON, body, descriptor_set, http, message

LIMITS = Limits(body_bytes=100, header_count=5, header_bytes=200, path_bytes=100)
READER = PluginReader(Plugin(), Path())


def read(data: bytes) -> Request | Malformed:
    return READER.read(data, LIMITS, "", lambda: "0" * 32)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_a_malformed(data: bytes) -> None:
    read(data)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_any_text_is_a_request_or_a_malformed(path: str, host: str, kind: str, raw: bytes) -> None:
    found = read(http(path=path, host=host, headers={"content-type": kind}, raw=raw))
    assert isinstance(found, Malformed) or found.plugin is not None


def test_what_has_one_reading_is_read_as_always() -> None:
    data = body(JSON, '{"a": 1}')
    ours = extauthz.read(data, LIMITS, "", lambda: "0" * 32)
    found = read(data)
    assert isinstance(found, Request)
    assert isinstance(ours, Request)
    assert (found.path, found.host, found.action) == (ours.path, ours.host, ours.action)
    assert found.plugin is not None
    assert found.plugin.document["parsed_body"] == {"a": 1}


def test_what_has_several_readings_goes_to_policy_with_what_its_record_may_say() -> None:
    found = read(http(path="//user:secret@x/%2F../a?b", host="A b"))
    assert isinstance(found, Request)
    assert (found.method, found.host, found.path) == ("POST", "A%20b", "//x/%2F../a")
    assert found.plugin is not None
    assert found.plugin.document["parsed_path"] == ["user:secret@x", "", "..", "a"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (http(path="/" + "a" * 100), Reason.MALFORMED_PATH),
        (http(path="//" + "a" * 100), Reason.MALFORMED_PATH),
        (body(JSON, '"' + "a" * 100 + '"'), Reason.BODY_TOO_LARGE),
        (http(path="//", headers={f"x-{number}": "" for number in range(6)}), Reason.MALFORMED_HEADERS),
        (http(path="//", headers={"x": "a" * 200}), Reason.MALFORMED_HEADERS),
        (http(path="/%zz"), Reason.MALFORMED_PATH),
        (http(path="/?a;b"), Reason.MALFORMED_QUERY),
        (body(JSON, "{"), Reason.MALFORMED_BODY),
        (body(JSON, "{}", content_length="x"), Reason.MALFORMED_HEADERS),
        (b"\xff", Reason.MALFORMED_REQUEST),
    ],
)
def test_beyond_our_limits_or_unparsable_it_is_denied(data: bytes, reason: Reason) -> None:
    found = read(data)
    assert isinstance(found, Malformed)
    assert found.reason is reason


def test_a_route_that_requires_mcp_still_does() -> None:
    context = {"aegis.protocol": "mcp"}
    plain = {"method": "POST", "host": "a", "scheme": "http", "path": "/", "body": "{}"}
    found = read(message({"contextExtensions": context, "request": {"http": plain}}))
    assert isinstance(found, Malformed)
    assert found.reason.startswith("malformed_mcp")


def test_a_descriptor_set_that_is_none_stops_the_start(tmp_path: Path) -> None:
    settings = Plugin(proto_descriptor=Path("set.pb"))
    with pytest.raises(ConfigError, match=r"set\.pb"):
        PluginReader(settings, tmp_path)
    for data in (b"\xff", descriptor_set()[:-1]):
        (tmp_path / "set.pb").write_bytes(data)
        with pytest.raises(ConfigError, match=r"proto_descriptor.*set\.pb"):
            PluginReader(settings, tmp_path)
    (tmp_path / "set.pb").write_bytes(descriptor_set())
    PluginReader(settings, tmp_path)
