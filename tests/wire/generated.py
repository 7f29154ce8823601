"""Messages of any kind with anything in them that the kind can hold, for property tests."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["", "a", "x-a", "true", "https", "/v1"]))
_KINDS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=12),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 5),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}


@st.composite
def messages(draw: Any, kind: type[Message], depth: int = 6) -> Message:
    """A `kind` with some of its fields set; messages in it nest at most `depth` deep."""
    made = kind()
    fields = kind.DESCRIPTOR.fields
    for index in sorted(draw(st.sets(st.integers(0, len(fields) - 1)))):
        _fill(draw, made, fields[index], depth)
    return made


def _fill(draw: Any, made: Message, field: FieldDescriptor, depth: int) -> None:
    inner = field.message_type
    value = getattr(made, field.name)
    if inner is None:
        setattr(made, field.name, draw(_KINDS[field.type]))
    elif inner.GetOptions().map_entry:
        for name in draw(st.lists(TEXT, max_size=2)):
            if inner.fields_by_name["value"].message_type is None:
                value[name] = draw(TEXT)
            else:
                _put(draw, value[name], depth)
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            _put(draw, value.add(), depth)
    else:
        _put(draw, value, depth)


def _put(draw: Any, target: Message, depth: int) -> None:
    target.SetInParent()
    if depth:
        target.MergeFrom(draw(messages(type(target), depth - 1)))
