"""Whatever reaches Check: an answer, a record that says the same, and never a fault of ours."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz._pb.aegis_ext_authz_pb2 import CheckRequest
from authz.protocols.http import path as normal_path
from tests.tokens import Issuer
from tests.worker import CheckWorker, add_header, message, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
STRANGER = Issuer().token()
BOUNDED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aegis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CheckWorker]:
    async with serving(tmp_path_factory.mktemp("worker")) as made:
        yield made


TEXT = st.text(max_size=30)
SOME_PATHS = [
    "/",
    "/a?b=c",
    "/a%20b?q=%C3%A9",
    "/a;v=1",
    "*",
    "",
    "/%2e%2e/",
    "/a%2fb",
    "//a",
    "/?a;b",
    "/?%zz",
]
PATH_PIECES = ["/", "a", "..", "%", "%2f", "%C3", "?", "&", "=", ";", "é", "\x00"]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "method": st.one_of(st.sampled_from(["POST", "CONNECT", "OPTIONS", "get", ""]), TEXT),
    "path": st.one_of(
        st.sampled_from(SOME_PATHS), st.lists(st.sampled_from(PATH_PIECES), max_size=9).map("".join), TEXT
    ),
    "host": st.one_of(
        st.sampled_from(["API.example.", "api.example:443", "127.1", "[::1]", "a@b", ""]), TEXT
    ),
    "scheme": st.one_of(st.sampled_from(["http", ""]), TEXT),
    "query": TEXT,
    "fragment": TEXT,
    "id": st.one_of(TEXT, st.just("r" * 5000)),
    "protocol": TEXT,
    "size": st.integers(-(2**63), 2**63 - 1),
}
NAMES = st.one_of(
    st.sampled_from(
        "accept content-type content-length x-request-id traceparent cookie upgrade host".split()
    ),
    st.sampled_from(
        "x_aegis_agent_token :path x-aegis-x x-envoy-auth-partial-body proxy-authorization".split()
    ),
    st.sampled_from(["authorization", "content-encoding", "transfer-encoding", "X-A", "a b", "a_b", ""]),
    TEXT,
)
VALUES = st.one_of(st.sampled_from(["1", "application/json", "true", "websocket", "-1", "gzip"]), TEXT)
JSON_BODIES = st.recursive(
    st.sampled_from(
        [b"1", b'"\\u003a"', b"1e999", b"null", b'{"a":1,"a":2}', b'{"forbidden":{}}', b"9" * 17]
    ),
    lambda inner: st.lists(inner).map(lambda items: b"[" + b",".join(items) + b"]"),
    max_leaves=6,
)
FORM_BODIES = st.lists(st.sampled_from([b"a=1", b"&", b"%41", b"%zz", b"forbidden=1", b";", b"\xff"])).map(
    b"".join
)
CONTENTS = st.one_of(
    st.tuples(st.just("application/json"), JSON_BODIES),
    st.tuples(st.just("application/x-www-form-urlencoded"), FORM_BODIES),
    st.tuples(VALUES, st.binary(max_size=60)),
)
METADATA = st.dictionaries(
    TEXT, st.one_of(st.floats(), st.booleans(), TEXT, st.none(), st.lists(st.floats())), max_size=3
)


@st.composite
def messages(draw: Any) -> CheckRequest:
    """A good CheckRequest with up to two odd fields, and anything where anything may be."""
    raw = draw(st.booleans())
    odd = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=2))
    request = message(pseudo=False, **{name: draw(FIELDS[name]) for name in sorted(odd)})
    attributes = request.attributes
    http = attributes.request.http
    headers = draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))
    if draw(st.booleans()):
        kind, http.raw_body = draw(CONTENTS)
        headers.append(("content-type", kind))
    for name, value in headers:
        add_header(request, name, value, raw=raw)
    attributes.tls_session.sni = draw(st.sampled_from(["", "", "", "api.example", "other", "é"]))
    attributes.source.principal = draw(st.one_of(st.just("spiffe://a/b"), TEXT))
    attributes.context_extensions.update(draw(st.dictionaries(TEXT, TEXT, max_size=2)))
    attributes.metadata_context.filter_metadata[draw(TEXT)].update(draw(METADATA))
    some = attributes.metadata_context.typed_filter_metadata[draw(TEXT)]
    some.type_url, some.value = draw(TEXT), draw(st.binary(max_size=20))
    attributes.request.time.seconds = draw(st.integers(-(2**63), 2**63 - 1))
    return request


async def judged(aegis: CheckWorker, data: CheckRequest | bytes) -> None:
    answer, record = await aegis.recorded(data)
    assert record["reason_code"] not in ("internal_error", "evidence_unavailable")
    assert (record["decision"] == "allow") is answer.allowed
    if answer.allowed:
        assert (record["agent_id"], record["identity_assurance"]) == ("agent-1", "jwt")
        assert (record["policy_version"], record["rule"]) == ("v1", "permissive")
        assert "x-aegis-agent-token" in answer.removed
    else:
        assert 400 <= answer.http_status < 600
        assert answer.body["reason_code"] == record["reason_code"]


@BOUNDED
@given(request=messages(), token=st.sampled_from(["mine", "mine", "mine", "mine", "stranger", "none"]))
async def test_any_fields_are_answered_and_recorded(
    aegis: CheckWorker, request: CheckRequest, token: str
) -> None:
    presented = {"mine": aegis.token(), "stranger": STRANGER}.get(token)
    http = request.attributes.request.http
    if presented and http.headers:
        http.headers["x-aegis-agent-token"] = presented
    elif presented:
        add_header(request, "x-aegis-agent-token", presented)
    await judged(aegis, request)


@BOUNDED
@given(
    place=st.integers(0, 10**6),
    cut=st.integers(0, 6),
    patch=st.one_of(
        st.binary(max_size=6), st.sampled_from([b"\xff\xff\xff\xff\x0f", b"\x0a\xff\x7f", b"\x22\x00"])
    ),
    raw=st.booleans(),
)
async def test_any_bytes_are_answered_and_recorded(
    aegis: CheckWorker, place: int, cut: int, patch: bytes, raw: bool
) -> None:
    request = message(
        token=aegis.token(),
        raw=raw,
        method="POST",
        body=b'{"a":1}',
        headers={"content-type": "application/json"},
    )
    data = request.SerializeToString(deterministic=True)
    place %= len(data) + 1
    await judged(aegis, data[:place] + patch + data[place + cut :])


@BOUNDED
@given(data=st.binary(max_size=200))
async def test_noise_is_answered_and_recorded(aegis: CheckWorker, data: bytes) -> None:
    await judged(aegis, data)


PIECES = st.sampled_from("/ / a .. . ; %2f %5c %2e %25 %252f %3b %C3%A9 %C3 %00 \\ # // admin ~ %7e".split())


@BOUNDED
@given(pieces=st.lists(PIECES, max_size=7))
async def test_an_allow_is_for_a_path_with_one_reading(aegis: CheckWorker, pieces: list[str]) -> None:
    path = "/" + "".join(pieces)
    request = message(token=aegis.token(), path=path)
    answer, record = await aegis.recorded(request)
    assert answer.allowed or record["reason_code"] == "malformed_path"
    if answer.allowed:
        assert record["endpoint"] == f"https://api.example{normal_path(path, 'GET')}"
        assert "/../" not in record["endpoint"] + "/"


async def test_what_was_recorded_is_what_was_answered(aegis: CheckWorker) -> None:
    aegis.audit()
    assert len(aegis.records()) == len(aegis.answers)
