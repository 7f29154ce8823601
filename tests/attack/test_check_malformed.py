"""A Check that cannot be read in one way is a recorded denial with its own reason, never an error of ours."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from tests.tokens import Issuer
from tests.worker import CheckWorker, add_header, message, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
Malformation = Callable[[CheckWorker], CheckRequest | bytes]
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aegis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CheckWorker]:
    async with serving(tmp_path_factory.mktemp("worker")) as made:
        yield made


@pytest.fixture(autouse=True)
def audited(aegis: CheckWorker) -> Iterator[None]:
    yield
    aegis.audit()


def sent(**what: Any) -> Malformation:
    """An otherwise good request with a good token."""
    return lambda worker: message(token=worker.token(), **what)


def with_header(name: str, value: str | bytes) -> Malformation:
    def malform(worker: CheckWorker) -> CheckRequest:
        request = message(token=worker.token())
        add_header(request, name, value)
        return request

    return malform


def without(field: str) -> Malformation:
    def malform(worker: CheckWorker) -> CheckRequest:
        request = message(token=worker.token())
        request.attributes.request.http.ClearField(field)
        return request

    return malform


def changed(change: Callable[[CheckRequest], None]) -> Malformation:
    def malform(worker: CheckWorker) -> CheckRequest:
        request = message(token=worker.token())
        change(request)
        return request

    return malform


def bytes_of(old: bytes, new: bytes) -> Malformation:
    """As long as before, so that it is still protobuf, but not text."""
    assert len(old) == len(new)

    def malform(worker: CheckWorker) -> bytes:
        data = message(token=worker.token(), path="/somewhere", id="request-1").SerializeToString()
        assert old in data
        return data.replace(old, new)

    return malform


def both_forms(request: CheckRequest) -> None:
    request.attributes.request.http.headers["accept"] = "x"


def both_bodies(request: CheckRequest) -> None:
    request.attributes.request.http.raw_body = b"a"
    request.attributes.request.http.body = "b"


def other_name(request: CheckRequest) -> None:
    request.attributes.tls_session.sni = "other.example"


def flood(worker: CheckWorker) -> CheckRequest:
    headers = {f"h{number}": "v" for number in range(5000)}
    return message(token=worker.token(), headers=headers)


def heavy(worker: CheckWorker) -> CheckRequest:
    headers = {f"h{number}": "v" * 1000 for number in range(80)}
    return message(token=worker.token(), headers=headers)


MALFORMED: dict[str, tuple[str, Malformation]] = {
    "nothing": ("malformed_request", lambda _: b""),
    "no protobuf": ("malformed_request", lambda _: b"\xff" * 100),
    "text": ("malformed_request", lambda _: b"GET / HTTP/1.1\r\n\r\n"),
    "cut off": ("malformed_request", lambda worker: message(token=worker.token()).SerializeToString()[:-7]),
    "empty attributes": ("malformed_request", lambda _: b"\x0a\x00"),
    "a group that never ends": ("malformed_request", lambda _: b"\x0b" * 4000),
    "no http": ("malformed_request", lambda _: b"\x0a\x02\x22\x00"),
    "no method": ("malformed_request", without("method")),
    "no host": ("malformed_host", without("host")),
    "no path": ("malformed_request", without("path")),
    "no scheme": ("malformed_request", without("scheme")),
    "path not UTF-8": ("malformed_request", bytes_of(b"/somewhere", b"/some\xffhere")),
    "id not UTF-8": ("malformed_request", bytes_of(b"request-1", b"request-\xc0")),
    "method in small letters": ("malformed_request", sent(method="get")),
    "method with a line break": ("malformed_request", sent(method="GET\r\nX: y", pseudo=False)),
    "another scheme": ("malformed_request", sent(scheme="ftp")),
    "pseudo path": ("malformed_request", sent(headers={":path": "/other"})),
    "pseudo method": ("malformed_request", sent(headers={":method": "DELETE"})),
    "encoded slash": ("malformed_path", sent(path="/a/%2fb")),
    "encoded backslash": ("malformed_path", sent(path="/a%5Cb")),
    "dot segments": ("malformed_path", sent(path="/a/../b")),
    "encoded dots": ("malformed_path", sent(path="/a/%2e%2e/b")),
    "dots with a parameter": ("malformed_path", sent(path="/a/..;/b")),
    "escaped twice": ("malformed_path", sent(path="/a/%252fb")),
    "broken escape": ("malformed_path", sent(path="/a%zz")),
    "escaped NUL": ("malformed_path", sent(path="/a%00b")),
    "control byte in the path": ("malformed_path", sent(path="/a\x01b", pseudo=False)),
    "path not ASCII": ("malformed_path", sent(path="/é")),
    "absolute form": ("malformed_path", sent(path="http://evil.example/a")),
    "double slash": ("malformed_path", sent(path="//evil.example/a")),
    "huge path": ("malformed_path", sent(path="/" + "a/" * 5000)),
    "query apart": ("malformed_path", sent(query="a=1")),
    "fragment": ("malformed_path", sent(path="/a#b")),
    "query with a broken escape": ("malformed_query", sent(path="/a?q=100%")),
    "query with a blank": ("malformed_query", sent(path="/a?q=a b")),
    "query not UTF-8": ("malformed_query", sent(path="/a?q=%ff")),
    "semicolon in a query that policy reads": ("malformed_query", sent(path="/a?a=1;b=2")),
    "decimal address": ("malformed_host", sent(host="2130706433")),
    "hexadecimal address": ("malformed_host", sent(host="0x7f.1")),
    "octal address": ("malformed_host", sent(host="0177.0.0.1")),
    "mapped address": ("malformed_host", sent(host="[::ffff:127.0.0.1]")),
    "userinfo": ("malformed_host", sent(host="api.example@evil.example")),
    "host not ASCII": ("malformed_host", sent(host="аpi.example")),
    "port 0": ("malformed_host", sent(host="api.example:0")),
    "huge host": ("malformed_host", sent(host="a." * 5000)),
    "Host and authority": ("malformed_host", sent(headers={"host": "evil.example"})),
    "pseudo authority": ("malformed_host", sent(headers={":authority": "evil.example"})),
    "SNI and authority": ("malformed_host", changed(other_name)),
    "header flood": ("malformed_headers", flood),
    "header weight": ("malformed_headers", heavy),
    "token twice": ("malformed_headers", with_header("X-Aegis-Agent-Token", "eyJ.e30.AA")),
    "host twice": ("malformed_headers", lambda _: twice("host", "api.example")),
    "token with underscores": ("malformed_headers", with_header("x_aegis_agent_token", "eyJ.e30.AA")),
    "control byte in a header": ("malformed_headers", with_header("x-note", b"a\x00b")),
    "line break in a header": ("malformed_headers", with_header("x-note", b"a\r\nx-admin: 1")),
    "line break in a name": ("malformed_headers", with_header("x-note\nx-admin", b"1")),
    "blank in a name": ("malformed_headers", with_header("x note", b"1")),
    "empty name": ("malformed_headers", with_header("", b"1")),
    "header not UTF-8": ("malformed_headers", with_header("x-note", b"\xff\xfe")),
    "headers in two forms": ("malformed_headers", changed(both_forms)),
    "content-length": ("malformed_headers", sent(body=b"{}", headers={"content-length": "1_0"})),
    "content-length negative": ("malformed_headers", sent(body=b"{}", headers={"content-length": "-1"})),
    "content types": (
        "malformed_headers",
        sent(body=b"{}", headers={"content-type": "a/b, application/json"}),
    ),
    "duplicate name": ("malformed_body", sent(body=b'{"a":1,"a":2}', headers=JSON)),
    "duplicate name, escaped": ("malformed_body", sent(body=b'{"a":1,"\\u0061":2}', headers=JSON)),
    "large integer": ("malformed_body", sent(body=b'{"a":9007199254740993}', headers=JSON)),
    "overflow": ("malformed_body", sent(body=b'{"a":1e999}', headers=JSON)),
    "NaN": ("malformed_body", sent(body=b'{"a":NaN}', headers=JSON)),
    "broken JSON": ("malformed_body", sent(body=b'{"a":', headers=JSON)),
    "deep JSON": ("malformed_body", sent(body=b"[" * 30000 + b"]" * 30000, headers=JSON)),
    "JSON too deep by one": ("malformed_body", sent(body=b"[" * 65 + b"]" * 65, headers=JSON)),
    "BOM": ("malformed_body", sent(body=b"\xef\xbb\xbf{}", headers=JSON)),
    "UTF-16": ("malformed_body", sent(body='{"a":1}'.encode("utf-16"), headers=JSON)),
    "charset": (
        "malformed_body",
        sent(body=b"{}", headers={"content-type": "application/json;charset=utf-16"}),
    ),
    "compressed": ("malformed_body", sent(body=b"{}", headers=JSON | {"content-encoding": "gzip"})),
    "two bodies": ("malformed_body", changed(both_bodies)),
    "form with a semicolon": ("malformed_body", sent(body=b"a=1;b=2", headers=FORM)),
    "form with a broken escape": ("malformed_body", sent(body=b"a=%zz", headers=FORM)),
    "JSON to some": ("malformed_body", sent(body=b"a", headers={"content-type": "x/y; application/json"})),
    "JSON twice, as text": (
        "malformed_body",
        sent(body=b'{"a":1,"a":2}', headers={"content-type": "text/plain"}),
    ),
    "JSON with NaN, without a type": ("malformed_body", sent(body=b'{"a":NaN}')),
    "JSON as a form": ("malformed_body", sent(body=b'{"a":1}', headers=FORM)),
    "huge JSON": ("body_too_large", sent(body=b'{"a":"' + b"x" * 70000 + b'"}', headers=JSON)),
    "huge body": ("body_too_large", sent(body=b"\x00" * (1 << 20))),
    "part of a body": (
        "body_too_large",
        sent(body=b'{"a":', headers=JSON | {"x-envoy-auth-partial-body": "true"}),
    ),
    "part of a body by length": ("body_too_large", sent(body=b"{}", headers=JSON | {"content-length": "3"})),
    "no token": ("identity_missing", lambda _: message()),
    "forged token": ("identity_invalid", lambda _: message(token=Issuer().token())),
    "broken token": ("identity_invalid", lambda _: message(token="eyJ.e30.AA")),
    "huge token": ("identity_invalid", lambda _: message(token="a" * 20000)),
    "empty token": ("identity_invalid", lambda _: message(headers={"x-aegis-agent-token": ""})),
    "expired token": (
        "identity_expired",
        lambda worker: message(token=worker.issuer.token(now=1_700_000_000)),
    ),
    "another audience": ("identity_invalid", lambda worker: message(token=worker.token(aud="other"))),
}


def twice(name: str, value: str) -> CheckRequest:
    request = message()
    add_header(request, name, value)
    add_header(request, name, value)
    return request


STATUS = {"body_too_large": 413} | dict.fromkeys(
    ("identity_missing", "identity_invalid", "identity_expired"), 401
)


@pytest.mark.parametrize("what", MALFORMED)
async def test_it_is_a_recorded_denial_with_its_own_reason(aegis: CheckWorker, what: str) -> None:
    reason, malform = MALFORMED[what]
    answer, record = await aegis.recorded(malform(aegis))
    assert not answer.allowed
    assert answer.http_status == STATUS.get(reason, 400)
    assert (answer.body["reason_code"], answer.body["decision_id"]) == (reason, record["decision_id"])
    assert (record["decision"], record["reason_code"], record["policy_version"]) == ("deny", reason, "none")


async def test_the_request_that_all_of_them_were_made_from_is_allowed(aegis: CheckWorker) -> None:
    for raw in (True, False):
        answer, record = await aegis.recorded(message(token=aegis.token(), raw=raw))
        assert (answer.allowed, record["decision"], record["agent_id"]) == (True, "allow", "agent-1")


@pytest.mark.parametrize("headers", [JSON, {"content-type": "Text/Plain"}, {}])
async def test_policy_sees_json_whatever_its_type_says(aegis: CheckWorker, headers: dict[str, str]) -> None:
    for body, allowed in ((b'{"amount":1}', True), (b'{"forbidden":true}', False)):
        answer, record = await aegis.recorded(message(token=aegis.token(), body=body, headers=headers))
        assert (answer.allowed, record["policy_version"]) == (allowed, "v1")


async def test_nothing_of_a_token_is_recorded_or_answered(aegis: CheckWorker) -> None:
    for token in (aegis.token(), Issuer().token(), "secret.secret.secret"):
        answer, record = await aegis.recorded(message(token=token))
        for part in token.split("."):
            assert part not in repr(answer)
            assert part not in repr(record)


async def test_a_denial_by_default_does_not_say_which_rule(aegis: CheckWorker) -> None:
    answer = await aegis.check(message(token=aegis.token(), path="/a/%2fb"))
    assert {"rule", "rationale"}.isdisjoint(answer.body)


async def test_an_unknown_any_is_no_reason_to_fail(aegis: CheckWorker) -> None:
    request = message(token=aegis.token())
    some = request.attributes.metadata_context.typed_filter_metadata["envoy.filters.http.unknown"]
    some.type_url, some.value = "type.googleapis.com/nobody.knows.This", b"\xff\x00\x01"
    answer, record = await aegis.recorded(request)
    assert (answer.allowed, record["reason_code"]) == (True, "permitted")


async def test_fields_that_nobody_knows_are_skipped(aegis: CheckWorker) -> None:
    data = message(token=aegis.token()).SerializeToString()
    assert (await aegis.check(data + b"\xc2\x3e\x03abc")).allowed


async def test_metadata_that_json_has_no_word_for(aegis: CheckWorker) -> None:
    request = message(token=aegis.token())
    fields = request.attributes.metadata_context.filter_metadata["odd"].fields
    for name, number in {"nan": float("nan"), "inf": float("inf"), "large": 1e300}.items():
        fields[name].number_value = number
    fields["nothing"].SetInParent()
    nested = fields["deep"]
    for _ in range(40):
        nested = nested.list_value.values.add()
    nested.bool_value = True
    answer, record = await aegis.recorded(request)
    assert (answer.allowed, record["reason_code"]) == (True, "permitted")
