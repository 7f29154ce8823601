"""Asks OPA over its Unix socket: HTTP/1.1, keep-alive (`connections.py`).

In: a question (`facts.py`). Out: an Answer, or Denied: `policy_error` for what OPA could not evaluate,
`engine_unavailable` or `engine_timeout` for an OPA that cannot be asked. Called by `stage.py`. Everything
here ends within its deadline, and no text that OPA built from input values leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from authz.errors import Denied
from authz.policy.connections import Connections
from authz.policy.engine import Answer
from authz.values import MISSING, Reason

LOOKING: Final = 2  # connections: one for the version, one for why there is no new one
_GET: Final = b"GET %b HTTP/1.1\r\nHost: opa\r\n\r\n"
_ASK: Final = (
    b"POST /v1/data%b?provenance=true%b HTTP/1.1\r\n"
    b"Host: opa\r\nContent-Type: application/json\r\nContent-Length: "
)
_STRICT: Final = b"&strict-builtin-errors=true"
_BEFORE: Final = b'\r\n\r\n{"input":'
_AROUND: Final = len(b'{"input":}')


class OpaEngine:
    """The OPA at `socket`, asked for `entry_point` (`aegis/decision`) over at most so many `connections`.
    With `strict` a built-in that fails is an error; without, its expression is undefined.
    """

    name = "opa"

    def __init__(self, socket: Path, entry_point: str, *, connections: int, strict: bool = True) -> None:
        self.entry_point = entry_point
        path = "".join(f"/{part}" for part in entry_point.split("/") if part)
        self._ask = _ASK % (quote(path).encode(), _STRICT if strict else b"")
        self._asking = Connections(socket, connections)
        # Of its own: whoever looks which version is active must not wait behind the questions to the old one.
        self._looking = Connections(socket, LOOKING)

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def decide(self, question: bytes, timeout_s: float) -> Answer:
        """Ask the entry point about `question`, the JSON of the input document."""
        length = b"%d" % (len(question) + _AROUND)
        data = b"".join((self._ask, length, _BEFORE, question, b"}"))
        status, body = await self._asking.exchange(data, timeout_s)
        if status != 200:
            raise _refused(status, body)
        return _answer(body)

    async def get(self, path: str, timeout_s: float) -> Any:
        """The JSON that OPA's API gives at `path`: for management, not for decisions."""
        status, body = await self._looking.exchange(_GET % path.encode(), timeout_s)
        if status != 200:
            raise _refused(status, body)
        return _json(body)

    async def close(self) -> None:
        """Drop every connection."""
        self._asking.close()
        self._looking.close()


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Denied(Reason.POLICY_ERROR, "OPA's answer is not JSON") from None


def _answer(body: bytes) -> Answer:
    answer = _json(body)
    if not isinstance(answer, dict):
        raise Denied(Reason.POLICY_ERROR, "OPA's answer is not an object")
    provenance = answer.get("provenance")
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    revisions = {
        name: str(bundle.get("revision", "")) if isinstance(bundle, dict) else ""
        for name, bundle in (bundles.items() if isinstance(bundles, dict) else ())
    }
    return Answer(answer.get("result", MISSING), revisions)


def _refused(status: int, body: bytes) -> Denied:
    """HTTP 500 is an evaluation that failed, 400 an input beyond OPA's own bounds; others are an OPA that is
    not there for us.
    """
    if status == 400:
        return Denied(Reason.MALFORMED_REQUEST, "OPA does not take the input")
    if status != 500:
        return Denied(Reason.ENGINE_UNAVAILABLE, f"OPA: HTTP {status}")
    return Denied(Reason.POLICY_ERROR, f"OPA: HTTP 500{_where(body)}")


def _where(body: bytes) -> str:
    """Code, file and line of the first error; its message may quote input and stays out."""
    try:
        first = orjson.loads(body)["errors"][0]
        place = first.get("location", {})
        text = f" {first['code']} at {place.get('file', '?')}:{int(place.get('row', 0))}"
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError, ValueError):
        return ""
    return text[:160]
