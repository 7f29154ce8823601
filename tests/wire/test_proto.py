"""Our messages are Envoy's on the wire, and the generated code is that of our .proto file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from authz._pb import aegis_access_log_pb2 as access_log
from authz._pb import aegis_ext_authz_pb2 as pb
from tests.wire.fields import described

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "proto").glob("*.proto"))
ENVOY: dict[str, Any] = json.loads((Path(__file__).parent / "envoy_fields.json").read_text())
OURS = described(pb.CheckRequest.DESCRIPTOR, pb.CheckResponse.DESCRIPTOR)
ROOTS = {
    "aegis.ext_authz.CheckRequest": "envoy.service.auth.v3.CheckRequest",
    "aegis.ext_authz.CheckResponse": "envoy.service.auth.v3.CheckResponse",
}
# The codes of HTTP as an enum there, as a number here: the same varint.
CODE = "envoy.type.v3.StatusCode"


def differences(ours: str, theirs: str, seen: set[str]) -> list[str]:
    """Where what lies at and below one message of ours is not what lies there in Envoy's."""
    if ours in seen or ours.startswith("google.protobuf."):
        return [] if ours in seen or ours == theirs else [f"{ours}: {theirs}"]
    seen.add(ours)
    mine, envoys = dict(OURS[ours]), dict(ENVOY[theirs])
    found = [f"{theirs}.{name}: only on one side" for name in mine.keys() ^ envoys.keys()]
    for name in mine.keys() & envoys.keys():
        here, there = mine[name], envoys[name]
        if isinstance(here, int):
            found += [] if here == there else [f"{theirs}.{name}: {here}, not {there}"]
            continue
        if there.get("of") == CODE:
            there = {"number": there["number"], "type": "int32"}
        if {**here, "of": ""} != {**there, "of": ""}:
            found.append(f"{theirs}.{name}: {here}, not {there}")
        if "of" in here:
            found += differences(here["of"], there["of"], seen)
    return found


def test_every_field_has_envoys_number_and_type() -> None:
    seen: set[str] = set()
    for ours, theirs in ROOTS.items():
        assert differences(ours, theirs, seen) == []
    assert seen == set(OURS)


def test_a_field_that_differs_would_be_named() -> None:
    assert differences("aegis.ext_authz.Pipe", "envoy.config.core.v3.QueryParameter", set()) != []


def test_what_is_read_of_the_access_log_has_envoys_numbers_and_types() -> None:
    """Text, and messages that are read later or never, are bytes here: on the wire the same."""
    seen: list[str] = []

    def compare(ours: Descriptor, theirs: str) -> None:
        for field in ours.fields:
            there = dict(ENVOY[theirs][field.name])
            here = described(ours)[ours.full_name][field.name]
            seen.append(f"{theirs}.{field.name}")
            of, envoys = here.pop("of", ""), there.pop("of", "")
            if here["type"] == "bytes" and there["type"] in ("string", "message"):
                here["type"] = there["type"]
            if there["type"] == "enum" and here["type"] == "int32":
                here["type"] = "enum"
            assert here == there, seen[-1]
            if of.startswith("google.protobuf."):
                assert of == envoys
            elif of:
                compare(field.message_type, envoys)

    compare(
        access_log.StreamAccessLogsMessage.DESCRIPTOR, "envoy.service.accesslog.v3.StreamAccessLogsMessage"
    )
    compare(access_log.HTTPAccessLogEntry.DESCRIPTOR, "envoy.data.accesslog.v3.HTTPAccessLogEntry")
    assert "envoy.data.accesslog.v3.ResponseFlags.unauthorized_details" in seen


def test_what_is_salvaged_lies_where_the_attributes_have_it() -> None:
    """Text read as bytes: the same numbers, or the record of a refusal would name something else."""

    def compare(salvaged: Descriptor, full: Descriptor) -> None:
        for field in salvaged.fields:
            same = full.fields_by_name[field.name]
            assert field.number == same.number
            if field.message_type:
                compare(field.message_type, same.message_type)
            else:
                assert (field.type, same.type) == (field.TYPE_BYTES, same.TYPE_STRING)

    compare(pb.Salvage.DESCRIPTOR, pb.CheckRequest.DESCRIPTOR)


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_the_generated_code_is_what_the_file_says_how_to_generate(proto: Path, tmp_path: Path) -> None:
    written = re.search(r"//\s+python (-m grpc_tools\.protoc .*)", proto.read_text())
    assert written
    command = written[1].replace("authz/_pb", str(tmp_path)).split()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        check=True,
        capture_output=True,
        timeout=60,
    )
    made = sorted(tmp_path.iterdir())
    assert [file.name for file in made] == [f"{proto.stem}_pb2.py", f"{proto.stem}_pb2.pyi"]
    for file in made:
        assert file.read_text() == (ROOT / "authz/_pb" / file.name).read_text(), file.name


def test_no_package_of_envoys_messages_is_in_our_environment() -> None:
    """xds-protos overwrites files of opentelemetry-proto: it may be compared with, never installed."""
    locks = [(ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock")]
    assert not any("xds-protos" in lock or "xds_protos" in lock for lock in locks)
