"""The schema of the input document: exact, so that an editor and `opa check` find what is misspelt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from authz._pb.aegis_ext_authz_pb2 import AttributeContext
from authz.cli.policy import app
from authz.errors import Denied
from authz.policy import schema
from authz.policy.document import FIELDS
from authz.policy.facts import WHOLE, Plan
from authz.testing import a_request
from authz.values import CLAIMS, Action, Assurance, Claims, Mcp, Reason, Request, Subject
from authz.wire.attributes import MessageAttributes
from tests.policy.generated import requests, subjects
from tests.policy.opa import NOW
from tests.wire.generated import messages

REGO = Path(__file__).parents[3] / "rego"
SCHEMA = schema.input_schema()
VALIDATOR = Draft7Validator(SCHEMA)
WHOLE_DOCUMENT = Plan(WHOLE, revision="", deterministic=True)
SUBJECT = Subject("agent-1", Assurance.JWT, claims={"role": "clerk"}, chain=("caller",), session_id="s")
MESSAGE = Mcp("request", "tools/call", "x", {"a": [1]}, "2025-06-18", 1, fault=Reason.MALFORMED_BODY)
EVERYTHING = a_request(
    action=Action("mcp", "t", "POST", "/mcp", {"a": [1]}),
    mcp=MESSAGE,
    body=b'{"a": [1]}',
    query="a=1",
    claims=Claims(dict.fromkeys(CLAIMS, "x"), ("branch",)),
)


def document(request: Request, subject: Subject = SUBJECT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WHOLE_DOCUMENT.facts(request, subject, NOW).question)
    return found


def paths(tree: dict[str, Any]) -> set[tuple[str, ...]]:
    """The fields that are there, as `FIELDS` names them."""
    return {field for field in FIELDS if field[0] in tree and (len(field) == 1 or field[1] in tree[field[0]])}


def test_the_file_beside_the_library_is_what_is_printed() -> None:
    said = CliRunner().invoke(app, ["schema"])
    assert said.exit_code == 0
    assert said.output == (REGO / "schemas/input.json").read_text()


def test_it_is_a_schema_and_describes_each_field_and_nothing_else() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert schema._FORMS.keys() == FIELDS.keys()


def test_a_document_with_everything_and_one_with_the_least_are_valid() -> None:
    VALIDATOR.validate(document(EVERYTHING))
    VALIDATOR.validate(document(a_request(), Subject("", Assurance.NONE)))
    assert paths(document(EVERYTHING)) == FIELDS.keys()


def test_required_is_exactly_what_every_document_has() -> None:
    required = {(name,) for name in SCHEMA["required"]} | {
        (name, member) for name, inner in SCHEMA["properties"].items() for member in inner.get("required", ())
    }
    assert {path for path in required if path in FIELDS} == paths(document(a_request()))
    assert FIELDS.keys() - required == schema.MAYBE_ABSENT


@settings(max_examples=60, deadline=None)
@given(request=requests(), subject=subjects, message=messages(AttributeContext), read=st.booleans())
def test_whatever_is_asked_is_valid(
    request: Request, subject: Subject, message: AttributeContext, read: bool
) -> None:
    if read:
        line = {"method": request.method, "path": request.path, "host": request.host, "headers": {"a": "b"}}
        request = a_request(action=request.action, attributes=MessageAttributes(message, line, b"\xff"))
    try:
        asked = document(request, subject)
    except Denied:  # what has two readings is never asked
        return
    VALIDATOR.validate(asked)


def test_attributes_have_the_members_of_the_message_at_every_depth() -> None:
    assert_same(SCHEMA["properties"]["attributes"], AttributeContext.DESCRIPTOR)


def assert_same(described: dict[str, Any], message: Descriptor) -> None:
    special = {Struct.DESCRIPTOR.full_name: {}, Timestamp.DESCRIPTOR.full_name: {"seconds", "nanos"}}
    special |= {AnyMessage.DESCRIPTOR.full_name: {"typeUrl", "value"}}
    if message.full_name in special:
        assert set(described.get("properties", ())) == set(special[message.full_name])
        return
    assert described["additionalProperties"] is False
    assert set(described["properties"]) == {field.camelcase_name for field in message.fields}
    for field in message.fields:
        inner, own = field.message_type, described["properties"][field.camelcase_name]
        if inner is None:
            assert own["type"] != "object"
        elif inner.GetOptions().map_entry:
            below = inner.fields_by_name["value"].message_type
            assert "properties" not in own
            if below is not None:
                assert_same(own["additionalProperties"], below)
        else:
            assert_same(own["items"] if field.is_repeated else own, inner)


@pytest.mark.parametrize(
    ("read", "found"),
    [
        ("input.agnet.id", "input.agnet.id"),
        ("input.agent.idd", "input.agent.idd"),
        ("input.attributes.request.http.headres", "input.attributes.request.http.headres"),
        ("input.attributes.source.address.socketAdress.address", "socketAdress"),
        ("input.mcp.tool", "input.mcp.tool"),
        ("input.now.day", "input.now.day"),
        ("input.agent.id.name", "input.agent.id.name"),
        ('input.attributes.request.http.headers["x-any"]', ""),
        ("input.agent.claims.role.whatever", ""),
        ("input.parsed_body.a.b[0]", ""),
        ("input.action.arguments[_].c", ""),
        ('input.attributes.metadataContext.filterMetadata["a.b"].c[0]', ""),
    ],
)
def test_opa_finds_what_is_misspelt_and_nothing_else(tmp_path: Path, read: str, found: str) -> None:
    (tmp_path / "input.json").write_text(schema.as_text())
    (tmp_path / "p.rego").write_text(f"package p\n\na if {read}\n")
    command = ["opa", "check", "--strict", "--schema", "input.json", "p.rego"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if found:
        assert done.returncode != 0
        assert f"p.rego:3: rego_type_error: undefined ref: {read}" in done.stderr
        assert found in done.stderr
    else:
        assert done.returncode == 0, done.stderr
