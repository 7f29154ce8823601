"""Policies that people write, on requests that they were written for: pruned or whole, one verdict.

Those for opa-envoy-plugin are of the form of the plugin's and OPA's own examples; the others are the
project's library. By hand, for any policies of the plugin's users:

    AEGIS_EXAMPLE_POLICIES=DIR AEGIS_PROPERTY_EXAMPLES=100 pytest tests/policy/test_examples_pruning.py
"""

from __future__ import annotations

import os
import warnings
from base64 import urlsafe_b64encode
from collections import Counter
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.warnings import InsecureKeyLengthWarning

from authz.config_compat import Plugin
from authz.config_listen import Limits
from authz.policy.facts import CREDENTIALS
from authz.testing import a_request
from authz.values import MISSING, UNKNOWN, Action, Assurance, Claims, Request, Subject
from authz.wire.plugin.reading import PluginReader
from tests.compat.cases import message
from tests.policy.generated import Source
from tests.policy.pruning import Case, compare
from tests.policy.test_library import REGO

HERE: Final = Path(__file__).parent
EXAMPLES: Final = int(os.environ.get("AEGIS_PROPERTY_EXAMPLES", "2"))
CASES: Final = 60  # of one OPA
GIVEN: Final = os.environ.get("AEGIS_EXAMPLE_POLICIES", "")
POLICIES: Final = (
    *sorted((HERE / "envoy").glob("*.rego")),
    HERE.parents[1] / "docs/plugin/rego/typical.rego",
    *(sorted(Path(GIVEN).rglob("*.rego")) if GIVEN else ()),
)
bounded = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def token(role: str, secret: str, expires: int) -> str:
    sub = urlsafe_b64encode(b"alice").decode().rstrip("=")
    claims = {"role": role, "sub": sub, "nbf": 1514851139, "exp": expires}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # the plugin's examples have such a key
        return jwt.encode(claims, secret, "HS256")


AUTHORIZATIONS: Final = (
    "",
    "Bearer x",
    "Basic YWxpY2U6cGFzc3dvcmQ=",
    "Basic Ym9iOnBhc3N3b3Jk",
    *(f"Bearer {token(role, 'secret', 4102444800)}" for role in ("guest", "admin", "other")),
    f"Bearer {token('admin', 'another', 4102444800)}",
    f"Bearer {token('admin', 'secret', 1641081539)}",
)
PATHS: Final = (
    "/",
    "/people",
    "/people/",
    "/people/1",
    "/people/secret",
    "/people?lang=en",
    "/people?internal=true",
    "/v1?lang=en&id=1&id=2",
    "/accounts/7/limits",
    "/productpage",
    "/health/now",
    "/api/v1/products",
    "/test.KitchenSink/Ping",
    "/test.KitchenSink/Exchange",
)
BODIES: Final = (
    "",
    "{}",
    '{"firstname": "Alice"}',
    '{"firstname": "alice", "limits": [5, 7]}',
    '{"firstname": null, "limits": [50, 7]}',
    '{"firstname": ["x"]}',
    "[1.0, 1, 1e0]",
    '"text"',
)
_reader = PluginReader(Plugin(), HERE)
_headers = st.fixed_dictionaries(
    {},
    optional={
        "authorization": st.sampled_from(AUTHORIZATIONS),
        "content-type": st.sampled_from(("application/json", "text/plain")),
        "x-forbidden-by": st.just("all"),
        "x-request-id": st.sampled_from(("1", "2")),
        "x-envoy-auth-partial-body": st.just("true"),
    },
)
_http = st.builds(
    lambda headers, method, path, body: {
        "headers": headers,
        "method": method,
        "path": path,
        "body": body,
        "host": "h",
    },
    _headers,
    st.sampled_from(("GET", "POST", "DELETE")),
    st.sampled_from(PATHS),
    st.sampled_from(BODIES),
)
_attributes = st.fixed_dictionaries(
    {"request": st.fixed_dictionaries({"http": _http})},
    optional={
        "source": st.sampled_from(({"principal": "spiffe://a/b"}, {"address": {}})),
        "contextExtensions": st.sampled_from(({"account": "7"}, {"account": "8"})),
    },
)


def as_plugin(attributes: dict[str, Any]) -> Request | None:
    read = _reader.read(message(attributes), Limits(), "", lambda: "f" * 32)
    return read if isinstance(read, Request) and read.plugin is not None else None


