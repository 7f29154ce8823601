"""What a caller says about itself: each claim in its one form, from headers and from `_meta`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.protocols.claims import HEADERS, META_KEYS, read
from authz.values import CLAIMS, NO_CLAIMS, Claims

GOOD = {
    "action_id": ["a", "action-7/retry", "01a20f04-35c1-7a92-b0a4-6f1f5b2a8c11", "a" * 128],
    "step_id": ["0", "plan:3", "run.7~2"],
    "parent_decision_id": ["01a20f04-35c1-7a92-b0a4-6f1f5b2a8c11"],
    "correlation_id": ["ext_9", "https://x.test/7"],
    "model": ["claude-x", "org/model@2026-01", "m" * 128],
    "model_version": ["2026-01-31", "v1+build.7"],
    "decoding": ["temperature=0", "temperature=0.2,top_p=0.9,seed=7", "mode=greedy"],
    "prompt_template_version": ["triage@12"],
    "prompt_hash": ["sha256:" + "0a" * 32],
    "corpus_version": ["guidelines@2026-01"],
    "retrieval_filter": ["ward = 7 AND year > 2020", "x", "sha256:" + "0a" * 32],
    "retrieval_time": ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456Z"],
    "branch": ["escalate"],
    "tool_version": ["ehr/3.1"],
}
BAD = {
    "action_id": ["", " ", "-a", "a b", "a" * 129, "é", "a\n", "a,b"],
    "step_id": ["", "/", "a" * 129],
    "parent_decision_id": ["01A20F04-35C1-7A92-B0A4-6F1F5B2A8C11", "7", "01a20f0435c17a92b0a46f1f5b2a8c11"],
    "correlation_id": ["", "a;b"],
    "model": ["", "a model", "m" * 129],
    "model_version": ["=1"],
    "decoding": ["", "temperature", "temperature=", "a=1,a=2", "a=1, b=2", "A=1", "a=1,", "a=" + "1" * 33],
    "prompt_template_version": ["", "<triage>"],
    "prompt_hash": ["0a" * 32, "sha256:" + "0A" * 32, "sha256:" + "0a" * 31, "md5:" + "0a" * 16],
    "corpus_version": [""],
    "retrieval_filter": ["", " x", "x ", "é", "a\tb", "x" * 257],
    "retrieval_time": [
        "2026-02-30T12:00:00Z",
        "2026-01-31",
        "2026-01-31T12:00:00+00:00",
        "2026-01-31T25:00:00Z",
    ],
    "branch": ["", "a b"],
    "tool_version": ["v 1"],
}


def header(name: str) -> str:
    return f"x-aegis-{name.replace('_', '-')}"


def test_every_claim_has_a_header_a_key_and_examples() -> None:
    assert list(HEADERS.values()) == list(META_KEYS.values()) == list(CLAIMS)
    assert set(GOOD) == set(BAD) == set(CLAIMS)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_a_claim_in_its_form_is_taken_as_it_is(name: str, text: str) -> None:
    expected = Claims({name: text})
    assert read({header(name): text, "accept": "*/*"}) == expected
    assert read({}, {f"aegis/{name.replace('_', '-')}": text, "progressToken": 1}) == expected


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_claim_in_another_form_is_named_and_its_text_dropped(name: str, text: str) -> None:
    assert read({header(name): text, "x-aegis-model": "m"} if name != "model" else {header(name): text}) == (
        Claims({"model": "m"} if name != "model" else {}, (name,))
    )


@pytest.mark.parametrize("value", [None, 7, True, 0.5, [], ["m"], {}, {"m": "m"}, float("nan")])
def test_a_value_of_another_type_is_malformed(value: Any) -> None:
    assert read({}, {"aegis/model": value}) == Claims({}, ("model",))


@pytest.mark.parametrize("name", ["model", "retrieval_filter", "correlation_id"])
@pytest.mark.parametrize(
    "secret", ["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "Bearer abc", "basic dXNlcjpwdw=="]
)
def test_a_credential_in_the_wrong_header_is_not_kept(name: str, secret: str) -> None:
    assert read({header(name): secret}) == Claims({}, (name,))


def test_two_sources_must_say_the_same() -> None:
    headers = {"x-aegis-model": "a", "x-aegis-step-id": "1"}
    assert read(headers, {"aegis/model": "a"}) == Claims({"model": "a", "step_id": "1"})
    assert read(headers, {"aegis/model": "b"}) == Claims({"step_id": "1"}, ("model",))
    assert read({"x-aegis-model": "1"}, {"aegis/model": 1}) == Claims({}, ("model",))


def test_names_are_in_one_order_whatever_the_order_they_came_in() -> None:
    one = read({"x-aegis-step-id": "1", "x-aegis-model": "m", "x-aegis-branch": "b"})
    two = read({"x-aegis-branch": "b", "x-aegis-model": "m", "x-aegis-step-id": "1"})
    assert one.names == two.names == ("branch", "model", "step_id")


@pytest.mark.parametrize(
    "headers", [{}, {"accept": "*/*"}, {"x-aegis-agent-token": "t"}, {"x-aegis-approved": "yes"}]
)
def test_without_claims_nothing_is_made(headers: dict[str, str]) -> None:
    assert read(headers) is NO_CLAIMS
    assert read(headers, {}) is NO_CLAIMS
    assert read(headers, {"progressToken": 1, "aegis/unknown": "x"}) is NO_CLAIMS


@given(
    st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text(max_size=300)),
    st.dictionaries(st.sampled_from(sorted(META_KEYS)), st.text() | st.integers() | st.lists(st.text())),
)
def test_any_text_is_read_and_what_is_kept_fits_a_record(
    headers: dict[str, str], meta: dict[str, Any]
) -> None:
    found = read(headers, meta)
    said = {HEADERS[name] for name in headers} | {META_KEYS[name] for name in meta}
    assert set(found.values) | set(found.malformed) == said
    assert not set(found.values) & set(found.malformed)
    for text in found.values.values():
        assert len(text) <= 256
        assert text.isascii()
        assert text.isprintable()
