"""Has checkpoints time-stamped by an authority (RFC 3161 section 3.4, over HTTP).

    POST TimeStampReq (SHA-256 of the note, nonce, certificate wanted)  ->  TimeStampResp, kept as it came

In: Candidates. Out: responses that hold: for this note, this nonce, signed by who is pinned. Runs on the
runner's threads. The authority learns a hash and that is all.
"""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from authz import http_client
from authz.followers.anchors.anchor import Candidate, Receipt, Refused, Unavailable
from authz.http_client import Unanswered
from authz.ledger import timestamps

HEADERS: Final = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class Rfc3161Anchor:
    """`roots`: who vouches for the authority at `url`."""

    kind = "rfc3161"

    def __init__(
        self,
        url: str,
        roots: tuple[x509.Certificate, ...],
        *,
        every_s: float,
        timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.every_s = every_s
        self._url, self._roots = urlsplit(url), roots
        self._timeout_s, self._tls = timeout_s, tls

    def put(self, candidate: Candidate) -> Receipt:
        request = TimestampRequestBuilder(candidate.note, HashAlgorithm.SHA256).build()
        response = self._ask(request.as_bytes())
        try:
            latest = timestamps.check(response, candidate.note, self._roots, request.nonce)
        except ValueError as error:
            raise Refused(f"{self._url.geturl()}: {error}") from None
        name = self._url.hostname or ""
        return Receipt(name, suffix=".tsr", artefact=response, dated=latest.timestamp())

    def larger(self, log: str, size: int) -> bytes | None:
        return None  # it keeps nothing

    def logs(self, prefix: str) -> list[str]:
        return []

    def _ask(self, request: bytes) -> bytes:
        try:
            answer = http_client.request(
                self._url,
                most=timestamps.MAX_RESPONSE,
                timeout_s=self._timeout_s,
                tls=self._tls if self._url.scheme == "https" else None,
                headers=HEADERS,
                post=request,
            )
        except Unanswered as error:
            raise Unavailable(str(error)) from None
        if answer.status != 200:
            raise Unavailable(f"{self._url.geturl()}: HTTP status {answer.status}")
        return answer.body
