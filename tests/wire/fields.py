"""What messages are on the wire: number, type and oneof of every field, by message.

`envoy_fields.json` was made by this file from PyPI's xds-protos, in an environment of its own, since it
overwrites files of other distributions:

    python -m venv xds && xds/bin/pip install xds-protos==1.85.0
    xds/bin/python tests/wire/fields.py > tests/wire/envoy_fields.json
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_KINDS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def described(*roots: Descriptor) -> dict[str, Any]:
    """Every message and enum that can be reached from `roots`, but Google's well-known ones."""
    found: dict[str, Any] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        kind = waiting.pop()
        if kind.full_name in found or kind.full_name.startswith("google.protobuf."):
            continue
        if not isinstance(kind, Descriptor):
            found[kind.full_name] = {value.name: value.number for value in kind.values}
            continue
        found[kind.full_name] = {field.name: _field(field) for field in kind.fields}
        waiting += [inner for field in kind.fields if (inner := field.message_type or field.enum_type)]
    return found


def _field(field: FieldDescriptor) -> dict[str, Any]:
    inner = field.message_type or field.enum_type
    members = {
        "number": field.number,
        "type": _KINDS[field.type],
        "repeated": field.is_repeated,
        "of": inner.full_name if inner else "",
        "oneof": field.containing_oneof.name if field.containing_oneof else "",
    }
    return {name: value for name, value in members.items() if value}


if __name__ == "__main__":
    from envoy.data.accesslog.v3 import accesslog_pb2 as entries
    from envoy.service.accesslog.v3 import als_pb2 as access_log
    from envoy.service.auth.v3 import external_auth_pb2 as envoy

    roots = (
        envoy.CheckRequest.DESCRIPTOR,
        envoy.CheckResponse.DESCRIPTOR,
        access_log.StreamAccessLogsMessage.DESCRIPTOR,
        entries.HTTPAccessLogEntry.DESCRIPTOR,
    )
    print(json.dumps(described(*roots), indent=1, sort_keys=True))
