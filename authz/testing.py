"""What tests of this project, and of projects that embed it, share. No product code imports it."""

from __future__ import annotations

from typing import Any

from authz.values import MISSING, Action, Request


class PlainAttributes:
    """`values.Attributes` over a plain dict."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def at(self, path: tuple[str, ...]) -> Any:
        value: Any = self._document
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return MISSING
            value = value[part]
        return value


def a_request(**members: Any) -> Request:
    """A well-formed GET of https://api.example/v1, with any member replaced."""
    plain: dict[str, Any] = {
        "request_id": "r-1",
        "method": "GET",
        "scheme": "https",
        "host": "api.example",
        "port": 443,
        "path": "/v1",
        "query": "",
        "headers": {},
        "body": b"",
        "truncated_body": False,
        "sni": "",
        "principal": "",
        "source_address": "",
        "context": {},
        "action": Action(kind="http", tool="", method="GET", resource="/v1"),
        "attributes": PlainAttributes({}),
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_span_id": "",
        "sampled": False,
    }
    return Request(**(plain | members))
