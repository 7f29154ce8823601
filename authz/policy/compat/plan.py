"""The question put to a policy that was written for opa-envoy-plugin: what it reads of the plugin's input.

In: an entry point's list of facts, once per revision; then a Request with its PluginInput. Out: JSON bytes,
the question and the cache key at once, as in `facts.py`. Unlike there nothing is withheld and nothing denied:
the policy sees what the plugin showed it. Called by `stage.py` where `policy.compat` is set.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from authz.errors import Denied
from authz.policy.facts import HEADERS, VOLATILE_HEADERS, is_volatile, outermost, pick
from authz.policy.manifest import EntryPoint
from authz.values import Facts, Reason, Request, Subject


class PluginPlan:
    """How to ask one entry point of one revision."""

    def __init__(self, entry: EntryPoint, *, revision: str, deterministic: bool) -> None:
        kept = outermost(entry.facts if entry.prune else ((),))
        self._wanted = _wanted(kept)
        self._revision = revision
        self._cacheable = deterministic and not any(is_volatile(path) for path in kept)
        self._all_headers = HEADERS in kept

    def facts(self, request: Request, subject: Subject, now: datetime) -> Facts:
        """Raises Denied for an input that JSON cannot hold."""
        if request.plugin is None:
            raise Denied(Reason.INTERNAL_ERROR, "read without the plugin's input")
        document = request.plugin.document
        if self._wanted is not None:
            document = pick(document, self._wanted)
        try:
            question = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            raise Denied(Reason.MALFORMED_REQUEST, "a value that policy reads has no JSON form") from None
        cacheable = self._cacheable
        if cacheable and self._all_headers:
            cacheable = VOLATILE_HEADERS.isdisjoint(request.headers)
        return Facts(question, self._revision, cacheable)


def _wanted(paths: list[tuple[str, ...]]) -> dict[str, Any] | None:
    """The paths, of which none contains another, as a tree; None takes all."""
    tree: dict[str, Any] = {}
    for path in paths:
        if not path:
            return None
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = None
    return tree
