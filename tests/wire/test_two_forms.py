"""Envoy may send headers and body as text or as bytes: whichever it is, it is the same request."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.config_listen import Limits
from authz.values import Malformed, Request
from authz.wire.extauthz import read
from tests.worker import message

LIMITS = Limits(header_count=12, header_bytes=300, body_bytes=40)
COMPARED = [name for name in Request.__struct_fields__ if name != "attributes"]
NAMES = st.one_of(
    st.sampled_from(
        "content-type content-length content-encoding transfer-encoding host upgrade x-request-id "
        "traceparent x-aegis-agent-token x_aegis_agent_token x-envoy-auth-partial-body".split()
    ),
    st.from_regex(r"[a-z0-9_.:-]{1,12}", fullmatch=True),
    st.text(max_size=4),
)
VALUES = st.one_of(
    st.sampled_from(["application/json", "text/plain", "5", "2", "true", "api.example", "chunked", "gzip"]),
    st.text(max_size=20),
)
BODIES = st.one_of(st.sampled_from(["", "{}", '{"a":1}', '{"a":1,"a":2}', "a=1"]), st.text(max_size=45))


@settings(max_examples=300, deadline=None)
@given(headers=st.dictionaries(NAMES, VALUES, max_size=8), body=BODIES, pseudo=st.booleans())
def test_the_form_makes_no_difference(headers: dict[str, str], body: str, pseudo: bool) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    raw, plain = (
        read(
            message(
                raw=form, pseudo=pseudo, method="POST", headers=lower, body=body.encode()
            ).SerializeToString(),
            LIMITS,
            "",
            lambda: "f" * 32,
        )
        for form in (True, False)
    )
    if isinstance(raw, Malformed) or isinstance(plain, Malformed):
        assert raw == plain
        return
    assert members(raw) == members(plain)
    for name in ("headers", "body", "path", "host", "method", "scheme"):
        path = ("request", "http", name)
        assert raw.attributes.at(path) == plain.attributes.at(path)


def members(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in COMPARED}