def known(path: str, authorization: str) -> Case:
    """What one of the policies lets pass."""
    http = {"method": "GET", "path": path, "host": "h", "headers": {"authorization": authorization}}
    read = as_plugin({"source": {"principal": "spiffe://a/b"}, "request": {"http": http}})
    assert read is not None
    return read, UNKNOWN


plugin_requests = _attributes.map(as_plugin).filter(lambda request: request is not None)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_a_policy_for_the_plugin_is_asked_no_less_than_it_reads(policy: Path) -> None:
    seen: Counter[str] = Counter()
    text = policy.read_text()
    package = next(line.split()[1] for line in text.splitlines() if line.startswith("package "))
    source = Source({"p.rego": text}, (f"/{package.replace('.', '/')}/allow",))
    passing = [known(path, given) for path in PATHS for given in AUTHORIZATIONS]

    @bounded
    @given(st.lists(st.tuples(plugin_requests, st.just(UNKNOWN)), min_size=CASES, max_size=CASES))
    def run(asked: list[Case]) -> None:
        seen.update(compare(source, [*passing, *asked], compat=True))

    run()
    assert {"allow", "deny", "pruned"} <= seen.keys()


# The library.

HOSTS: Final = {
    "internal-ehr.myorg.example": ("/patients/7/records", "/patients/export", "/patients/7", "/other"),
    "payments.myorg.example": ("/charges", "/charge"),
    "files.partner.example": ("/invoices",),
    "nowhere.example": ("/",),
}
ARGUMENTS: Final = (
    MISSING,
    {},
    {"amount_cents": 4200, "currency": "EUR", "reference": "2026-0017"},
    {"amount_cents": 4200.0, "currency": "EUR"},
    {"amount_cents": 60000, "currency": "USD", "extra": None},
    {"number": "R-1", "lines": [{"text": "visit", "cents": 1}]},
    {"number": "r 1", "lines": {"text": []}},
    ["list"],
    "text",
)


def to_library(
    host: str, path: str, method: str, arguments: Any, query: str, headers: dict[str, str], claims: Any
) -> Request:
    body = b"" if arguments is MISSING else orjson.dumps(arguments)
    if body:
        headers = headers | {"content-type": "application/json"}
    action = Action("http", "", method, path, arguments)
    return a_request(
        method=method,
        host=host,
        path=path,
        query=query,
        headers=headers,
        body=body,
        action=action,
        claims=claims,
    )


library_requests = st.sampled_from(sorted(HOSTS)).flatmap(
    lambda host: st.builds(
        to_library,
        st.just(host),
        st.sampled_from(HOSTS[host]),
        st.sampled_from(("GET", "POST", "DELETE")),
        st.sampled_from(ARGUMENTS),
        st.sampled_from(("", "since=2026-01-31", "since=x", "since=2026-01-31&since=2026-01-31", "other=1")),
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys((*sorted(CREDENTIALS), "x-request-id"), st.sampled_from("ab"))
        ),
        st.builds(
            Claims, st.fixed_dictionaries({}, optional={"model": st.just("m"), "step_id": st.just("s")})
        ),
    )
)
library_subjects = st.builds(
    Subject,
    agent_id=st.sampled_from(("clinical-agent", "billing-agent", "unknown")),
    assurance=st.sampled_from(Assurance),
    chain=st.lists(st.sampled_from(("clinical-agent", "billing-agent", "x")), max_size=2).map(tuple),
    session_id=st.sampled_from(("", "s")),
)


def library_source() -> Source:
    files = {
        str(file.relative_to(REGO)): file for file in REGO.rglob("*") if file.suffix in (".rego", ".yaml")
    }
    texts = {name: file.read_text() for name, file in files.items() if not name.endswith("_test.rego")}
    return Source(texts, ("aegis/decision",))


def test_the_library_is_asked_no_less_than_it_reads() -> None:
    seen: Counter[str] = Counter()
    source = library_source()
    read = to_library(
        "internal-ehr.myorg.example",
        "/patients/7/records",
        "GET",
        MISSING,
        "since=2026-01-31",
        {},
        Claims({"model": "m"}),
    )
    passing = [(read, Subject("clinical-agent", Assurance.JWT, session_id="s"))]

    @bounded
    @given(st.lists(st.tuples(library_requests, library_subjects), min_size=CASES, max_size=CASES))
    def run(asked: list[Case]) -> None:
        seen.update(compare(source, [*passing, *asked]))

    run()
    assert {"allow", "deny", "hit", "miss", "pruned"} <= seen.keys()
    assert "bypass" not in seen
