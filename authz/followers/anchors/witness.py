"""Asks witnesses to cosign checkpoints: the client of c2sp.org/tlog-witness.

    POST <URL>/add-checkpoint      old <size>\\n, consistency proof lines, blank line, checkpoint
    200  cosignature lines         each verified before it counts
    409  <size>\\n                  what the witness knows is not `old`: once more with a proof from there
    403, 404, 422                  it does not take this log, or sees no consistency

In: Candidates, a policy with names, vkeys, URLs and quorum. Out: the note with the cosignatures of a quorum.
Runs on the runner's threads. A 409 that is beyond this disk is believed once the witness shows a checkpoint
that our own log key signed; alone it is only said.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

import structlog

from authz import http_client
from authz.followers.anchors.anchor import Candidate, Contradicted, Receipt, Refused, Unavailable
from authz.http_client import Answer, Unanswered
from authz.ledger import cosignatures, notes
from authz.ledger.cosignatures import Witness
from authz.ledger.quorum import Policy

log = structlog.get_logger(__name__)

MAX_PROOF: Final = 63  # lines; the specification's limit
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_WHY: Final = {
    403: "it does not know the key that signs this log",
    404: "it does not know this log: tell its operator its key, `aegis anchors vkeys`",
    422: "it sees no consistency between this log and what it cosigned before",
}

Prove = Callable[[Candidate, int], list[bytes]]
"""The consistency proof from a size to a candidate's."""


class WitnessAnchor:
    """All witnesses of one policy that have a URL, asked one after another."""

    kind = "witness"

    def __init__(
        self,
        policy: Policy,
        prove: Prove,
        *,
        every_s: float,
        timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.every_s = every_s
        self._policy = policy
        self._clients = {
            name: Client(witness, policy.urls[name], prove, timeout_s, tls)
            for name, witness in policy.witnesses.items()
            if name in policy.urls
        }

    def put(self, candidate: Candidate) -> Receipt:
        """As many as make up the quorum, more if they answer."""
        note, times, faults = candidate.note, dict[str, int](), list[Exception]()
        for name, client in self._clients.items():
            try:
                line, times[name] = client.cosign(candidate)
            except Contradicted:
                raise
            except (Refused, Unavailable) as error:
                log.warning("witness_failed", witness=name, log=candidate.log, error=str(error))
                faults.append(error)
            else:
                note += line
        met = self._policy.met_at(times)
        if met is None:
            raise _least_final(faults)
        names = ", ".join(self._policy.witnesses[name].name for name in times)
        return Receipt(names, suffix=".cosigned", artefact=note, dated=float(met))

    def larger(self, log: str, size: int) -> bytes | None:
        found = [note for client in self._clients.values() if (note := client.newest(log))]
        return max(found, key=_size, default=None)

    def logs(self, prefix: str) -> list[str]:
        return []  # a witness is asked about one log


class Client:
    """One witness. `url` is its submission prefix."""

    def __init__(
        self, witness: Witness, url: str, prove: Prove, timeout_s: float, tls: ssl.SSLContext | None
    ) -> None:
        self._witness, self._url, self._prove = witness, url.rstrip("/"), prove
        self._timeout_s, self._tls = timeout_s, tls
        self._known: dict[str, int] = {}  # by log: the size that it cosigned last, as far as we know

    def cosign(self, candidate: Candidate) -> tuple[bytes, int]:
        """Its signature line under the candidate's note, and when it cosigned (POSIX seconds)."""
        old = self._known.get(candidate.log, 0)
        answer = self._add(candidate, min(old, candidate.size))
        if answer.status == 409:
            old = self._conflict(candidate, answer.body)
            answer = self._add(candidate, old)
        if answer.status != 200:
            raise self._refusal(candidate, answer)
        found = self._line(candidate, answer.body)
        self._known[candidate.log] = candidate.size
        return found

    def newest(self, log: str) -> bytes | None:
        """The checkpoint of `log` that it cosigned last, where it shows that; not judged."""
        origin = hashlib.sha256(log.encode()).hexdigest()
        url = urlsplit(f"{self._url}/{origin}/checkpoint")
        answer = self._ask(url, None, notes.MAX_NOTE)
        return answer.body if answer.status == 200 else None

    def _add(self, candidate: Candidate, old: int) -> Answer:
        proof = self._prove(candidate, old) if old else []
        if len(proof) > MAX_PROOF:
            raise Refused(f"a consistency proof of {len(proof)} lines")
        lines = [f"old {old}", *(b64encode(node).decode() for node in proof), "", ""]
        body = "\n".join(lines).encode() + candidate.note
        return self._ask(urlsplit(f"{self._url}/add-checkpoint"), body, notes.MAX_NOTE)

    def _ask(self, url: SplitResult, post: bytes | None, most: int) -> Answer:
        headers = {"Content-Type": "text/plain; charset=utf-8"} if post is not None else {}
        try:
            return http_client.request(
                url,
                most=most,
                timeout_s=self._timeout_s,
                tls=self._tls if url.scheme == "https" else None,
                headers=headers,
                post=post,
                read=(200, 409),
            )
        except Unanswered as error:
            raise Unavailable(f"witness {self._witness.name}: {error}") from None

    def _conflict(self, candidate: Candidate, body: bytes) -> int:
        """The size from which it wants a proof."""
        found = _SIZE.fullmatch(body)
        if found is None:
            raise Unavailable(f"witness {self._witness.name}: a conflict that names no size")
        size = int(found[1])
        if size > candidate.size:
            more = f"says that it cosigned {size} entries of {candidate.log}, and here are {candidate.size}"
            raise Contradicted(f"witness {self._witness.name}: {more}")
        self._known[candidate.log] = size
        return size

    def _refusal(self, candidate: Candidate, answer: Answer) -> Exception:
        """What to make of an answer that is no cosignature."""
        name, status = self._witness.name, answer.status
        why = _WHY.get(status, "").format(log=candidate.log)
        if status == 422:
            return Contradicted(f"witness {name}: {why} (HTTP status {status})")
        if status in _WHY:
            return Refused(f"witness {name}: {candidate.log}: {why} (HTTP status {status})")
        return Unavailable(f"witness {name}: HTTP status {status}", _retry_after(answer))

    def _line(self, candidate: Candidate, body: bytes) -> tuple[bytes, int]:
        """Of the lines that came back, its own, if it holds for this checkpoint."""
        for row in body.split(b"\n"):
            if not row.startswith(f"\u2014 {self._witness.name} ".encode()):
                continue
            try:
                whole = notes.parse(candidate.checkpoint.signed_text() + b"\n" + row + b"\n")
                time = cosignatures.cosigned(whole, self._witness)
            except ValueError as error:
                raise Unavailable(f"witness {self._witness.name}: {error}") from None
            if time is not None:
                return row + b"\n", time
        raise Unavailable(f"witness {self._witness.name}: no cosignature by its key in the answer")


def _least_final(faults: list[Exception]) -> Exception:
    """If one of them may pass by itself, waiting for it may help."""
    for fault in faults:
        if isinstance(fault, Unavailable):
            return fault
    return faults[0] if faults else Refused("the quorum needs witnesses of whom no URL is known")


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0.0


def _size(note: bytes) -> int:
    """Of a note that anybody may have made."""
    try:
        return notes.parse(note).size
    except ValueError:
        return -1
