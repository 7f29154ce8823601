"""Requests and policies for every fact about opa-envoy-plugin, put to it (`record.py`) and to us.

A group is one policy with the plugin's options; a case is one CheckRequest to it. `fact` is its number.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, duration_pb2
from google.protobuf.json_format import ParseDict

from authz._pb.aegis_ext_authz_pb2 import CheckRequest

DURATION = duration_pb2.Duration.DESCRIPTOR.full_name  # known to json_format by its import
REGO = Path(__file__).parent / "policies"
SAMPLE = Path(__file__).parents[2] / "docs/plugin"  # what the migration page uses
PARTIAL = "x-envoy-auth-partial-body"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Case:
    fact: int
    name: str
    message: bytes


@dataclass
class Group:
    """`options` are the plugin's; `policy` a file or directory of `policies/`."""

    name: str
    policy: str
    path: str = "envoy/authz/allow"
    options: dict[str, Any] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    def add(self, fact: int, name: str, message: bytes) -> None:
        assert all(case.name != name for case in self.cases), name
        self.cases.append(Case(fact, name, message))


def message(attributes: dict[str, Any] | None) -> bytes:
    tree = {} if attributes is None else {"attributes": attributes}
    return ParseDict(tree, CheckRequest()).SerializeToString()


def http(**members: Any) -> bytes:
    """A request; `headers`, `path`, `body` and so on as Envoy has them, `raw` for raw_body."""
    raw = members.pop("raw", None)
    if raw is not None:
        members["rawBody"] = b64encode(raw).decode()
    plain = {"method": "POST", "host": "api.example", "scheme": "http", "path": "/v1"} | members
    return message({"request": {"http": plain}})


