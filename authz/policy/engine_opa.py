"""Asks OPA over its Unix socket: HTTP/1.1, keep-alive, one question at a time on each connection.

In: a question (`facts.py`). Out: an Answer, or Denied: `policy_error` for what OPA could not evaluate,
`engine_unavailable` or `engine_timeout` for an OPA that cannot be asked. Called by `stage.py`. Everything
here ends within its deadline, and no text that OPA built from input values leaves it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httptools
import orjson

from authz import sockets
from authz.errors import Denied
from authz.policy.engine import MAX_ANSWER, Answer
from authz.values import MISSING, Reason

_GET: Final = b"GET %b HTTP/1.1\r\nHost: opa\r\n\r\n"
_ASK: Final = (
    b"POST /v1/data%b?provenance=true%b HTTP/1.1\r\n"
    b"Host: opa\r\nContent-Type: application/json\r\nContent-Length: "
)
_STRICT: Final = b"&strict-builtin-errors=true"
_BEFORE: Final = b'\r\n\r\n{"input":'
_AROUND: Final = len(b'{"input":}')


class _Lost(Exception):
    """The connection ended before its answer; `silent` if nothing of an answer had come."""

    def __init__(self, silent: bool) -> None:
        super().__init__("connection lost")
        self.silent = silent


class _Connection(asyncio.Protocol):
    """One connection: idle, or with exactly one exchange under way."""

    def __init__(self, gone: Any) -> None:
        self.used = self.closed = self.expired = False
        self._gone = gone
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self._received = False
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def exchange(self, data: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[tuple[int, bytes]]:
        """Send `data`; the future gets (status, body), or _Lost."""
        self._received = False
        self._waiting = waiting = loop.create_future()
        self._transport.write(data)
        return waiting

    def abort(self) -> None:
        """Drop the connection with whatever is under way on it."""
        self.closed = True
        self._transport.abort()

    def expire(self) -> None:
        """The deadline of what is under way has come."""
        self.expired = True
        self.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(_Lost(not self._received))
        self._gone(self)

    def _fail(self, why: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(why)
        self._waiting, self._body = None, []
        self.abort()

    def data_received(self, data: bytes) -> None:
        self._received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        self._body.append(data)
        if self._size > MAX_ANSWER:
            self._fail(Denied(Reason.POLICY_ERROR, f"OPA's answer is over {MAX_ANSWER} bytes"))

    def on_message_complete(self) -> None:
        if self.closed:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._size, self.used = [], 0, True
        waiting, self._waiting = self._waiting, None
        if not self._parser.should_keep_alive() or waiting is None:
            self.abort()  # the server wants to close, or spoke without being asked
        if waiting is not None and not waiting.done():
            waiting.set_result((self._parser.get_status_code(), body))


class OpaEngine:
    """A bounded pool of connections to the OPA at `socket`, asking `entry_point` (`aegis/decision`). With
    `strict` a built-in that fails is an error; without, its expression is undefined.
    """

    name = "opa"

    def __init__(self, socket: Path, entry_point: str, *, connections: int, strict: bool = True) -> None:
        self.entry_point = entry_point
        self._socket = str(socket)
        path = "".join(f"/{part}" for part in entry_point.split("/") if part)
        self._ask = _ASK % (quote(path).encode(), _STRICT if strict else b"")
        self._free = connections
        self._idle: list[_Connection] = []
        self._waiting: deque[asyncio.Future[_Connection | None]] = deque()
        self._open: set[_Connection] = set()

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def decide(self, question: bytes, timeout_s: float) -> Answer:
        """Ask the entry point about `question`, the JSON of the input document."""
        length = b"%d" % (len(question) + _AROUND)
        data = b"".join((self._ask, length, _BEFORE, question, b"}"))
        status, body = await self._exchange(data, timeout_s)
        if status != 200:
            raise _refused(status, body)
        return _answer(body)

    async def get(self, path: str, timeout_s: float) -> Any:
        """The JSON that OPA's API gives at `path`: for management, not for decisions."""
        status, body = await self._exchange(_GET % path.encode(), timeout_s)
        if status != 200:
            raise _refused(status, body)
        return _json(body)

    async def close(self) -> None:
        """Drop every connection."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    async def _exchange(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = self._take_idle() or await self._connect(deadline)
        while True:
            stale = connection.used
            timer = loop.call_at(deadline, connection.expire)
            try:
                answer = await connection.exchange(data, loop)
            except _Lost as lost:
                if connection.expired:
                    raise Denied(Reason.ENGINE_TIMEOUT, "OPA gave no answer in time") from None
                if not (stale and lost.silent):
                    raise Denied(Reason.ENGINE_UNAVAILABLE, "OPA closed the connection") from None
            except BaseException:
                connection.abort()  # its answer is still to come and belongs to nobody
                raise
            else:
                self._give_back(connection)
                return answer
            finally:
                timer.cancel()
            # OPA had closed this idle connection, so it never saw the question: once more on a new one.
            connection = await self._connect(deadline)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _give_back(self, connection: _Connection) -> None:
        if not connection.closed:
            self._pass_on(connection)

    async def _connect(self, deadline: float) -> _Connection:
        """A connection within the bound: a new one, or one that comes free first, in the order of asking."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._free == 0:
                    free = await self._turn()
                    if free is not None and not free.closed:
                        return free
                return await self._open_one()
        except TimeoutError:
            raise Denied(Reason.ENGINE_TIMEOUT, "no connection to OPA in time") from None
        except OSError as error:
            raise Denied(Reason.ENGINE_UNAVAILABLE, f"OPA: {type(error).__name__}") from None

    async def _turn(self) -> _Connection | None:
        """Wait for a connection that another has done with, or None when there is room for a new one."""
        waiting: asyncio.Future[_Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._pass_on(waiting.result())  # its turn came as it left: the next one's then
            raise

    def _pass_on(self, connection: _Connection | None) -> None:
        """Hand it to whoever waits longest, so that nobody who comes now is served before."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    async def _open_one(self) -> _Connection:
        self._free -= 1
        try:
            if not sockets.is_private(Path(self._socket).parent):
                raise Denied(Reason.ENGINE_UNAVAILABLE, "OPA's socket lies where others could put theirs")
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_unix_connection(lambda: _Connection(self._gone), self._socket)
            if connection.closed:
                raise ConnectionResetError
        except BaseException:
            self._free += 1
            self._pass_on(None)
            raise
        self._open.add(connection)
        return connection

    def _gone(self, connection: _Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._free += 1
            self._pass_on(None)


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
