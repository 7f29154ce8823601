"""What OPA's status says is read into a code of ours, and nothing that it may say breaks the reading."""

from __future__ import annotations

from typing import Any

import pytest

from authz.policy.activation import MAX_DETAIL, ActivationWatch, Failure, read_failure
from authz.policy.engine import STATUS
from authz.policy.engine_opa import OpaEngine
from tests.policy.scripted import http, peer


def status(**bundle: Any) -> Any:
    return {"result": {"bundles": {"aegis": {"name": "aegis", "active_revision": "v1"} | bundle}}}


def failed(message: str, **more: Any) -> Any:
    return status(code="bundle_error", message=message, **more)


def test_a_bundle_that_is_well_has_no_failure() -> None:
    assert read_failure(status()) is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("bundle missing .signatures.json file", "unsigned"),
        ("failed to verify JWT signature: invalid ECDSA signature", "bad_signature"),
        ("aegis/decision.rego: digest mismatch (want: 1, got: 2)", "bad_signature"),
        ("verification key corresponding to ID k not found", "bad_signature"),
        ("bundle read failed: failed to copy file /.signatures.json: unexpected EOF", "unreadable"),
        ("bundle read failed: bundle file /x size (2) exceeds configured size_limit_bytes (1)", "too_large"),
        ("manifest has overlapped roots: 'a' and 'a/b'", "bad_roots"),
        ('request failed: Get "http://127.0.0.1:1/": connection refused', "not_downloaded"),
        ("something that a later OPA says", "not_activated"),
    ],
)
def test_a_message_is_named(message: str, code: str) -> None:
    assert read_failure(failed(message)) == Failure(code, message)


def test_the_compilers_first_error_is_named_with_its_place() -> None:
    place = {"file": "/aegis/decision.rego", "row": 4, "col": 1}
    errors = [
        {"code": "rego_recursion_error", "message": "rule data.aegis.a is recursive", "location": place}
    ]
    assert read_failure(failed("error(s) occurred", errors=errors)) == Failure(
        "rego_recursion_error", "/aegis/decision.rego:4: rule data.aegis.a is recursive"
    )


def test_an_http_error_is_a_download_that_failed() -> None:
    assert read_failure(failed("server replied with Not Found", http_code="404")) == Failure(
        "not_downloaded", "server replied with Not Found"
    )


def test_what_is_kept_of_a_message_is_printable_and_bounded() -> None:
    failure = read_failure(failed("a\x1b[2J\n" + "x" * 10_000))
    assert failure is not None
    assert failure.detail.startswith("a [2J x")
    assert len(failure.detail) == MAX_DETAIL
    assert failure.detail.isprintable()


def test_a_failure_without_words_says_so() -> None:
    assert read_failure(failed("")) == Failure("not_activated", "OPA gives no reason")


@pytest.mark.parametrize(
    "form", [None, [], {}, {"result": None}, {"result": {"bundles": [1]}}, {"result": 1}]
)
def test_another_form_says_nothing(form: Any) -> None:
    assert read_failure(form) is None


async def test_a_failure_ages_from_when_it_was_first_seen_until_it_is_over() -> None:
    said: list[Any] = [
        status(),
        failed("digest mismatch"),
        failed("bundle missing .signatures.json"),
        status(),
    ]

    async def answer(target: str, _: bytes) -> bytes:
        assert target == STATUS
        return http(said[0])

    now = [100.0]
    async with peer(answer) as served:
        watch = ActivationWatch(OpaEngine(served.socket, "none", connections=1), 1.0, lambda: now[0])
        seen = []
        while said:
            await watch.look()
            seen.append((watch.failure.code if watch.failure else "", watch.failed_s))
            now[0] += 10
            said.pop(0)
        await watch.stop()
    assert seen == [("", 0.0), ("bad_signature", 0.0), ("unsigned", 10.0), ("", 0.0)]


async def test_an_engine_without_the_plugin_tells_nothing() -> None:
    async def answer(target: str, _: bytes) -> bytes:
        return http({"code": "internal_error"}, status=500)

    async with peer(answer) as served:
        watch = ActivationWatch(OpaEngine(served.socket, "none", connections=1), 1.0)
        await watch.look()
        assert watch.failure is None
        await watch.stop()
