"""What the caller says about itself: which action and step this is, with which model, prompt and corpus.

In: headers as `headers.py` read them, and `_meta` of an MCP call where there is one. Out: Claims. Called by
`wire/extauthz.py` for every request. Anybody can say anything here: a claim is recorded as claimed, may be
required by policy and explains a decision afterwards, but nothing may trust it. What has another form than
the table says is named as malformed and its text is dropped, so that nothing arbitrary enters a record.

    name                      header x-aegis-..., _meta key aegis/...      form
    action_id                 action-id                  the same in every retry of one action; an id
    step_id                   step-id                    the step of the agent's run; an id
    parent_decision_id        parent-decision-id         a decision that led to this one; a UUID
    correlation_id            correlation-id             of another system; an id
    model, model_version      model, model-version       a name
    decoding                  decoding                   temperature=0.2,seed=7: each parameter once
    prompt_template_version   prompt-template-version    triage@12; a name
    prompt_hash               prompt-hash                sha256: and 64 hex digits
    corpus_version            corpus-version             guidelines@2026-01; a name
    retrieval_filter          retrieval-filter           visible ASCII; sha256:... where it names people
    retrieval_time            retrieval-time             RFC 3339 in UTC: 2026-01-31T12:00:00Z
    branch                    branch                     the branch taken; a name
    tool_version              tool-version               a name

An id or a name is at most 128 characters, anything else at most 256. The headers never reach the upstream
(`wire/reply.py` removes every `x-aegis-` one); `_meta` does, as the agent's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from authz.values import CLAIMS, NO_CLAIMS, Claims

_HEADER: Final = "x-aegis-"
_META: Final = "aegis/"  # MCP's form of a key that is not its own: a prefix, a slash, a name
MAX_TEXT: Final = 256  # characters of any claim

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~/-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PARAMETER: Final = r"[a-z][a-z0-9_]{0,31}=[A-Za-z0-9.+-]{1,32}"
_DECODING: Final = re.compile(rf"{_PARAMETER}(?:,{_PARAMETER})*")
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_VISIBLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")
# A JWT or a bearer token in the wrong header would stay in the record for ever.
_CREDENTIAL: Final = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.|(?:bearer|basic) ", re.IGNORECASE)

_FORMS: Final[dict[str, re.Pattern[str]]] = {
    "action_id": _ID,
    "step_id": _ID,
    "parent_decision_id": _UUID,
    "correlation_id": _ID,
    "model": _NAME,
    "model_version": _NAME,
    "decoding": _DECODING,
    "prompt_template_version": _NAME,
    "prompt_hash": _SHA256,
    "corpus_version": _NAME,
    "retrieval_filter": _VISIBLE,
    "retrieval_time": _TIME,
    "branch": _NAME,
    "tool_version": _NAME,
}
HEADERS: Final = {_HEADER + name.replace("_", "-"): name for name in CLAIMS}
META_KEYS: Final = {_META + name.replace("_", "-"): name for name in CLAIMS}
_HEADER_NAMES: Final = frozenset(HEADERS)


def read(headers: Mapping[str, str], meta: Mapping[str, Any] | None = None) -> Claims:
    """The claims of one request. `headers` have lower-case names and one value each; `meta` is the `_meta`
    of an MCP call. A claim that both make must be the same in both.
    """
    if not meta and _HEADER_NAMES.isdisjoint(headers):
        return NO_CLAIMS
    said: dict[str, Any] = {HEADERS[header]: headers[header] for header in headers if header in HEADERS}
    malformed: set[str] = set()
    for key, name in META_KEYS.items() if meta else ():
        if key in meta and said.setdefault(name, meta[key]) != meta[key]:  # type: ignore[operator, index]
            malformed.add(name)
    malformed |= {name for name, value in said.items() if not _well_formed(name, value)}
    if not said:
        return NO_CLAIMS
    values = {name: value for name, value in sorted(said.items()) if name not in malformed}
    return Claims(values, tuple(sorted(malformed)))


def _well_formed(name: str, value: Any) -> bool:
    """Whether `value` has the form of the claim `name`, and is nothing that must not be kept."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not _FORMS[name].fullmatch(value):
        return False
    if _CREDENTIAL.search(value):
        return False
    if name == "decoding":
        names = [parameter.partition("=")[0] for parameter in value.split(",")]
        return len(set(names)) == len(names)
    return name != "retrieval_time" or _is_time(value)


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