def body(kind: str | None, text: str = "", raw: bytes | None = None, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind is not None:
        named["content-type"] = kind
    members: dict[str, Any] = {"headers": named}
    if text:
        members["body"] = text
    return http(raw=raw, **members) if raw is not None else http(**members)


def result(case: str, **more: Any) -> bytes:
    """A request that asks for the result called `case` of `policies/results.rego`."""
    plain = {"method": "GET", "host": "api.example", "scheme": "http", "path": more.pop("path", "/v1")}
    return message({"contextExtensions": {"case": case}, "request": {"http": plain}} | more)


def _attributes(group: Group) -> None:
    group.add(16, "nothing at all", message(None))
    group.add(16, "empty attributes", message({}))
    group.add(16, "empty parts", message({"source": {}, "request": {"http": {}}, "tlsSession": {}}))
    socket = {"protocol": "TCP", "address": "10.0.0.1", "portValue": 0}
    group.add(
        14,
        "names",
        message(
            {
                "source": {
                    "address": {"socketAddress": socket},
                    "service": "s",
                    "labels": {"a": "b", "c_d": ""},
                    "principal": "spiffe://x/y",
                    "certificate": "%2D",
                },
                "destination": {
                    "address": {"socketAddress": socket | {"protocol": "UDP", "portValue": 443}},
                    "principal": "p",
                },
                "request": {
                    "time": "2026-11-26T20:00:00.5Z",
                    "http": {
                        "id": "1",
                        "method": "GET",
                        "path": "/a?b=c",
                        "host": "H.example",
                        "scheme": "https",
                        "size": "-1",
                        "protocol": "HTTP/1.1",
                        "query": "q",
                        "fragment": "f",
                    },
                },
                "contextExtensions": {"a_b": "c", "aB": "d"},
                "metadataContext": {
                    "filterMetadata": {"some_filter": {"a_b": 1, "x": {"y": [True, None, "z"]}}}
                },
                "routeMetadataContext": {
                    "typedFilterMetadata": {"t": {"@type": f"type.googleapis.com/{DURATION}", "value": "1s"}}
                },
                "tlsSession": {"sni": "H.example"},
            }
        ),
    )
    group.add(18, "no principal", message({"source": {"service": "s"}}))
    group.add(15, "epoch", message({"request": {"time": "1970-01-01T00:00:00Z"}}))
    group.add(15, "size", http(size="9007199254740993"))
    group.add(16, "pipe", message({"source": {"address": {"pipe": {"path": "/s", "mode": 384}}}}))
    group.add(16, "internal", message({"source": {"address": {"envoyInternalAddress": {"endpointId": "e"}}}}))
    group.add(16, "named port", message({"source": {"address": {"socketAddress": {"namedPort": ""}}}}))
    doubles = [0, -0.0, 1, -1, 0.1, 1.5, 1e5, 1e6, 123456, 1234567, 1893456000, 2**53, 2**53 + 2, 1e20, 1e21]
    doubles += [
        1e22,
        1e-4,
        1e-5,
        1e-6,
        1e-7,
        5e-324,
        1.7976931348623157e308,
        123456789.25,
        0.30000000000000004,
    ]
    numbers = {"filterMetadata": {"n": {"list": doubles, "exp": 1893456000, "bad": ["x"]}}}
    group.add(17, "numbers in metadata", message({"metadataContext": numbers}))
    group.add(17, "no numbers", _no_numbers())
    group.add(
        22,
        "header map",
        http(
            headerMap={
                "headers": [
                    {"key": "content-type", "rawValue": b64encode(b"application/json").decode()},
                    {"key": "X-A", "value": "v"},
                    {"key": "x-a", "rawValue": "/w=="},
                ]
            },
            body='{"a": 1}',
        ),
    )
    group.add(
        14,
        "headers",
        http(
            headers={
                "X-Upper": "v",
                "x_y": "",
                "é": "ü",
                "x-aegis-agent-token": "t",
                "authorization": "Basic eDp5",
            }
        ),
    )
    group.add(6, "a request string that is no UTF-8", http(path="/aXb").replace(b"/aXb", b"/a\xffb"))
    group.add(14, "fields that nobody knows", http() + b"\xfa\x3e\x01x")
    group.add(14, "not a message", b"\x0a\xff")


def _no_numbers() -> bytes:
    check = CheckRequest()
    fields = check.attributes.metadata_context.filter_metadata["n"].fields
    for name, value in {"nan": float("nan"), "inf": float("inf"), "minus": float("-inf")}.items():
        fields[name].number_value = value
    fields["nothing"].SetInParent()
    return check.SerializeToString()


TARGETS = (
    "/",
    "",
    "*",
    "//",
    "///a//b/",
    "/a/b?c=d",
    "/%2F%2fadmin",
    "/a%2Fb",
    "/a%252Fb",
    "/./a/../b",
    "/a+b%20c",
    "/a#frag?x",
    "/a?b?c=d",
    "http://host/p?q=1",
    "/%41%5c%5C",
    "/a;b=c",
    "/%E2%82%AC",
    "/%e2%82%ac/%FF",
    "/%E2%82",
    "/%00",
    "/a%0Ab",
    "/é",
    "/100%",
    "/%zz",
    "/%u00e9",
    "/%",
    "/%4",
    "/a?",
    "?a=b",
    "a/b",
    "/a?b=%zz",
    "/%zz?;",
    "/ü%C3",
    "/a%c0%af",
    "/%ED%A0%80",
)
QUERIES = (
    "a",
    "a=",
    "=v",
    "=",
    "a=1&a=2&b",
    "a+b=c+d",
    "f[0]=x&f[1]=y",
    "a=b=c",
    "&&",
    "a&&b",
    "a;b=c",
    "a%zz",
    "a=%zz;",
    "a%zz&b;",
    "q=100%",
    "a=%FF",
    "%FF=a&%FE=b",
    "a=%C3%A9",
    "a=%00",
    "%61=1&a=2",
    "a=&a",
    "A=1&a=2",
    "%26=%3D",
    "+=+",
    "é=ü",
    "&".join(["a"] * 9999),
    "&".join(["a"] * 10001),
)


def _targets(group: Group) -> None:
    for target in TARGETS:
        group.add(19, f"path {target}", http(path=target))
    for query in QUERIES:
        group.add(20, f"query {query[:20]} {len(query)}", http(path=f"/p?{query}"))


KINDS = (
    None,
    "",
    JSON,
    "application/json; charset=utf-8",
    "application/json-patch+json",
    "text/plain; was=application/json",
    "Application/JSON",
    "application/vnd.api+json",
    "application/problem+json",
    "text/json",
    FORM,
    FORM.upper(),
    "multipart/form-data",
    "multipart/form-data; boundary=b",
    "application/grpc",
    "application/grpc+proto",
    f"{FORM}, {JSON}",
    f"application/grpc, {FORM}",
    "application/jsonapplication/grpc",
    "text/plain",
)
LENGTHS = (
    "8",
    "7",
    "100",
    "-1",
    "-100",
    "+8",
    "+100",
    "0",
    "00000000000000000000000000100",
    "",
    " 7",
    "7 ",
    "1_0",
    "٧",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "0x10",
    "1.0",
    "8,8",
    "--1",
    "+",
    "-0",
)
DOCUMENTS = (
    b'{"a": 1, "a": 2}',
    b'{"a": {"b": 1}, "a": {"c": 2}}',
    b'"\\ud800"',
    b'"\\ud800\\ud800\\udc00"',
    b'"\\udc00\\ud800"',
    b'"\xff"',
    b'"\xe2\x82"',
    b'"\xed\xa0\x80"',
    b'{"\xff": 1, "\xfe": 2}',
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"01",
    b"-",
    b"-0",
    b"0",
    b"1.0",
    b"1e2",
    b"1E+2",
    b"1e400",
    b"-1e-400",
    b"123456789012345678901234567890",
    b"0.1234567890123456789012345",
    b"1.",
    b".5",
    b"+1",
    b'"a\nb"',
    b'"a\tb"',
    b'"\x7f"',
    b'"\\x"',
    b'"\\u12"',
    b'"\\u+123"',
    b'"\\/\\b\\f"',
    b"{} {}",
    b"{}x",
    b"{} null",
    b"{} null x",
    b"{}null",
    b"1 null",
    b"1null",
    b"nullnull",
    b"nullx",
    b"{} nul",
    b'{} "x"',
    b"{} ,",
    b"{} ]",
    b"  ",
    b"\x00",
    b" {} \r\n",
    b"\x0b{}",
    b"\xc2\xa0{}",
    b"null",
    b"true",
    b"True",
    b"[1,]",
    b'{"a":1,}',
    b"{'a':1}",
    b"[",
    b'{"a"',
    b'"',
    b"// c\n{}",
    b'{"": 1}',
    b"[[],{}]",
    b'{"a":[1,2.50,"x",null,false]}',
    b"[" * 64 + b"]" * 64,
    b"[" * 101 + b"1.50" + b"]" * 101,
    b'{"a":' * 300 + b'{"b":1,"b":"\\ud800"}' + b"}" * 300,
    b"[" * 9000 + b"]" * 9000,
    b"[" * 10001 + b"]" * 10001,
    b"[" * 300 + b"1," + b"]" * 300,
    b"[" * 300 + b"}" * 300,
    b'{"a":' * 200 + b"1" + b"}" * 199,
    b'"' + b"[" * 500 + b'"',
    b'{"a" 1}',
    b"{1:2}",
    b"[1 2]",
    b'{"a":1 "b":2}',
    b"[:1]",
    b'{"a":"b":"c"}',
    b'"\\uD83D\\uDE00"',
    b'"\xf0\x9f\x98\x80"',
    b"[1,2,3]",
    b"1e",
    b"1e+",
    b"0e0",
    b"00",
    b"0x1",
)
# What the plugin hands to OPA inside itself, and OPA's API does not take.
BEYOND_OPA = (b"1e40000", b"0.1e52345", b"[" * 9999 + b"]" * 9999, b"[" * 10000 + b"]" * 10000)
FORMS = (
    b"a=1&b=2",
    b"&&",
    b"a",
    b"=",
    b"a=1&a=2",
    b"a;b",
    b"a=%zz",
    b"a=%FF",
    b"\xff=\xfe",
    b"a+b=c%2Bd",
    b"a=\n",
    b'{"a":1}',
    b"a=%00",
    "é=ü".encode(),
)


def _bodies(group: Group) -> None:
    for kind in KINDS:
        for text in ('{"a": 1}', "a=1"):
            group.add(21, f"type {kind} {text}", body(kind, text))
    group.add(21, "type in another header", body(None, '{"a": 1}', Content_Type=JSON))
    for length in LENGTHS:
        group.add(23, f"length {length!r}", body(JSON, '{"a": 1}', content_length=length))
    for kind in (JSON, FORM, "multipart/form-data; boundary=b", "application/grpc", "text/plain"):
        group.add(23, f"length of {kind}", body(kind, "a=1", content_length="100"))
        group.add(23, f"empty, length of {kind}", body(kind, "", content_length="100"))
        for partial in ("true", "True", "false", ""):
            group.add(
                23, f"partial {partial} {kind}", body(kind, "{}", **{PARTIAL.replace("-", "_"): partial})
            )
    group.add(23, "bytes, not characters", body(JSON, '"éé"', content_length="6"))
    group.add(24, "text before bytes", body(JSON, '{"a": 1}', b'{"b": 2}'))
    group.add(24, "bytes", body(JSON, "", b'{"b": 2}'))
    group.add(24, "bytes as form", body(FORM, "", b"a=%C3\xff"))
    group.add(24, "form text before bytes", body(FORM, "a=1", b"b=2"))
    for number, text in enumerate(DOCUMENTS):
        group.add(25, f"json {number} {text[:24]!r}", body(JSON, "", text))
    for text in BEYOND_OPA:
        group.add(25, f"beyond OPA {text[:24]!r} {len(text)}", body(JSON, "", text))
    for text in FORMS:
        group.add(26, f"form {text!r}", body(FORM, "", text))


def _part(*lines: str, content: str = "v", end: str = "\r\n") -> str:
    return end.join(("--b", *lines, "", content, ""))


NAMED = 'Content-Disposition: form-data; name="a"'
PARTS = {
    "one": _part(NAMED) + "--b--\r\n",
    "no last line end": _part(NAMED) + "--b--",
    "two of one name": _part(NAMED) + _part(NAMED, content="w") + "--b--\r\n",
    "a file": _part(NAMED + '; filename="f.txt"', "Content-Type: text/plain") + "--b--\r\n",
    "json": _part(NAMED, "Content-Type: application/json", content='{"x": 1.0}') + "--b--\r\n",
    "json by substring": _part(NAMED, "content-type: text/application/jsonx", content="[1e2]") + "--b--\r\n",
    "json in capitals": _part(NAMED, "Content-Type: Application/JSON", content="{}") + "--b--\r\n",
    "broken json": _part(NAMED, "Content-Type: application/json", content="{") + "--b--\r\n",
    "empty json": _part(NAMED, "Content-Type: application/json", content="") + "--b--\r\n",
    "nameless": _part("Content-Disposition: form-data") + _part(NAMED) + "--b--\r\n",
    "no disposition": _part("X: y") + "--b--\r\n",
    "no headers": _part() + "--b--\r\n",
    "attachment": _part('Content-Disposition: attachment; name="a"') + "--b--\r\n",
    "disposition in capitals": _part('CONTENT-DISPOSITION: FORM-DATA; NAME="a"') + "--b--\r\n",
    "name without quotes": _part("Content-Disposition: form-data; name=a") + "--b--\r\n",
    "name escaped": _part(r'Content-Disposition: form-data; name="a\"b\c\\d"') + "--b--\r\n",
    "name extended": _part("Content-Disposition: form-data; name*=utf-8''%e2%82%ac") + "--b--\r\n",
    "name extended, no UTF-8": _part("Content-Disposition: form-data; name*=utf-8''%FF") + "--b--\r\n",
    "name extended latin": _part("Content-Disposition: form-data; name*=iso-8859-1''%e2") + "--b--\r\n",
    "name continued": _part("Content-Disposition: form-data; name*0=a; name*1*=%62; name*2=c") + "--b--\r\n",
    "name twice": _part("Content-Disposition: form-data; name=a; name=b") + "--b--\r\n",
    "name twice the same": _part("Content-Disposition: form-data; name=a; name=a") + "--b--\r\n",
    "name unfinished": _part('Content-Disposition: form-data; name="a') + "--b--\r\n",
    "semicolon behind": _part("Content-Disposition: form-data; name=a; ") + "--b--\r\n",
    "folded": _part("Content-Disposition: form-data;", "  name=a") + "--b--\r\n",
    "two dispositions": _part(NAMED, "Content-Disposition: form-data; name=z") + "--b--\r\n",
    "quoted-printable": _part(
        NAMED, "Content-Transfer-Encoding: Quoted-Printable", content="a=3D=\r\nb=E9 \r\n=zz="
    )
    + "--b--\r\n",
    "quoted-printable control": _part(NAMED, "Content-Transfer-Encoding: quoted-printable", content="a\x01b")
    + "--b--\r\n",
    "quoted-printable end": _part(NAMED, "Content-Transfer-Encoding: quoted-printable", content="a==")
    + "--b--\r\n",
    "quoted-printable blanks": _part(
        NAMED, "Content-Transfer-Encoding: quoted-printable", content="a= x\r\nb"
    )
    + "--b--\r\n",
    "base64": _part(NAMED, "Content-Transfer-Encoding: base64", content="YQ==") + "--b--\r\n",
    "bare LF": _part(NAMED, end="\n") + "--b--\n",
    "LF after CRLF": _part(NAMED) + "--b--\n",
    "CRLF after LF": _part(NAMED, end="\n") + "--b--\r\n",
    "mixed": "--b\r\n" + NAMED + "\n\nv\r\n--b--\r\n",
    "preamble": "hello\r\n" + _part(NAMED) + "--b--\r\n",
    "long preamble": "x" * 5000 + "\r\n" + _part(NAMED) + "--b--\r\n",
    "preamble of 4096": "x" * 4094 + "\r\n" + _part(NAMED) + "--b--\r\n",
    "epilogue": _part(NAMED) + "--b--\r\nmore",
    "padding": _part(NAMED) + "--b-- \t\r\n",
    "padded boundary": "--b \t\r\n" + NAMED + "\r\n\r\nv\r\n--b--",
    "unterminated": _part(NAMED),
    "unterminated nameless": _part("X: y"),
    "cut in the head": "--b\r\n" + NAMED,
    "cut after the head": "--b\r\n" + NAMED + "\r\n\r\n",
    "cut after a boundary": _part(NAMED) + "--b\r\n",
    "cut in a boundary": _part(NAMED) + "--b",
    "no boundary line": "hello",
    "only the end": "--b--",
    "longer boundary inside": _part(NAMED, content="x\r\n--bc\r\ny") + "--b--\r\n",
    "boundary and dash": _part(NAMED, content="x\r\n--b-y") + "--b--\r\n",
    "boundary at once": "--b\r\n" + NAMED + "\r\n\r\n--b--\r\n",
    "longer boundary at once": "--b\r\n" + NAMED + "\r\n\r\n--bc\r\n--b--\r\n",
    "empty content": _part(NAMED, content="") + "--b--\r\n",
    "no colon": _part("hello") + "--b--\r\n",
    "blank before colon": _part("Content-Disposition : form-data; name=a") + "--b--\r\n",
    "bad header name": _part("Cont(ent: x", NAMED) + "--b--\r\n",
    "control in a header": _part("X: a\x01b", NAMED) + "--b--\r\n",
    "blank first": _part(" X: y", NAMED) + "--b--\r\n",
    "text behind a boundary": "--b x\r\n" + NAMED + "\r\n\r\nv\r\n--b--\r\n",
    "broken second boundary": _part(NAMED) + "--b x\r\n--b--\r\n",
    "empty colon": _part(":", NAMED) + "--b--\r\n",
    "long line": _part(NAMED, content="x" * 9000 + "\r\n" + "y" * 4095) + "--b--\r\n",
}
MULTIPART = "multipart/form-data; boundary=b"
BOUNDARIES = (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    'multipart/form-data; boundary=""',
    'multipart/form-data; boundary="b"',
    "multipart/form-data; boundary=b; charset=utf-8",
    "multipart/form-data; BOUNDARY=b",
    "multipart/form-data;boundary=b;",
    "multipart/form-data; boundary=a; boundary=b",
    "multipart/form-data; boundary=b; boundary=b",
    "multipart/form-data; boundary*=utf-8''b",
    "multipart/form-data boundary=b",
    "x; multipart/form-data; boundary=b",
    "multipart/form-data; x",
    "multipart/form-data, text/plain; boundary=b",
    "multipart/form-data; boundary*0=b",
    "multipart/form-data/x; boundary=b",
    "multipart/form-data ; boundary = b",
)


def _multipart(group: Group) -> None:
    for name, text in PARTS.items():
        group.add(26, f"multipart {name}", body(MULTIPART, "", text.encode()))
    group.add(
        26, "multipart no UTF-8", body(MULTIPART, "", _part(NAMED).encode().replace(b"v", b"\xff") + b"--b--")
    )
    for kind in BOUNDARIES:
        group.add(26, f"multipart {kind}", body(kind, "", PARTS["one"].encode()))


def descriptor_set() -> bytes:
    """`greet.Greeter` with unary and streaming methods, as `protoc --include_imports` would write it."""
    found = descriptor_pb2.FileDescriptorSet()
    for imported in ("any", "duration", "timestamp", "struct", "wrappers"):
        module = __import__(f"google.protobuf.{imported}_pb2", fromlist=["DESCRIPTOR"])
        module.DESCRIPTOR.CopyToProto(found.file.add())
    file = found.file.add(name="greet.proto", package="greet", syntax="proto3")
    file.dependency.extend(
        f"google/protobuf/{name}.proto" for name in ("any", "duration", "timestamp", "struct", "wrappers")
    )
    colour = file.enum_type.add(name="Colour")
    colour.value.add(name="NONE", number=0)
    colour.value.add(name="RED", number=1)
    hello = file.message_type.add(name="Hello")
    types = {
        "name": 9,
        "big": 3,
        "small": 5,
        "real": 1,
        "single": 2,
        "data": 12,
        "flag": 8,
        "unsigned_long": 4,
    }
    for number, (name, kind) in enumerate(types.items(), 1):
        hello.field.add(name=name, number=number, type=kind, label=1)
    hello.field.add(name="colour", number=9, type=14, label=1, type_name=".greet.Colour")
    hello.field.add(name="more_words", number=10, type=9, label=3)
    hello.field.add(name="inner", number=11, type=11, label=1, type_name=".greet.Hello")
    for number, name in enumerate(("Any", "Duration", "Timestamp", "Struct", "Int64Value"), 12):
        hello.field.add(
            name=name.lower(), number=number, type=11, label=1, type_name=f".google.protobuf.{name}"
        )
    service = file.service.add(name="Greeter")
    service.method.add(name="Greet", input_type=".greet.Hello", output_type=".greet.Hello")
    service.method.add(
        name="Stream", input_type=".greet.Hello", output_type=".greet.Hello", client_streaming=True
    )
    service.method.add(
        name="Tell", input_type=".greet.Hello", output_type=".greet.Hello", server_streaming=True
    )
    return found.SerializeToString()


def frame(data: bytes, flag: int = 0, length: int | None = None) -> bytes:
    return bytes([flag]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def _grpc(group: Group) -> None:
    def call(name: str, raw: bytes, path: str = "/greet.Greeter/Greet", **members: Any) -> None:
        headers = {"content-type": "application/grpc"} | members.pop("headers", {})
        group.add(27, f"grpc {name}", http(path=path, headers=headers, raw=raw, **members))

    greeting = b"\x0a\x02hi\x10\x81\x80\x80\x80\x80\x80\x80\x10\x18\x07\x48\x01\x52\x01a\x52\x01b"
    call("message", frame(greeting))
    call("defaults", frame(b""))
    call("doubles", frame(b"\x21" + bytes.fromhex("0000000000002440") + b"\x2d" + bytes.fromhex("cdcccc3d")))
    call("large double", frame(b"\x21" + bytes.fromhex("50efe2d6e41a4b44")))
    call("small double", frame(b"\x21" + bytes.fromhex("48afbc9af2d77a3e")))
    call("no double", frame(b"\x21" + bytes.fromhex("000000000000f87f")))
    call("bytes and flag", frame(b"\x32\x03\xff\xfe\xfd\x38\x01\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
    call("unknown enum", frame(b"\x48\x05"))
    call("nested", frame(b"\x5a\x04\x0a\x02yo"))
    call("unknown field", frame(b"\xa0\x06\x01\x0a\x01x"))
    call("well known", frame(b"\x6a\x02\x08\x03\x72\x02\x08\x01\x82\x01\x02\x08\x05"))
    call(
        "struct",
        frame(b"\x7a\x11\x0a\x0f\x0a\x01a\x12\x0a\x11" + bytes.fromhex("000000000000f03f") + b"\x00"[:0]),
    )
    call("any", frame(b"\x62\x30\x0a\x2ctype.googleapis.com/google.protobuf.Duration\x12\x00"))
    call("any of our own", frame(b"\x62\x23\x0a\x1ftype.googleapis.com/greet.Hello\x12\x00"[:37]))
    call("no UTF-8", frame(b"\x0a\x01\xff"))
    call("broken", frame(b"\x0a\x7f"))
    call("compressed", frame(greeting, flag=1))
    call("truncated", frame(greeting, length=1000))
    call("more behind", frame(greeting) + b"rest")
    call("four bytes", b"\x00\x00\x00\x00")
    call("empty", b"")
    call("unknown service", frame(b""), "/greet.Nobody/Greet")
    call("a message as service", frame(b""), "/greet.Hello/Greet")
    call("unknown method", frame(b""), "/greet.Greeter/Nothing")
    call("client streaming", frame(greeting), "/greet.Greeter/Stream")
    call("server streaming", frame(greeting), "/greet.Greeter/Tell")
    call("one segment", frame(b""), "/greet.Greeter")
    call("three segments", frame(b""), "/greet.Greeter/Greet/x")
    call("escaped", frame(greeting), "/greet%2EGreeter/Greet")
    call("with length", frame(greeting), headers={"content-length": "1000"})
    call("partial", frame(greeting), headers={PARTIAL: "true"})
    group.add(
        27,
        "grpc as text",
        http(path="/greet.Greeter/Greet", headers={"content-type": "application/grpc"}, body="\0\0\0\0\0"),
    )


CODES = (*range(99, 105), *range(199, 228), *range(299, 310), *range(399, 453), *range(498, 513), 599, 600)


def _results(group: Group) -> None:
    names = [
        line.split('"')[1]
        for line in (REGO / "results.rego").read_text().splitlines()
        if line.startswith('case["')
    ]
    for name in dict.fromkeys(names):
        group.add(int(name.split()[0]), name, result(name))
    for code in CODES:
        group.add(11, f"11 code {code}", result(f"11 code {code}"))
    group.add(1, "undefined", result("nothing of the kind"))
    group.add(6, "a byte in a header", result("6 path in a header", path="/%FF"))
    group.add(6, "a byte in metadata", result("6 path in metadata", path="/%FF"))
    group.add(6, "a byte in a denial", result("6 path in a denial", path="/%FF"))
    group.add(6, "a byte as JSON", result("6 path as JSON", path="/%FF"))
    group.add(6, "a replacement character", result("6 path in a header", path="/%EF%BF%BD"))
    group.add(2, "unparsable", result("7 true", path="/%zz"))


def _typical(group: Group) -> None:
    alice, bob = ({"authorization": f"Basic {b64encode(name).decode()}"} for name in (b"alice:x", b"bob:x"))
    json = {"content-type": JSON}
    admin = {"headers": bob | json, "method": "POST", "path": "/people"}
    asked: dict[str, dict[str, Any]] = {
        "reads": {"headers": alice, "path": "/people/1"},
        "reads again": {"headers": alice | {"x-request-id": "7"}, "path": "/people/1", "id": "8"},
        "reads with slashes": {"headers": alice, "path": "//people/1"},
        "reads escaped": {"headers": alice, "path": "/%70eople%2F1"},
        "reads what is internal": {"headers": alice, "path": "/people/1?internal=true"},
        "reads a secret": {"headers": alice, "path": "/people/secret"},
        "reads with parameters": {"headers": alice, "path": "/people;a=b/1"},
        "reads over a dot segment": {"headers": alice, "path": "/people/../x"},
        "posts": {"headers": alice, "method": "POST", "path": "/people"},
        "admin posts": admin | {"body": '{"firstname": "x"}'},
        "admin posts twice": admin | {"body": '{"firstname": "admin", "firstname": "x"}'},
        "admin posts admin": admin | {"body": '{"firstname": "Admin"}'},
        "admin posts a part": admin
        | {"headers": bob | json | {PARTIAL: "true"}, "body": '{"firstname": "x"'},
        "admin posts text": {
            "headers": bob,
            "method": "POST",
            "path": "/people",
            "body": '{"firstname": "x"}',
        },
        "admin deletes": admin | {"method": "DELETE", "body": "{}"},
        "nobody": {"path": "/people"},
        "broken": {"headers": {"authorization": "Basic !"}, "path": "/people"},
        "tunnel": {"headers": alice | {"upgrade": "websocket"}, "path": "/people"},
    }
    for name, members in asked.items():
        group.add(8, name, http(**({"method": "GET"} | members)))


def groups() -> list[Group]:
    """All of them; the descriptor set of `grpc` is a file that whoever starts a process has to name."""
    echo = Group("input", "echo.rego")
    _attributes(echo)
    _targets(echo)
    _bodies(echo)
    _multipart(echo)
    skipped = Group("skip body", "echo.rego", options={"skip-request-body-parse": True})
    skipped.add(28, "json", body(JSON, '{"a": 1}'))
    skipped.add(28, "broken json", body(JSON, "{"))
    skipped.add(28, "partial", body(JSON, "{}", **{PARTIAL.replace("-", "_"): "true"}))
    grpc = Group("grpc", "echo.rego", options={"proto-descriptor": "descriptors.pb"})
    _grpc(grpc)
    results = Group("results", "results.rego")
    _results(results)
    typical = Group("typical", str(SAMPLE / "rego"))
    _typical(typical)
    dry = Group("dry run", "results.rego", options={"dry-run": True})
    for name in (
        "7 true",
        "7 false",
        "12 metadata on a denial",
        "8 headers on a denial",
        "1 allowed missing",
    ):
        dry.add(13, name, result(name))
    dry.add(13, "unparsable", result("7 true", path="/%zz"))
    paths = []
    for path in (
        "paths",
        "/paths//allowed/",
        "paths/reach/deep/1/allowed",
        "paths/do.tted/allowed",
        "base",
        "base/list/0",
        "paths.allowed",
        "base/allowed",
        "paths/function",
        "paths/missing",
        "/",
    ):
        group = Group(f"path {path}", "paths", path=path)
        group.add(29, "ask", http())
        paths.append(group)
    return [echo, skipped, grpc, results, typical, dry, *paths]
