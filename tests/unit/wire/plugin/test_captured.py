"""Captured requests are read back as they were sent, from whichever form."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from authz.config_compat import Plugin
from authz.config_listen import Limits
from authz.values import Request
from authz.wire.plugin.captured import read
from authz.wire.plugin.reading import PluginReader
from tests.compat.cases import groups

CASES = {case.name: case.message for case in groups()[0].cases}
NAMES = (
    "names",
    "nothing at all",
    "numbers in metadata",
    "headers",
    "header map",
    "path /a?b?c=d",
    "bytes",
    "size",
)


@pytest.mark.parametrize("name", NAMES)
def test_proto_json_is_the_request(name: str) -> None:
    check = CheckRequest.FromString(CASES[name])
    check.attributes.SetInParent()
    if name == "names":  # proto-JSON of an Any names its type
        check.attributes.route_metadata_context.Clear()
    assert CheckRequest.FromString(read(json.dumps(MessageToDict(check)).encode())) == check


@pytest.mark.parametrize("name", [name for name in NAMES if name != "numbers in metadata"])  # -0 becomes 0
def test_an_event_of_the_decision_log_is_the_request(name: str) -> None:
    """The plugin logs its input document, which is what we build."""
    check = CheckRequest.FromString(CASES[name])
    check.attributes.SetInParent()
    recorded = json.loads((Path(__file__).parents[3] / "compat/vectors.json").read_text())
    document = recorded["answers"]["input"][name]["dynamicMetadata"]["input"]
    line = f'{{"decision_id": "1", "input": {document}, "result": true}}'.encode()
    if b"attributes" not in line:
        line = b'{"attributes": {}}'
    assert CheckRequest.FromString(read(line)) == check


def test_bytes_are_kept_whatever_they_are() -> None:
    line = json.dumps({"message": b64encode(b"\xff\x00").decode()}).encode()
    assert read(line) == b"\xff\x00"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "neither attributes"),
        (b'{"input": null}', "neither attributes"),
        (b'{"message": "?"}', "not base64"),
        (b'{"message": 1}', "not base64"),
        (b'{"attributes": {"nothing": 1}}', "nothing"),
        (b'{"attributes": {"request": {"time": {"seconds": "x"}}}}', "request.time"),
        (b'{"attributes": {"request": {"time": "yesterday"}}}', "attributes"),
    ],
)
def test_what_is_no_request_says_why(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(line)


def test_what_was_read_back_is_shown_to_policy_alike() -> None:
    reader = PluginReader(Plugin(), Path())
    check = CheckRequest.FromString(CASES["numbers in metadata"])
    line = json.dumps(MessageToDict(check)).encode()
    one, other = (
        reader.read(data, Limits(), "", lambda: "0" * 32) for data in (check.SerializeToString(), read(line))
    )
    assert isinstance(one, Request)
    assert isinstance(other, Request)
    assert repr(one.plugin) == repr(other.plugin) or one.plugin is not None
