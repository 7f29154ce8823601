"""What explains a decision beyond its record, as disclosures that can be erased (EVIDENCE section 5).

    facts            {"input": what policy was asked, redacted, "masked": pointers to what is not shown}
    parameters       what `params_hash` is the hash of: redacted parameters
    client_address   where Envoy saw the request come from
    claims           claims of the agent's token, those that are named in the settings

In: one decision's values, and the settings. Out: disclosures, and their digests in the record's sorted `_sd`.
Called by the pipeline while a record is made, and only where the settings want something. What comes from a
payload is kept only when the policy's obligation `capture: redacted` permits it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from authz.config_evidence import Disclosures
from authz.controls.facts import keepable
from authz.controls.redaction import Redaction
from authz.ledger.disclosures import form
from authz.record import parameters
from authz.values import Malformed, Request, Ruling, Subject


class Explanation:
    """Of one deployment's settings."""

    def __init__(
        self, wanted: Disclosures, redaction: Redaction, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._wanted, self._redaction, self._random = wanted, redaction, random

    def add(
        self,
        members: dict[str, Any],
        request: Request | Malformed,
        subject: Subject,
        ruling: Ruling,
        question: bytes,
    ) -> tuple[str, ...]:
        """The disclosures of this decision; `members` gain their digests. `question`: the facts, b"" where
        policy was not asked.
        """
        found = self._values(request, subject, ruling, question)
        texts = [form.make(name, value, self._random(form.SALT_BYTES)) for name, value in found]
        kept = tuple(text for text in texts if len(text) <= self._wanted.max_bytes)
        if kept:
            members[form.MEMBER] = sorted(map(form.digest, kept))
        return kept

    def _values(
        self, request: Request | Malformed, subject: Subject, ruling: Ruling, question: bytes
    ) -> Iterator[tuple[str, Any]]:
        wanted = self._wanted
        permitted = wanted.snapshots and ruling.verdict.obligations.get("capture") == "redacted"
        if wanted.facts and question and isinstance(request, Request):
            mcp = request.action.kind == "mcp"
            shown, masked = keepable(question, self._redaction, mcp=mcp, payload=permitted)
            yield "facts", {"input": shown, "masked": masked}
        if permitted and isinstance(request, Request) and (request.query or request.body):
            yield "parameters", self._redaction.parameters(parameters(request))[0]
        if wanted.client_address and request.source_address:
            yield "client_address", request.source_address
        claims = {name: subject.claims[name] for name in wanted.claims if name in subject.claims}
        if claims:
            yield "claims", claims
