"""Every parser of bytes from outside, as a function of bytes that raises only for a fault of ours.

In: bytes of a fuzzer. What a parser may raise by its own word is caught here, whatever else comes out is a
find. Where two readings can be compared (a value with the standard library's, a normal form with itself),
they are.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from authz import canonical, config_file, exact_json
from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from authz.config_identity import Identity
from authz.config_listen import Limits
from authz.errors import ConfigError, Denied, KeyUnusable
from authz.identity import keyset, spiffe, xfcc
from authz.identity.jwt import Identifier
from authz.ledger import (
    certificates,
    keyring,
    notes,
    proofs,
    quorum,
    segment,
    succession,
    tiles,
    timestamps,
    trust,
)
from authz.policy import active, verdict
from authz.protocols import body, claims, headers, http, mcp, trace
from authz.values import Malformed, Request
from authz.wire import accesslog, extauthz
from tests.certifying import Root

Target = Callable[[bytes], None]
LIMITS: Final = Limits()
TARGETS: Final[dict[str, Target]] = {}
SEEDS: Final[dict[str, list[bytes]]] = {}
_ROOT: Final = Root()
_PLACE: Final = ("aegis.test/worker-0/e", 3, "ab" * 32)
_HAND_OVER: Final = succession.say(b"\x01" * 32, b"\x02" * 32, *_PLACE, "aegis.test/worker-0") | dict(
    zip(("log", "seq", "previous_entry_hash"), _PLACE, strict=True), kind="key"
)


def target(*seeds: bytes) -> Callable[[Target], Target]:
    def register(function: Target) -> Target:
        TARGETS[function.__name__] = function
        SEEDS[function.__name__] = list(seeds)
        return function

    return register


def _strings(data: bytes, count: int) -> list[str]:
    """`count` texts out of one: separated by newlines, the last takes the rest."""
    parts = data.decode("utf-8", "replace").split("\n", count - 1)
    return parts + [""] * (count - len(parts))


def _read(message: bytes) -> Request | Malformed:
    return extauthz.read(message, LIMITS, "", lambda: "0" * 32)


@target(b"", b"\x0a\x02\x12\x00", b"\xff")
def check_bytes(data: bytes) -> None:
    assert isinstance(_read(data), Request | Malformed)


@target(
    b"GET\nehr.example\n/patients/1\nx-aegis-agent-token: a\n",
    b'POST\na.example:80\n/a?b=c\ncontent-type: application/json\n{"a":1}',
    b"CONNECT\na.example:443\n\n\n",
)
def check_fields(data: bytes) -> None:
    method, host, path, header, content = _strings(data, 5)
    message = CheckRequest()
    request = message.attributes.request.http
    request.method, request.host, request.path, request.scheme = method, host, path, "http"
    name, _, value = header.partition(": ")
    for key, text in ((":method", method), (":authority", host), (":path", path), (name, value)):
        request.header_map.headers.add(key=key, raw_value=text.encode())
    request.raw_body = content.encode()
    read = _read(message.SerializeToString())
    if isinstance(read, Request):
        again = _read(message.SerializeToString())
        assert isinstance(again, Request)
        assert (read.host, read.path, read.headers) == (again.host, again.path, again.headers)
        assert http.path(read.path, read.method) == read.path


@target(b"/a/b", b"/%7Ea/%2e%2e", b"/patients/..;/x", b"*")
def path(data: bytes) -> None:
    with suppress(Denied):
        normal = http.path(data.decode("utf-8", "replace"), "GET")
        assert http.path(normal, "GET") == normal


@target(b"a.example:80", b"[::1]:443", b"A.EXAMPLE.", b"0x7f.1")
def authority(data: bytes) -> None:
    with suppress(Denied):
        host, port = http.authority(data.decode("utf-8", "replace"), "http")
        shown = f"[{host}]" if ":" in host else host
        assert http.authority(f"{shown}:{port}", "http") == (host, port)


@target(b"a=b&c=%20", b"%00", b"?")
def query(data: bytes) -> None:
    with suppress(Denied):
        http.check_query(data.decode("utf-8", "replace"))


@target(b"content-type\napplication/json", b"x-a\nb", b"host\na\nhost\nb")
def header_lines(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").split("\n")
    with suppress(Denied):
        headers.headers(lines[::2], lines[1::2] + [""] * (len(lines) % 2), 100, 65536)


@target(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
def traceparent(data: bytes) -> None:
    trace.traceparent(data.decode("utf-8", "replace"))


@target(b"application/json; charset=utf-8", b"application/x-www-form-urlencoded", b"a/b, c/d")
def media(data: bytes) -> None:
    with suppress(Denied):
        body.media(data.decode("utf-8", "replace"))


@target(b'{"a":[1,2.5,"x\\u00e9",null,true]}', b'{"a":1,"a":2}', b"[[[[]]]]", b'"\\u003a"', b"1e999")
def json_value(data: bytes) -> None:
    """What we accept, the standard library reads as the very same value."""
    with suppress(ValueError):
        value = exact_json.parse(data, 64)
        assert json.loads(data) == value


@target(b"a=1&a=2&b=%C3%A9", b"a", b"&&=")
def form(data: bytes) -> None:
    with suppress(Denied):
        body.parse_form(data)


@target(b'{"a":1}', b"\xef\xbb\xbf{}", b"NaN", b"{'a':1}")
def unlabelled_body(data: bytes) -> None:
    with suppress(Denied):
        body.arguments(data, body.OTHER, 32)


@target(b"x-aegis-action-id\na\n{}", b'x-aegis-model\nm\n{"aegis/model":"n"}')
def claimed(data: bytes) -> None:
    name, value, meta = _strings(data, 3)
    given: Any = None
    with suppress(ValueError):
        given = json.loads(meta)
    with suppress(Denied):
        read = claims.read({name: value}, given if isinstance(given, dict) else None)
        assert all(len(text) <= claims.MAX_TEXT and text.isprintable() for text in read.values.values())


@target(
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":1}}}',
    b'[{"jsonrpc":"2.0","method":"ping"}]',
    b'{"jsonrpc":"2.0","id":"x","result":{}}',
)
def mcp_message(data: bytes) -> None:
    """A call that is taken is the one that the standard library reads."""
    given = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    with suppress(Denied, ValueError):
        read = mcp.read("POST", given, exact_json.parse(data, 32))
        if read is not None and read.method == "tools/call" and read.fault is None:
            assert json.loads(data)["params"]["name"] == read.name


@target(b"\x0a\x02\x08\x01", b"")
def access_log_entry(data: bytes) -> None:
    with suppress(ValueError):
        accesslog.read(data, ("x-request-id",))


@target(b"eyJhbGciOiJFZERTQSJ9.e30.", b"a.b.c", b"..", b"Bearer x")
def token(data: bytes) -> None:
    message = CheckRequest()
    request = message.attributes.request.http
    request.method, request.host, request.path, request.scheme = "GET", "a.example", "/", "http"
    pairs = (
        (":method", b"GET"),
        (":authority", b"a.example"),
        (":path", b"/"),
        ("x-aegis-agent-token", data),
    )
    for key, raw in pairs:
        request.header_map.headers.add(key=key, raw_value=raw)
    read = _read(message.SerializeToString())
    if isinstance(read, Request):
        with suppress(Denied):
            raise AssertionError(f"nobody signed this: {_identifier().identify(read)}")


_IDENTIFIER: list[Identifier] = []


def _identifier() -> Identifier:
    if not _IDENTIFIER:
        jwks = Path(tempfile.mkdtemp()) / "jwks.json"
        key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": "A" * 43}
        jwks.write_text(json.dumps({"keys": [key]}))
        keys = keyset.KeySet(jwks, Identity().algorithms, lambda: 1.8e9)
        _IDENTIFIER.append(Identifier(Identity(), keys=keys, protected=True, wall=lambda: 1.8e9))
    return _IDENTIFIER[0]


@target(b'{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"' + b"A" * 43 + b'"}]}', b"{}")
def jwk_set(data: bytes) -> None:
    with suppress(KeyUnusable):
        keyset.parse_keys(data, ("EdDSA", "ES256", "RS256"), "keys")


@target(b"spiffe://a.example/b", b"spiffe://a/../b")
def spiffe_id(data: bytes) -> None:
    with suppress(ValueError):
        spiffe.trust_domain(data.decode("utf-8", "replace"))


@target(b'By=spiffe://a/b;Hash=00;URI=spiffe://a/c;Subject="CN=x,O=\\"y\\""', b"URI=a,URI=b")
def forwarded_certificate(data: bytes) -> None:
    with suppress(ValueError):
        xfcc.last_uri(data.decode("utf-8", "replace"))


@target("a/b\n3\nAAAA\n\n— a/b AAAA\n".encode())
def checkpoint(data: bytes) -> None:
    with suppress(ValueError):
        assert data.startswith(notes.parse(data).signed_text())


@target("c2sp.org/tlog-proof@v1\nindex 0\n\na/b\n1\nAAAA\n\n— a/b AAAA\n".encode())
def proof_file(data: bytes) -> None:
    with suppress(ValueError):
        found = proofs.parse(data)
        written = proofs.write(found.index, list(found.siblings), found.note)
        assert written == data or b"\nextra " in data


@target(b"tile/0/x001/067.p/12", b"tile/entries/000", b"tile/1/../000")
def tile_name(data: bytes) -> None:
    name = data.decode("utf-8", "replace")
    found = tiles.parse(name)
    assert found is None or (found.name == name and ".." not in name)


SAMPLE: Final = Path(__file__).parents[2] / "docs/anchored"
STAMPED: Final = next(SAMPLE.rglob("*.tsr"))
ROOTS: Final = timestamps.read_roots((SAMPLE / "tsa-root.pem").read_bytes())
DATED: Final = timestamps.check(STAMPED.read_bytes(), STAMPED.with_suffix("").read_bytes(), ROOTS)
COSIGNED: Final = STAMPED.with_suffix(".cosigned").read_bytes()
WITNESSES: Final = trust.load(SAMPLE / "trust.json").witnesses


@target(STAMPED.read_bytes(), b"\x30\x03\x02\x01\x00")
def time_stamp(data: bytes) -> None:
    """What holds is the stamp that was given, whatever of it nobody signed."""
    with suppress(ValueError):
        assert timestamps.check(data, STAMPED.with_suffix("").read_bytes(), ROOTS) == DATED


@target(COSIGNED, COSIGNED.replace(b"\n5\n", b"\n6\n"))
def cosigned_checkpoint(data: bytes) -> None:
    assert WITNESSES
    with suppress(ValueError):
        checkpoint = notes.parse(data)
        if WITNESSES.times(checkpoint):
            assert checkpoint.signed_text() == notes.parse(COSIGNED).signed_text(), "nobody cosigned this"


@target("\n".join(WITNESSES.lines() if WITNESSES else ()).encode(), b"quorum none\n", b"group g 1 a\n")
def witness_policy(data: bytes) -> None:
    with suppress(ValueError):
        read = quorum.parse(data)
        again = quorum.parse("\n".join(read.lines()).encode("utf-8", "surrogateescape"))
        assert again.lines() == read.lines()


@target(b'{"seq":0}\n', b"\n", b'{"seq":0}')
def ledger_segment(data: bytes) -> None:
    task = segment.Task(Path("00000000.jsonl"), 0, True, "d/w/e", 3, (bytes(32),))
    walked = segment.walk_stream(task, io.BytesIO(data))
    assert walked.entries == 0, "nobody signed this"


@target(b'{"a":1,"b":[true,null]}', b'{"b":1,"a":2}', b'{"a":1.5}')
def ledger_entry(data: bytes) -> None:
    with suppress(ValueError):
        assert canonical.encode(canonical.parse(data)) == data


@target(b'{"log_keys":{},"record_keys":[]}')
def trust_file(data: bytes) -> None:
    with suppress(ConfigError):
        trust.parse(data)


@target(_ROOT.certify(b"\x01" * 32).encode(), b"MIIB")
def certificate(data: bytes) -> None:
    with suppress(ValueError):
        certificates.check(data.decode("latin-1"), [_ROOT.certificate], "aegis.test/worker-0/e")


@target(b'{"keys":[{"jwk":{"crv":"Ed25519","kty":"OKP","x":"' + b"A" * 43 + b'"}}]}')
def key_list(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ring = keyring.Keyring(Path(directory) / "record.key")
        ring.list.write_bytes(data)
        ring.list.chmod(0o644)
        with suppress(KeyUnusable):
            ring.listed()


@target(canonical.encode(_HAND_OVER))
def hand_over(data: bytes) -> None:
    with suppress(ValueError):
        members = _HAND_OVER | canonical.parse(data)
        handed = succession.read(members)
        assert handed is None or len(handed.public) == 32


@target(b'{"decision":"allow","reason_code":"permitted","rule":"r"}', b"true", b'{"allowed":true}')
def policy_verdict(data: bytes) -> None:
    with suppress(ValueError, Denied):
        verdict.read_verdict(json.loads(data))


@target(b'{"result":{"aegis":{"manifest":{"revision":"v1+00","roots":[""],"metadata":{}}}}}', b"{}")
def active_bundles(data: bytes) -> None:
    with suppress(ValueError, Denied):
        active.read_active(json.loads(data), "aegis/decision")


@target(b"listen:\n  waiting: 3\n", b"a: &a [*a]", b"listen: {waiting: x}")
def settings_file(data: bytes) -> None:
    file = Path(tempfile.gettempdir()) / f"aegis-fuzz-{id(TARGETS)}.yaml"
    file.write_bytes(data)
    with suppress(ConfigError):
        config_file.load(file, {})
